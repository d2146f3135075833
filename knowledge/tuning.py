"""Fits the search's few numbers on the shipped content itself and says how good they are.

    python -m knowledge.tuning QUESTIONS [--write]

Away from the journey: run after content or terms changed much. What is learned from:
- each wording is left out once and must find its entry again;
- each declined example is left out once and must find a declined kind;
- each entry is left out once with all its wordings, which then must find nothing.
QUESTIONS are questions of our own that are no wordings (`question => entry [entry]`, or a bare line that nothing answers);
they set where an answer is sure enough and are the measure printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowledge.answer import Candidate
from knowledge.entries import Entry, load_entries
from knowledge.library import SEARCH, Encoder, Library, Scorer, leads, read_groups
from nlu.encoder import Encoder as NluEncoder

Array = NDArray[np.float64]

FOLDS = 5
KEPT = 25  # candidates of a question that the fit looks at
CAUTION = 0.05  # added to the threshold found: strangers ask less kindly than we do
OFFERED = 0.1  # of the questions that nothing answers, so many may be offered titles
COST_OF_WRONG = 2.0  # a wrong answer weighs like so many right ones
DECLINED = 0.95  # of the questions that nothing answers, at least so many must be declined


@dataclass(frozen=True, slots=True)
class Example:
    """A question's features, which of the rows are right (the last place: "nothing is"), and its weight in the fit."""

    features: Array
    right: NDArray[np.bool_]
    areas: NDArray[np.int32]
    weight: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of our own and the entries that answer it (none: it must be declined)."""

    question: str
    entries: frozenset[str]


def read_questions(path: Path) -> list[Asked]:
    """`question => entry [entry…]` a line, a bare question where nothing answers; # starts a comment."""
    asked = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            question, _, entries = line.partition("=>")
            asked.append(Asked(question.strip(), frozenset(entries.split())))
    return asked


class Bench:
    """The content, and libraries made of parts of it."""

    def __init__(self, encoder: Encoder | None) -> None:
        self.entries = load_entries()
        self.concepts = read_groups(SEARCH / "concepts.yml")
        self.declined = read_groups(SEARCH / "declined.yml")
        self.encoder = encoder
        self.blank = Scorer((1.0,) * (6 if encoder else 4), (0.0, 1.0, 0.0, 1.0, 0.0), 0.5, 1.0)

    def library(
        self, entries: Sequence[Entry], declined: Mapping[str, Sequence[str]], scorer: Scorer
    ) -> Library:
        return Library(
            entries, scorer=scorer, concepts=self.concepts, declined=declined, encoder=self.encoder
        )

    def examples(self) -> list[Example]:
        """Everything the fit learns from."""
        return [*self._wordings_left_out(), *self._entries_left_out()]

    def _wordings_left_out(self) -> Iterator[Example]:
        for fold in range(FOLDS):
            entries = [
                entry.model_copy(
                    update={"asks": tuple(a for n, a in enumerate(entry.asks) if (n + i) % FOLDS != fold)}
                )
                for i, entry in enumerate(self.entries)
            ]
            declined = {
                k: [a for n, a in enumerate(group) if n % FOLDS != fold] for k, group in self.declined.items()
            }
            library = self.library(entries, declined, self.blank)
            for i, entry in enumerate(self.entries):
                for n, ask in enumerate(entry.asks):
                    if (n + i) % FOLDS == fold:
                        yield from _example(library, ask, right=slice(i, i + 1), weight=1.0)
            for group in self.declined.values():
                for n, ask in enumerate(group):
                    if n % FOLDS == fold:
                        yield from _example(library, ask, right=slice(len(entries), None), weight=1.0)

    def _entries_left_out(self) -> Iterator[Example]:
        for fold in range(FOLDS):
            library = self.library(
                [entry for i, entry in enumerate(self.entries) if i % FOLDS != fold],
                self.declined,
                self.blank,
            )
            for entry in self.entries[fold::FOLDS]:
                for ask in entry.asks[:4]:
                    # Another entry may well answer in part, so these weigh less.
                    yield from _example(library, ask, right=slice(len(library.entries), None), weight=0.3)


def _example(library: Library, ask: str, *, right: slice, weight: float) -> Iterator[Example]:
    features = library.features(ask).astype(np.float64)
    if len(features):
        mask = np.zeros(len(features) + 1, dtype=bool)
        mask[:-1][right] = True
        # Whatever belongs to no entry may also be answered by the last place, "nothing".
        mask[-1] = right.start >= len(library.entries)
        yield Example(features, mask, library.areas, weight)


def fit_rank(examples: Sequence[Example], steps: int = 500) -> tuple[float, ...]:
    """Weights of the features by maximum likelihood of the right rows among the nearest (a softmax, Adam)."""
    size = examples[0].features.shape[1]
    kept = [_nearest(example) for example in examples]
    widest = max(len(rows) for rows, _ in kept)
    rows_of = np.zeros((len(kept), widest, size))
    there = np.zeros((len(kept), widest + 1), dtype=bool)
    right = np.zeros((len(kept), widest + 1))
    for n, (rows, mask) in enumerate(kept):
        rows_of[n, : len(rows)], there[n, : len(rows)], there[n, -1] = rows, True, True
        right[n, : len(rows)], right[n, -1] = mask[:-1], mask[-1]
    weight = np.asarray([example.weight for example in examples])[:, None]
    values = np.append(np.full(size, 3.0), 0.0)  # the last is the score of "nothing"
    mean, spread = np.zeros(size + 1), np.zeros(size + 1)
    for step in range(1, steps + 1):
        nothing = np.full((len(kept), 1), values[-1])
        score = np.where(there, np.concatenate([rows_of @ values[:-1], nothing], axis=1), -1e9)
        chance = np.exp(score - score.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        among_right = chance * right
        among_right /= np.maximum(among_right.sum(axis=1, keepdims=True), 1e-12)
        error = (chance - among_right) * weight
        slope = np.append(np.einsum("nm,nmf->f", error[:, :-1], rows_of), error[:, -1].sum()) / len(kept)
        slope[:-1] += 1e-3 * values[:-1]
        mean, spread = 0.9 * mean + 0.1 * slope, 0.99 * spread + 0.01 * slope**2
        values -= 0.2 * (mean / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.99**step)) + 1e-9)
    return tuple(round(float(value), 4) for value in values[:-1])


def _nearest(example: Example) -> tuple[Array, NDArray[np.bool_]]:
    chosen = np.union1d(
        np.argsort(-example.features.sum(axis=1))[:KEPT], np.flatnonzero(example.right[:-1])[:KEPT]
    )
    return example.features[chosen], np.append(example.right[chosen], example.right[-1])


def fit_sure(examples: Sequence[Example], rank: tuple[float, ...]) -> tuple[float, ...]:
    """How sure the first entry is, from its score and its leads: logistic regression (Newton)."""
    rows, right, weights = [], [], []
    for example in examples:
        order = (example.features @ np.asarray(rank)).astype(np.float32)
        first = int(order[: len(example.areas)].argmax())
        rows.append([order[first], *(lead[first] for lead in leads(order, example.areas)), 1.0])
        right.append(float(example.right[first]))
        weights.append(example.weight)
    x, y, w = np.asarray(rows, dtype=np.float64), np.asarray(right), np.asarray(weights)
    values = np.zeros(x.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(x @ values, -30, 30)))
        curvature = (x * (w * chance * (1 - chance))[:, None]).T @ x + 1e-3 * np.eye(x.shape[1])
        values += np.linalg.solve(curvature, x.T @ (w * (y - chance)) - 1e-3 * values)
    return tuple(round(float(value), 4) for value in values)


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares of the answerable questions, and of the others declined; recall and MRR are of the order alone."""

    right: float
    wrong: float
    offered: float
    declined: float
    recall_1: float
    recall_3: float
    mrr: float


def measure(library: Library, asked: Sequence[Asked]) -> Measured:
    """Ask every question as `qingting answer` would."""
    known = [one for one in asked if one.entries]
    ranks = []
    right = wrong = offered = 0
    for one in known:
        order = [candidate.entry_id for candidate in library.candidates(one.question, limit=50)]
        ranks.append(next((n for n, entry in enumerate(order, start=1) if entry in one.entries), 0))
        answer = library.answer(one.question, channel="sms")
        right += answer.entry_id in one.entries
        wrong += answer.outcome == "answer" and answer.entry_id not in one.entries
        offered += any(candidate.entry_id in one.entries for candidate in answer.candidates)
    unknown = [one for one in asked if not one.entries]
    declined = sum(library.answer(one.question, channel="sms").outcome != "answer" for one in unknown)
    total = len(known)
    return Measured(
        right / total,
        wrong / total,
        offered / total,
        declined / max(len(unknown), 1),
        sum(rank == 1 for rank in ranks) / total,
        sum(0 < rank <= 3 for rank in ranks) / total,
        sum(1 / rank for rank in ranks if rank) / total,
    )


def set_thresholds(library: Library, scorer: Scorer, asked: Sequence[Asked]) -> Scorer:
    """Where right answers, less the cost of wrong ones, are most, and from where on titles are offered."""
    firsts = [(one.entries, _first(library, one.question)) for one in asked]
    known = max(sum(1 for entries, _ in firsts if entries), 1)
    unknown = max(len(firsts) - known, 1)

    def worth(answer_at: float) -> float:
        said = [(entries, first) for entries, first in firsts if first.entry_id and first.score >= answer_at]
        right = sum(first.entry_id in entries for entries, first in said)
        wrong = sum(bool(entries) and first.entry_id not in entries for entries, first in said)
        not_declined = sum(not entries for entries, _ in said)
        enough_declined = not_declined <= (1 - DECLINED) * unknown
        return (right - COST_OF_WRONG * wrong) / known if enough_declined else -COST_OF_WRONG

    answer_at = max((round(float(at), 2) for at in np.arange(0.05, 0.95, 0.01)), key=worth)
    ahead = sorted(library.over_declined(one.question) for one in asked if not one.entries)
    return replace(
        scorer,
        answer_at=round(answer_at + CAUTION, 2),
        choose_at=round(ahead[int(len(ahead) * (1 - OFFERED))], 2),
    )


def _first(library: Library, question: str) -> Candidate:
    found = library.candidates(question, limit=1)
    return found[0] if found else Candidate("", "", 0.0)


def fit(encoder: Encoder | None, asked: Sequence[Asked]) -> tuple[Scorer, Measured]:
    """The numbers for one way of searching, and how well it does on the questions."""
    bench = Bench(encoder)
    examples = bench.examples()
    rank = fit_rank(examples)
    scorer = replace(bench.blank, rank=rank, sure=fit_sure(examples, rank))
    scorer = set_thresholds(bench.library(bench.entries, bench.declined, scorer), scorer, asked)
    return scorer, measure(bench.library(bench.entries, bench.declined, scorer), asked)


def main(arguments: Sequence[str]) -> None:
    """See the module's first lines."""
    asked = read_questions(Path(arguments[0]))
    stored = json.loads((SEARCH / "scorer.json").read_text(encoding="utf-8"))
    for kind, encoder in _ways():
        scorer, found = fit(encoder, asked)
        stored[kind] = asdict(scorer)
        told = " ".join(f"{name} {value:.3f}" for name, value in asdict(found).items())
        sys.stdout.write(f"{kind}: {scorer}\n{kind}: {told}\n")
    if "--write" in arguments:
        (SEARCH / "scorer.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _ways() -> Iterator[tuple[str, Encoder | None]]:
    yield "lexical", None
    yield "hybrid", NluEncoder.load()


if __name__ == "__main__":
    main(sys.argv[1:])
