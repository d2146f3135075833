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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from knowledge.answer import NOTHING, Answer, Candidate
from knowledge.entries import DATA, Entry, EntryError, load_entries, read_yaml
from knowledge.index import Floats, Index
from knowledge.terms import Terms, plain
from nlu.encoder import WEIGHTS
from nlu.encoder import Encoder as NluEncoder
from nlu.normalise import normalise

SEARCH = DATA / "search"
"""What the search knows beside the entries: concepts, declined questions, fitted numbers."""

LONGEST_QUESTION = 400
"""Characters of a question that are looked at; a longer text is a story, and stories go to people."""

_FOLLOW_UP = re.compile(r"^(那|那么|那如果|如果|要是|假如|可是|但是|然后|还有)|(呢)[？?。!！]*$")


_PRIOR = 0.6  # of a scale on which the best entry usually leads by about 2


Overdue = Literal["caution", "silent"]


class Encoder(Protocol):
    """What the library needs of the engine's encoder: texts -> (n, d) float32, each row of length 1."""

    def encode(self, texts: Sequence[str]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Scorer:
    """The fitted numbers of one way of searching. `knowledge.tuning` fits them and says how.

    `rank` weighs an entry's features, each measured by how far it stands out among all entries of this question; the sum
    orders the entries. `sure` weighs that sum, its leads (see `leads`) and the plain features, then adds a constant: the
    log odds that the entry answers. From the probability `answer_at` on it is said; less sure, titles are offered where
    the first is ahead of every declined kind by `choose_at`.
    """

    rank: tuple[float, ...]
    sure: tuple[float, ...]
    answer_at: float
    choose_at: float

    @classmethod
    def load(cls, path: Path, kind: Literal["lexical", "hybrid"]) -> Scorer:
        """Read the numbers of one way of searching from a JSON file."""
        raw = json.loads(path.read_text(encoding="utf-8"))[kind]
        return cls(tuple(raw["rank"]), tuple(raw["sure"]), raw["answer_at"], raw["choose_at"])

    def order(self, features: Floats, entries: int) -> Floats:
        """(n, features), the first `entries` rows being entries -> (n,): the higher, the nearer."""
        summed: Floats = outstanding(features, entries) @ np.asarray(self.rank, dtype=np.float32)
        return summed

    def probability(self, order: Floats, areas: NDArray[np.int32], features: Floats) -> Floats:
        """(n,) sums of the entries, whose areas are given, and after them of the declined kinds -> (n,) probabilities."""
        parts = (order, *leads(order, areas), *features.T)
        logit = sum(weight * part for weight, part in zip(self.sure, parts, strict=False)) + self.sure[-1]
        result: Floats = (1 / (1 + np.exp(-np.clip(logit, -30, 30)))).astype(np.float32)
        return result


def outstanding(features: Floats, entries: int) -> Floats:
    """How many deviations each feature lies above its mean over the entries: questions differ in how much they say."""
    of_entries = features[:entries]
    result: Floats = (features - of_entries.mean(axis=0)) / (of_entries.std(axis=0) + 1e-6)
    return result


def leads(order: Floats, areas: NDArray[np.int32]) -> tuple[Floats, Floats, Floats]:
    """How far each is ahead of the best other entry, of the best entry of another area, and of the nearest declined kind.

    Neighbours of one area often say the same; to be close to them is less of a doubt. Shapes (n,).
    """
    entries = order[: len(areas)]
    ranked = np.argsort(-entries, kind="stable")
    best_other = np.full(len(order), entries[ranked[0]], dtype=np.float32)
    best_other_area = best_other.copy()
    if len(ranked) > 1:
        best_other[ranked[0]] = entries[ranked[1]]
    same_area = np.flatnonzero(areas == areas[ranked[0]])
    if len(same_area) < len(entries):
        best_other_area[same_area] = entries[areas != areas[ranked[0]]].max()
    declined = order[len(areas) :].max() if len(order) > len(areas) else 0.0
    return order - best_other, order - best_other_area, order - declined


@dataclass(frozen=True, slots=True)
class Ranked:
    """Every entry, then every declined kind, as one question found them: their order, probability and features."""

    entries: tuple[Entry, ...]
    order: Floats
    scores: Floats
    features: Floats

    def candidates(self, limit: int) -> list[Candidate]:
        """The first `limit`, best first."""
        return [self._candidate(int(n)) for n in np.argsort(-self.order, kind="stable")[:limit]]

    def over_declined(self) -> float:
        """How far the best entry is ahead of the nearest declined kind."""
        count = len(self.entries)
        declined = self.order[count:].max() if len(self.order) > count else 0.0
        return float(self.order[:count].max() - declined)

    def _candidate(self, number: int) -> Candidate:
        why = " ".join(f"{value:.2f}" for value in self.features[number])
        score = round(float(self.scores[number]), 4)
        if number >= len(self.entries):
            return Candidate("", "不在服务范围", score, why)
        entry = self.entries[number]
        return Candidate(entry.id, entry.title, score, why)


class Meaning:
    """The dense half: how near a question's meaning is to that of each group of wordings, by the groups' centres.

    Vectors are first freed of what all wordings share (their mean), so that what is left tells entries apart. The nearest
    single wording told nothing more (measured), and centres alone are what keeps 10,000 entries within milliseconds.
    """

    def __init__(self, encoder: Encoder, wordings: Sequence[str], starts: NDArray[np.int64]) -> None:
        self._encoder = encoder
        vectors = encoder.encode(wordings)
        self._usual = vectors.mean(axis=0)
        self._centres = _unit(np.add.reduceat(_unit(vectors - self._usual), starts))

    def match(self, question: str) -> Floats:
        """Cosines with each group's centre, shape (groups,)."""
        alike: Floats = self._centres @ _unit(self._encoder.encode([question]) - self._usual)[0]
        return alike


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


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
        overdue: Overdue = "caution",
    ) -> None:
        """`declined` maps a kind of question we do not answer to examples; they compete with the entries. `overdue` says
        what an entry past its day of review does: answer marked so that a caution is said with it, or be silent."""
        self.entries = tuple(entries)
        self._scorer = scorer
        self._terms = Terms(concepts)
        self._encoder = encoder
        self._overdue = overdue
        self._number_of = {entry.id: number for number, entry in enumerate(self.entries)}
        wordings = [[entry.title, *entry.asks] for entry in self.entries]
        wordings += [list(examples) for examples in (declined or {}).values()]
        if not wordings:
            raise EntryError("no entries to answer from")
        flat = [wording for group in wordings for wording in group]
        flat = [normalise(wording).text for wording in flat]
        terms = [self._terms.of(wording) for wording in flat]
        self._starts = np.cumsum([0, *(len(group) for group in wordings[:-1])])
        names = [entry.id.partition(".")[0] for entry in self.entries]
        self.areas = np.asarray([sorted(set(names)).index(name) for name in names], dtype=np.int32)
        self._sizes = np.asarray([len(group) for group in wordings], dtype=np.float32)
        self._by_wording = Index(terms)
        self._by_entry = Index(self._asked_of(wordings, terms), bm25=True)
        self._by_text = Index([self._terms.of(entry.chat_text) for entry in self.entries], bm25=True)
        self._meaning = Meaning(encoder, flat, self._starts) if encoder else None
        self._priors: dict[tuple[str, str], Floats] = {}

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        encoder: Encoder | None = None,
        entries: Sequence[Entry] | None = None,
        overdue: Overdue = "caution",
    ) -> Library:
        """The given entries, or those of a folder (the shipped ones by default). Raises `EntryError` with file, entry and field.

        `encoder` is the engine's, shared; without one the packaged one is read, and where its weights are not
        installed the search is lexical only.
        """
        folder = path or DATA
        if encoder is None and WEIGHTS.exists():
            encoder = NluEncoder.load()
        return cls(
            load_entries(folder) if entries is None else entries,
            scorer=Scorer.load(SEARCH / "scorer.json", "hybrid" if encoder else "lexical"),
            concepts=read_groups(SEARCH / "concepts.yml"),
            declined=read_groups(SEARCH / "declined.yml"),
            encoder=encoder,
            overdue=overdue,
        )

    def answer(
        self, question: str, *, channel: str = "web", last_entry: str = "", category: str = ""
    ) -> Answer:
        """What to say to a question.

        `channel` "sms" gives the short form, any other the chat form. `last_entry` is the entry answered just before,
        so that "那如果我没满16呢" is understood. `category` is the case category the engine read, a hint and no filter.
        """
        ranked = self._rank(question, last_entry, category)
        found = ranked.candidates(3) if ranked else []
        if not found or not found[0].entry_id:
            return NOTHING
        best = found[0]
        if best.score >= self._scorer.answer_at:
            return self._published(best, channel)
        near = tuple(candidate for candidate in found if candidate.entry_id)
        assert ranked is not None
        if len(near) > 1 and ranked.over_declined() >= self._scorer.choose_at:
            return Answer("choose", score=best.score, candidates=near)
        return NOTHING

    def candidates(
        self, question: str, *, last_entry: str = "", category: str = "", limit: int = 5
    ) -> list[Candidate]:
        """The nearest entries, best first, with probability and why. An empty entry_id is a declined kind of question."""
        ranked = self._rank(question, last_entry, category)
        return ranked.candidates(limit) if ranked else []

    def over_declined(self, question: str) -> float:
        """How far the best entry is ahead of the nearest declined kind; 0 for a question without known words."""
        ranked = self._rank(question, "", "")
        return ranked.over_declined() if ranked else 0.0

    def _rank(self, question: str, last_entry: str, category: str) -> Ranked | None:
        features = self.features(question, last_entry=last_entry)
        if not len(features):
            return None
        order = self._scorer.order(features, len(self.entries)) + self._prior(
            category, last_entry if self._follows(question) else ""
        )
        scores = self._scorer.probability(order, self.areas, features)
        return Ranked(self.entries, order, scores, features)

    def features(self, question: str, *, last_entry: str = "") -> Floats:
        """What tells how near each entry is, then each declined kind: (n, features); (0, 0) for a question without words."""
        question = question[:LONGEST_QUESTION]
        if not plain(question):  # faces and marks alone ask nothing, though normal form gives them words
            return np.zeros((0, 0), dtype=np.float32)
        question = normalise(question).text
        terms = self._terms.of(question)
        if not self._by_wording.knows(terms):
            return np.zeros((0, 0), dtype=np.float32)
        if last_entry in self._number_of and self._follows(question):
            context = self._terms.of(self.entries[self._number_of[last_entry]].title)
            terms = {**{term: weight / 2 for term, weight in context.items()}, **terms}
        return self._features(terms, question)

    @staticmethod
    def _follows(question: str) -> bool:
        """Whether a question reads as the continuation of the one before: 那如果我没满16呢."""
        return len(question) <= 40 and _FOLLOW_UP.search(question.strip()) is not None

    def _prior(self, category: str, follows: str) -> Floats:
        """A little more for entries of the category the engine read and of the area just talked about; none is hidden."""
        group = ".".join(category.split(".")[:2])
        area = follows.partition(".")[0]
        known = self._priors.get((group, area))
        if known is None:  # there are only as many as categories times areas
            known = self._priors[group, area] = np.zeros(len(self._starts), dtype=np.float32)
            for number, entry in enumerate(self.entries if group or area else ()):
                known[number] += _PRIOR * bool(group and entry.category.startswith(group))
                known[number] += _PRIOR * bool(area and entry.id.startswith(area + "."))
        return known

    def _features(self, terms: Mapping[str, float], question: str) -> Floats:
        """Per entry: nearest wording, support by further wordings, share of the question found, BM25 — and meaning."""
        overlap, asked = self._by_wording.match(terms)
        dice = 2 * overlap / (asked + self._by_wording.mass)
        whole, possible = self._by_entry.match(terms)
        text, text_possible = self._by_text.match(terms)
        columns = [
            self._best(dice),
            self._support(dice),
            self._best(overlap) / asked,
            whole / max(possible, 1e-6),
            np.pad(text, (0, len(whole) - len(text))) / max(text_possible, 1e-6),
        ]
        if self._meaning is not None:
            columns.append(self._meaning.match(question))
        features: Floats = np.stack(columns, axis=1).astype(np.float32)
        return features

    def _support(self, per_wording: NDArray[Any]) -> NDArray[Any]:
        """Several near wordings count a little more than one: the mean of fourth powers, so the nearest still leads."""
        squared = per_wording * per_wording
        mean = np.add.reduceat(squared * squared, self._starts) / self._sizes
        support: NDArray[Any] = np.sqrt(np.sqrt(mean))
        return support

    def _best(self, per_wording: NDArray[Any]) -> NDArray[Any]:
        """The best wording of each entry: (wordings,) -> (entries,)."""
        best: NDArray[Any] = np.maximum.reduceat(per_wording, self._starts)
        return best

    def _published(self, best: Candidate, channel: str) -> Answer:
        entry = self.entries[self._number_of[best.entry_id]]
        overdue = entry.review_by < datetime.now(UTC).date()
        if overdue and self._overdue == "silent":
            return NOTHING
        return Answer(
            "answer",
            score=best.score,
            entry_id=entry.id,
            title=entry.title,
            text=entry.short if channel == "sms" else entry.chat_text,
            sources=tuple(citation.source() for citation in entry.sources),
            brings_human=entry.brings_human,
            overdue=overdue,
        )

    @staticmethod
    def _asked_of(
        wordings: Sequence[Sequence[str]], terms: Sequence[Mapping[str, float]]
    ) -> list[dict[str, float]]:
        """Each entry as one bag of terms: how many of its wordings hold each."""
        bags: list[dict[str, float]] = []
        begin = 0
        for group in wordings:
            bag: defaultdict[str, float] = defaultdict(float)
            for found in terms[begin : begin + len(group)]:
                for term in found:
                    bag[term] += 1.0
            begin += len(group)
            bags.append(bag)
        return bags


def read_groups(path: Path) -> dict[str, list[str]]:
    """A YAML file of named lists of words or questions."""
    return {name: [str(word) for word in words] for name, words in read_yaml(path).items()}
