"""Fits the search's few numbers on the shipped content itself and says how good they are.

    python -m knowledge.tuning QUESTIONS [--write]

Away from the journey: run after content or terms changed much. What is learned from:
- each wording is left out once and must find its entry again;
- each declined example is left out once and must find a declined kind;
- each entry is left out once with all its wordings, which then must find nothing;
- one half of QUESTIONS: questions of our own that are no wordings (`question => entry [entry]`, or a bare line that nothing
  answers). This half also sets where an answer is sure enough.
The other half, held out by the hash of each question, is only measured on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowledge.answer import Candidate
from knowledge.entries import Entry, load_entries
from knowledge.index import Floats
from knowledge.library import SEARCH, Encoder, Library, Scorer, leads, outstanding, read_groups
from nlu.encoder import Encoder as NluEncoder

FOLDS = 5
LEFT_OUT = (0, 2)  # the folds learned from: two fifths of the wordings are plenty for a dozen numbers
KEPT = 25  # candidates of a question that the fit looks at
ASKED = 8.0  # weight of a question of our own beside a wording left out: it is nearer to what is really asked
MEANING = slice(5, 6)  # the column that comes from the encoder; see Library._features
OFFERED = 0.1  # of the questions that nothing answers, so many may be offered titles
COST_OF_WRONG = 1.2  # a wrong answer weighs like so many right ones
DECLINED = 0.92  # of the questions that nothing answers, at least so many must be declined


@dataclass(frozen=True, slots=True)
class Example:
    """A question's features, which of the rows are right (the last place: "nothing is"), and its weight in the fit."""

    features: Floats
    right: NDArray[np.bool_]
    areas: NDArray[np.int32]
    weight: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of our own and the entries that answer it (none: it must be declined)."""

    question: str
    entries: frozenset[str]

    @property
    def held_out(self) -> bool:
        """Whether this question is measured on and never learned from."""
        return hashlib.sha256(self.question.encode()).digest()[0] % 2 == 1


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
        self.blank = Scorer((1.0,) * (6 if encoder else 5), (0.0,) * (11 if encoder else 10), 0.5, 1.0)

    def library(
        self, entries: Sequence[Entry], declined: Mapping[str, Sequence[str]], scorer: Scorer
    ) -> Library:
        return Library(
            entries, scorer=scorer, concepts=self.concepts, declined=declined, encoder=self.encoder
        )

    def examples(self, asked: Sequence[Asked]) -> list[Example]:
        """Everything the fit learns from."""
        return [*self._wordings_left_out(), *self._entries_left_out(), *self._asked(asked)]

    def _asked(self, asked: Sequence[Asked]) -> Iterator[Example]:
        library = self.library(self.entries, self.declined, self.blank)
        for one in asked:
            right = [n for n, entry in enumerate(self.entries) if entry.id in one.entries]
            rows = right or list(range(len(self.entries), len(self.entries) + len(self.declined)))
            yield from _example(library, one.question, right=rows, weight=ASKED)

    def _wordings_left_out(self) -> Iterator[Example]:
        for fold in LEFT_OUT:
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
                        yield from _example(library, ask, right=[i], weight=1.0)
            refused = range(len(entries), len(entries) + len(declined))
            for group in self.declined.values():
                for n, ask in enumerate(group):
                    if n % FOLDS == fold:
                        yield from _example(library, ask, right=refused, weight=1.0)

    def _entries_left_out(self) -> Iterator[Example]:
        for fold in LEFT_OUT:
            library = self.library(
                [entry for i, entry in enumerate(self.entries) if i % FOLDS != fold],
                self.declined,
                self.blank,
            )
            refused = range(len(library.entries), len(library.entries) + len(self.declined))
            for entry in self.entries[fold::FOLDS]:
                for ask in entry.asks[:4]:
                    # Another entry may well answer in part, so these weigh less.
                    yield from _example(library, ask, right=refused, weight=0.3)


def _example(library: Library, ask: str, *, right: Sequence[int], weight: float) -> Iterator[Example]:
    features = library.features(ask)
    if len(features):
        mask = np.zeros(len(features) + 1, dtype=bool)
        mask[list(right)] = True
        # Whatever belongs to no entry may also be answered by the last place, "nothing".
        mask[-1] = right[0] >= len(library.entries)
        yield Example(features, mask, library.areas, weight)


def fit_rank(examples: Sequence[Example], steps: int = 150) -> tuple[float, ...]:
    """Weights of the features, as `outstanding` gives them, by maximum likelihood of the right rows among the nearest
    (a softmax, Adam)."""
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
    values = np.append(np.full(size, 0.3), 5.0)  # the last is the score of "nothing"
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
        values -= 0.05 * (mean / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.99**step)) + 1e-9)
    return tuple(round(float(value), 4) for value in values[:-1])


def _nearest(example: Example) -> tuple[Floats, NDArray[np.bool_]]:
    features = outstanding(example.features, len(example.areas))
    chosen = np.union1d(np.argsort(-features.sum(axis=1))[:KEPT], np.flatnonzero(example.right[:-1])[:KEPT])
    return features[chosen], np.append(example.right[chosen], example.right[-1])


def fit_sure(examples: Sequence[Example], rank: tuple[float, ...]) -> tuple[float, ...]:
    """How sure the first entry is, from its score and its leads: logistic regression (Newton)."""
    rows, right, weights = [], [], []
    for example in examples:
        order = outstanding(example.features, len(example.areas)) @ np.asarray(rank, dtype=np.float32)
        first = int(order[: len(example.areas)].argmax())
        ahead = [lead[first] for lead in leads(order, example.areas)]
        rows.append([order[first], *ahead, *example.features[first], 1.0])
        right.append(float(example.right[first]))
        weights.append(example.weight)
    x, y, w = np.asarray(rows, dtype=np.float64), np.asarray(right), np.asarray(weights)
    values = np.zeros(x.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(x @ values, -30, 30)))
        curvature = (x * (w * chance * (1 - chance))[:, None]).T @ x + 0.5 * np.eye(x.shape[1])
        values += np.linalg.solve(curvature, x.T @ (w * (y - chance)) - 0.5 * values)
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
        answer_at=answer_at,
        choose_at=round(ahead[int(len(ahead) * (1 - OFFERED))], 2),
    )


def _first(library: Library, question: str) -> Candidate:
    found = library.candidates(question, limit=1)
    return found[0] if found else Candidate("", "", 0.0)


def fit(encoder: Encoder | None, asked: Sequence[Asked]) -> Iterator[tuple[str, Scorer, Measured]]:
    """For one way of searching its name, the numbers, and how well it does on the held-out questions. With an encoder
    also what its columns alone would do."""
    bench = Bench(encoder)
    fitting, held_out = ([one for one in asked if one.held_out is held] for held in (False, True))
    examples = bench.examples(fitting)
    ways = {"hybrid": examples, "dense only": [_dense(example) for example in examples]}
    for name, seen in ways.items() if encoder else [("lexical", examples)]:
        rank = fit_rank(seen)
        scorer = replace(bench.blank, rank=rank, sure=fit_sure(seen, rank))
        scorer = set_thresholds(bench.library(bench.entries, bench.declined, scorer), scorer, fitting)
        library = bench.library(bench.entries, bench.declined, scorer)
        yield name, scorer, measure(library, held_out)


def _dense(example: Example) -> Example:
    features = np.zeros_like(example.features)
    features[:, MEANING] = example.features[:, MEANING]
    return replace(example, features=features)


def main(arguments: Sequence[str]) -> None:
    """See the module's first lines."""
    asked = read_questions(Path(arguments[0]))
    stored = json.loads((SEARCH / "scorer.json").read_text(encoding="utf-8"))
    for encoder in (None, NluEncoder.load()):
        for kind, scorer, found in fit(encoder, asked):
            if kind in stored:
                stored[kind] = asdict(scorer)
            told = " ".join(f"{name} {value:.3f}" for name, value in asdict(found).items())
            sys.stdout.write(f"{kind}: {scorer}\n{kind}: {told}\n")
            sys.stdout.flush()
    if "--write" in arguments:
        (SEARCH / "scorer.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
