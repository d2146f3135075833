"""A question in, a published entry out — or two or three titles to choose from, or honestly nothing (promise 9).

Called by the faq handler for each message that is no danger, and by `qingting answer`. Every entry is compared with the
question in three ways (nearest wording, the entry as a whole by BM25, and meaning by the engine's encoder); a small
scorer turns that into a probability, and the probability decides. Nothing is read or written after `Library.load`, and
looking up changes nothing, so threads may share one library.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from knowledge.answer import NOTHING, Answer, Candidate
from knowledge.entries import DATA, Entry, EntryError, load_entries, read_yaml
from knowledge.index import Floats, Index
from knowledge.terms import Terms

SEARCH = DATA / "search"
"""What the search knows beside the entries: concepts, declined questions, fitted numbers."""

LONGEST_QUESTION = 400
"""Characters of a question that are looked at; a longer text is a story, and stories go to people."""

_FOLLOW_UP = re.compile(r"^(那|那么|那如果|如果|要是|假如|可是|但是|然后|还有)|(呢)[？?。!！]*$")


class Encoder(Protocol):
    """What the library needs of the engine's encoder: texts -> (n, d) float32, each row of length 1."""

    def encode(self, texts: Sequence[str]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Scorer:
    """Weights of the probability that an entry answers, and where it is enough. Fitted by `knowledge.tuning`."""

    weights: tuple[float, ...]
    bias: float
    answer_at: float
    choose_at: float
    margin: float

    @classmethod
    def load(cls, path: Path) -> Scorer:
        """Read the fitted numbers; `path` is a JSON file with this class's fields."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(raw["weights"]), raw["bias"], raw["answer_at"], raw["choose_at"], raw["margin"])

    def probability(self, features: Floats) -> Floats:
        """(n, features) -> (n,) probabilities."""
        logit = features @ np.asarray(self.weights, dtype=np.float32) + np.float32(self.bias)
        result: Floats = 1 / (1 + np.exp(-logit))
        return result


class Library:
    """All published entries, ready to be asked."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        scorer: Scorer,
        concepts: Mapping[str, Sequence[str]] | None = None,
        declined: Mapping[str, Sequence[str]] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """`declined` maps a kind of question we do not answer to examples; they compete with the entries."""
        self.entries = tuple(entries)
        self._scorer = scorer
        self._terms = Terms(concepts)
        self._encoder = encoder
        self._number_of = {entry.id: number for number, entry in enumerate(self.entries)}
        wordings = [[entry.title, *entry.asks] for entry in self.entries]
        wordings += [list(examples) for examples in (declined or {}).values()]
        if not wordings:
            raise EntryError("no entries to answer from")
        flat = [wording for group in wordings for wording in group]
        terms = [self._terms.of(wording) for wording in flat]
        self._starts = np.cumsum([0, *(len(group) for group in wordings[:-1])])
        self._by_wording = Index(terms)
        self._by_entry = Index(self._whole_entries(wordings, terms), bm25=True)
        self._vectors = encoder.encode(flat).astype(np.float16) if encoder else None

    @classmethod
    def load(cls, path: Path | None = None, *, encoder: Encoder | None = None) -> Library:
        """The entries of a folder (the shipped ones by default). Raises `EntryError` with file, entry and field."""
        folder = path or DATA
        return cls(
            load_entries(folder),
            scorer=Scorer.load(SEARCH / "scorer.json"),
            concepts=_groups(SEARCH / "concepts.yml"),
            declined=_groups(SEARCH / "declined.yml"),
            encoder=encoder,
        )

    def answer(
        self, question: str, *, channel: str = "web", last_entry: str = "", category: str = ""
    ) -> Answer:
        """What to say to a question.

        `channel` "sms" gives the short form, any other the chat form. `last_entry` is the entry answered just before,
        so that "那如果我没满16呢" is understood. `category` is the case category the engine read, a hint and no filter.
        """
        found = self.candidates(question, last_entry=last_entry, category=category)
        best = found[0] if found else None
        if best is None or not best.entry_id or best.score < self._scorer.choose_at:
            return NOTHING
        near = tuple(
            c for c in found if c.entry_id and c.score >= max(self._scorer.choose_at, best.score / 2)
        )[:3]
        second = near[1].score if len(near) > 1 else 0.0
        if best.score >= self._scorer.answer_at and best.score - second >= self._scorer.margin:
            return self._published(best, channel)
        if len(near) > 1:
            return Answer("choose", score=best.score, candidates=near)
        return NOTHING

    def candidates(
        self, question: str, *, last_entry: str = "", category: str = "", limit: int = 5
    ) -> list[Candidate]:
        """The nearest entries, best first, with probability and why. An empty entry_id is a declined kind of question."""
        scores, features = self.scores(question, last_entry=last_entry, category=category)
        if not len(scores):
            return []
        return [self._candidate(int(n), scores, features) for n in np.argsort(-scores, kind="stable")[:limit]]

    def scores(self, question: str, *, last_entry: str = "", category: str = "") -> tuple[Floats, Floats]:
        """Probability and features of every entry, then of every declined kind: shapes (n,) and (n, features)."""
        question = question[:LONGEST_QUESTION]
        terms = self._terms.of(question)
        known = self._number_of.get(last_entry)
        if known is not None and _FOLLOW_UP.search(question.strip()):
            context = self._terms.of(self.entries[known].title)
            terms = {**{term: weight / 2 for term, weight in context.items()}, **terms}
        if not terms:
            return np.zeros(0, dtype=np.float32), np.zeros((0, 0), dtype=np.float32)
        features = self._features(terms, question)
        scores = self._scorer.probability(features)
        if category:
            scores = self._with_prior(scores, category)
        return scores, features

    def _features(self, terms: Mapping[str, float], question: str) -> Floats:
        """Per entry: best overlap, support by further wordings, share of question and wording explained, BM25, meaning."""
        asked = self._by_wording.weight(terms)
        overlap = self._by_wording.overlap(terms)
        dice = 2 * overlap / (asked + self._by_wording.mass)
        of_wording = overlap / np.maximum(self._by_wording.mass, 1e-6)
        support = np.add.reduceat(dice**4, self._starts) ** 0.25
        whole = self._by_entry.overlap(terms) / max(self._by_entry.weight(terms), 1e-6)
        columns = [self._best(dice), support, self._best(overlap) / asked, self._best(of_wording), whole]
        if self._encoder is not None and self._vectors is not None:
            vector = self._encoder.encode([question])[0].astype(np.float16)
            columns.append(self._best(self._vectors @ vector))
        features: Floats = np.stack(columns, axis=1).astype(np.float32)
        return features

    def _best(self, per_wording: NDArray[Any]) -> NDArray[Any]:
        """The best wording of each entry: (wordings,) -> (entries,)."""
        best: NDArray[Any] = np.maximum.reduceat(per_wording, self._starts)
        return best

    def _with_prior(self, scores: Floats, category: str) -> Floats:
        """Entries of the category the engine read gain a little; none is hidden."""
        area = ".".join(category.split(".")[:2])
        gain = [1.5 if entry.category.startswith(area) else 1.0 for entry in self.entries]
        gain += [1.0] * (len(scores) - len(gain))
        odds = scores / np.maximum(1 - scores, 1e-6) * np.asarray(gain)
        result: Floats = (odds / (1 + odds)).astype(np.float32)
        return result

    def _candidate(self, number: int, scores: Floats, features: Floats) -> Candidate:
        why = " ".join(f"{value:.2f}" for value in features[number])
        score = round(float(scores[number]), 4)
        if number >= len(self.entries):
            return Candidate("", "不在服务范围", score, why)
        entry = self.entries[number]
        return Candidate(entry.id, entry.title, score, why)

    def _published(self, best: Candidate, channel: str) -> Answer:
        entry = self.entries[self._number_of[best.entry_id]]
        return Answer(
            "answer",
            score=best.score,
            entry_id=entry.id,
            title=entry.title,
            text=entry.short if channel == "sms" else entry.chat_text,
            sources=tuple(citation.source() for citation in entry.sources),
            brings_human=entry.brings_human,
        )

    def _whole_entries(
        self, wordings: Sequence[Sequence[str]], terms: Sequence[Mapping[str, float]]
    ) -> list[dict[str, float]]:
        """Each entry as one bag of terms: all its wordings, and its answer's words at half weight."""
        whole = []
        for number, (start, group) in enumerate(zip(self._starts, wordings, strict=True)):
            bag: defaultdict[str, float] = defaultdict(float)
            for found in terms[start : start + len(group)]:
                for term in found:
                    bag[term] += 1.0
            if number < len(self.entries):
                for term in self._terms.of(self.entries[number].chat_text):
                    bag[term] += 0.5
            whole.append(dict(bag))
        return whole


def _groups(path: Path) -> dict[str, list[str]]:
    return {name: [str(word) for word in words] for name, words in read_yaml(path).items()}
