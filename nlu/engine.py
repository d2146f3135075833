"""The embedded engine: text and older messages in, one Understanding out. No server, no download.

normalise -> phrases with scope -> features -> heads, and the reader -> fusion -> rules -> context of the older messages -> labels.
`nlu.understand` calls the default engine. Nothing here keeps or logs a text.

Everything judges, and what is said in earnest stands: a phrase without anything that softens it raises the level to its own,
whatever reader and heads think. Softness (a joke, an idiom, a quotation) takes what they think down by one level at most, and
never from critical.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast
from zlib import crc32

import numpy as np

from . import entities, features, fusion
from .features import Floats, Vector
from .fusion import Heads
from .lexicon import SENTENCE_END, Hit, Intents, Lexicon, combined
from .model import ABOUTS, Danger, Model, ModelError, Scores
from .normalise import Normal, normalise
from .patterns import CLAUSE_END
from .reader import WEIGHTS, Opinion, Reader
from .understanding import (
    INTENTS,
    KINDS,
    RISKS,
    TOPICS,
    About,
    Intent,
    Kind,
    Risk,
    Span,
    Topic,
    Understanding,
    higher,
    risk_rank,
)

# Older messages that still count, and how many levels each has faded: the last two are as if said now.
FADING = (0, 0, 1, 1, 1, 2, 2, 2)
TOGETHER = 3  # older messages that are read together with the new one
PIECE = 240  # characters whose phrases are looked at together; keeps time linear
WINDOW = 60  # characters of a long message that are weighed together: one sentence in the middle is enough
WHOLE = 1200  # characters of a long letter that decide topic and category
MAX_SPANS = 40
KIND_SURE, KIND_LIKELY = 0.5, 0.35  # from when on a kind is named: below medium, and from medium on
KIND_BEST = (0.3, 0.2)  # the same for the likeliest kind where none is surer
IN_CHINESE: dict[Kind, str] = {
    "suicide": "轻生",
    "self_harm": "伤害自己",
    "domestic_abuse": "家里的伤害",
    "sexual_abuse": "性方面的侵害",
    "bullying": "欺凌",
    "violence": "暴力",
    "fraud": "被骗",
    "trafficking": "被控制或拐骗",
    "drugs": "毒品",
    "runaway": "离家或失踪",
    "emergency": "眼前的危险",
}
_OWN_MIND = frozenset({"suicide", "self_harm"})
_SOFT = frozenset({"hyperbole", "quotation", "game", "negation", "recovery", "joke"})
_MEDIUM, _HIGH, _CRITICAL = risk_rank("medium"), risk_rank("high"), risk_rank("critical")


@dataclass(frozen=True, slots=True)
class Reading:
    """One message read by the phrases alone."""

    normal: Normal
    hits: tuple[Hit, ...]
    rule: Risk
    resolved: bool


class Weighed(NamedTuple):
    """What reader, heads and phrases make of a text together: log-odds of low or above … critical, and of each kind.

    `hard` are the levels as if nothing softened the words.
    """

    levels: Floats
    hard: Floats
    kinds: Floats


class Whole(NamedTuple):
    """A text as a whole, by the reader and by the heads."""

    opinion: Opinion
    scores: Scores
    weighed: Weighed


class Engine:
    """Understands messages. Load once; `understand` keeps nothing between calls and may run in any thread."""

    def __init__(
        self,
        lexicon: Lexicon,
        intents: Intents,
        model: Model,
        reader: Reader,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self._lexicon = lexicon
        self._intents = intents
        self._model = model
        self._reader = reader
        chances = np.array(thresholds or model.thresholds)
        self._thresholds = np.log(chances / (1 - chances))
        places = {name: place for place, name in enumerate(reader.categories)}
        self._known = np.array([places.get(name, -1) for name in model.categories])
        # topic -> (place in the model's output, category, its group of two levels)
        self._leaves: dict[str, list[tuple[int, str, str]]] = {}
        for place, name in enumerate(model.categories):
            group = ".".join(name.split(".")[:2])
            self._leaves.setdefault(name.partition(".")[0], []).append((place, name, group))

    @classmethod
    def load(cls, path: Path | None = None, thresholds: Sequence[float] | None = None) -> Engine:
        """The engine with the shipped lexicons and reader, and a model file (default: the shipped one).

        `thresholds`: from which probability on a message is low, medium, high, critical; default: the model's own.
        Raises ModelError, ReaderError or LexiconError when a file is missing, broken or of another version.
        """
        model = Model.load(path)
        reader = Reader.load()
        if model.reader != fingerprint(WEIGHTS):
            raise ModelError("the model was trained beside another reader; run `python -m nlu.train`")
        return cls(Lexicon(), Intents(), model, reader, thresholds)

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        """Read `text` in the light of `history` (the same person's older messages, oldest first)."""
        return self.judge(text, history)[0]

    def judge(self, text: str, history: Sequence[str] = ()) -> tuple[Understanding, float]:
        """The understanding, and the log-odds of high or above of which, with the level, its score is made."""
        own = read(self._lexicon, text)
        older = [read(self._lexicon, message) for message in history[-len(FADING) :]]
        whole = self._whole(own)
        weighed, worst = self._worst(own, whole.weighed)
        judged = self._level(weighed, own)
        risk = higher(judged, own.rule)
        if older:
            together = joined(own, older)
            whole = self._whole(together, thread=True)
            if not (own.resolved and risk_rank(risk) < _HIGH):
                risk = higher(risk, self._level(whole.weighed, together))
                weighed = graver(weighed, whole.weighed)
            risk = self._in_context(risk, own, older)
        kinds = self._kinds(risk, own, older, graver(weighed, whole.weighed).kinds)
        intent = self._intent(own, whole.scores)
        topic = self._topic(risk, kinds, intent, whole)
        log_odds = float(weighed.levels[_HIGH - 1])
        seen = Understanding(
            topic=topic,
            risk=risk,
            risk_score=self._model.calibration.probability(log_odds, risk_rank(risk)),
            kinds=kinds,
            category=self._category(topic, whole),
            about=self._about(own, whole),
            intent=intent,
            resolved=own.resolved and risk_rank(judged) < _HIGH,
            spans=self._spans(own, worst if risk_rank(judged) >= _MEDIUM else None),
            entities=entities.read(own.normal.text[:2000]),
        )
        return seen, log_odds

    def _whole(self, own: Reading, thread: bool = False) -> Whole:
        """A text as one."""
        text = long_cut(own.normal.text)
        opinion = self._reader.read(text)
        scores = self._model.scores(vector_of(self._lexicon, own))
        return Whole(
            opinion, scores, self._fused(opinion, scores, own.hits, own.rule, self.soft(own), thread)
        )

    def _fused(
        self,
        opinion: Opinion,
        heads: Heads,
        hits: Sequence[Hit],
        rule: Risk,
        soft: bool,
        thread: bool = False,
    ) -> Weighed:
        mixed = self._model.fusion
        hard = mixed.levels(opinion, heads, risk_rank(rule), False, thread)
        levels = mixed.levels(opinion, heads, risk_rank(rule), True, thread) if soft else hard
        return Weighed(levels, hard, mixed.kinds_of(opinion, heads, named(hits)))

    def soft(self, own: Reading) -> bool:
        """Whether something says that deadly words are not meant: an idiom, a joke, a game, a quotation, a denial."""
        return any(hit.scopes & _SOFT for hit in own.hits) or self._lexicon.idiomatic(own.normal.text[:PIECE])

    def _worst(self, own: Reading, whole: Weighed) -> tuple[Weighed, tuple[int, int]]:
        """The gravest of the whole and of its windows, and where that stands in the normal form."""
        text = own.normal.text
        gravest, where = whole, (0, len(text))
        if len(text) <= WINDOW:
            return gravest, where
        for start, window in cut(text, WINDOW):
            end = start + len(window)
            inside = tuple(hit for hit in own.hits if start <= hit.start < end)
            part = Reading(Normal(window, [], []), inside, combined(list(inside)), own.resolved)
            heads = self._danger(part)
            seen = self._fused(self._reader.read(window), heads, inside, part.rule, self.soft(part))
            if seen.levels[_HIGH - 1] > gravest.levels[_HIGH - 1]:
                where = (start, end)
            gravest = graver(gravest, seen)
        return gravest, where

    def _danger(self, own: Reading) -> Danger:
        return self._model.scores_of_danger(vector_of(self._lexicon, own))

    def _level(self, weighed: Weighed, own: Reading) -> Risk:
        """The level that the log-odds reach. What softens takes one off at most, and nothing off critical; where the danger that
        is named is denied or over, one is off."""
        hard = self._reached(weighed.hard)
        if hard == _CRITICAL:
            return RISKS[hard]
        if hard >= _MEDIUM and self._denied(own):
            return RISKS[hard - 1]
        return RISKS[max(hard - 1, self._reached(weighed.levels))]

    def _denied(self, own: Reading) -> bool:
        """Whether every danger that a message names is denied or over, and what else it says is no reason to worry."""
        grave = [hit for hit in own.hits if risk_rank(hit.phrase.risk) >= _MEDIUM]
        if not grave or risk_rank(own.rule) >= _MEDIUM:
            return False
        if not all(hit.scopes & {"negation", "recovery"} for hit in grave):
            return False
        rest = "".join(
            clause
            for at, clause in clauses_of(own.normal.text)
            if not any(at <= hit.start < at + len(clause) for hit in grave)
        )
        return not rest.strip() or float(self._reader.read(long_cut(rest)).risk[_MEDIUM - 1]) < 0

    def _reached(self, log_odds: Floats) -> int:
        reached = log_odds >= self._thresholds
        return len(reached) if reached.all() else int(np.argmin(reached))

    def _alone(self, own: Reading) -> Risk:
        opinion = self._reader.read(long_cut(own.normal.text))
        weighed = self._fused(opinion, self._danger(own), own.hits, own.rule, self.soft(own))
        return higher(self._level(weighed, own), own.rule)

    def _in_context(self, risk: Risk, own: Reading, older: Sequence[Reading]) -> Risk:
        """What older messages add: their level, faded; nothing once the person has said that it is over."""
        resolved = own.resolved and risk_rank(risk) < _HIGH
        for age, reading in enumerate(reversed(older)):
            if resolved:
                risk = higher(risk, "low" if risk_rank(self._alone(reading)) >= _MEDIUM else "none")
                continue
            risk = higher(risk, RISKS[max(0, risk_rank(self._alone(reading)) - FADING[age])])
            resolved = reading.resolved
        if not own.resolved and own.hits:
            risk = higher(risk, combined([hit for reading in (*older[-3:], own) for hit in reading.hits]))
        return risk

    def _kinds(
        self, risk: Risk, own: Reading, older: Sequence[Reading], log_odds: Floats
    ) -> tuple[Kind, ...]:
        """Kinds named by phrases in earnest first, then the likely ones; never empty at high or above."""
        if risk_rank(risk) < 1:
            return ()
        serious = risk_rank(risk) >= _MEDIUM
        chances = 1 / (1 + np.exp(-log_odds))
        found: dict[Kind, None] = {}
        for hit in sorted(own.hits, key=lambda hit: -risk_rank(hit.risk)):
            if risk_rank(hit.risk) >= _MEDIUM:
                found[hit.phrase.kind] = None
        for place in np.argsort(-chances):
            if chances[place] >= (KIND_LIKELY if serious else KIND_SURE):
                found[KINDS[place]] = None
        if not found and serious:
            for reading in reversed(older):
                found.update(dict.fromkeys(hit.phrase.kind for hit in reading.hits if hit.live))
        best = int(chances.argmax())
        if not found and (risk_rank(risk) >= _HIGH or chances[best] >= KIND_BEST[serious]):
            found[KINDS[best]] = None
        return tuple(found)

    def _intent(self, own: Reading, scores: Scores) -> Intent:
        found = cast(Intent, self._intents.find(own.normal.text))
        if found != "none":
            return found
        grown = np.exp(scores.intent - scores.intent.max())
        best = int(grown.argmax())
        return INTENTS[best] if grown[best] >= 0.8 * grown.sum() else "none"

    def _topic(self, risk: Risk, kinds: tuple[Kind, ...], intent: Intent, whole: Whole) -> Topic:
        """The likeliest topic, except that distress and danger are never `other`, harm done to somebody is not only a
        feeling, and a bare service word is `other`."""
        chances = fusion.blend("topic", whole.opinion.topic, whole.scores.topic)
        topic = TOPICS[int(chances.argmax())]
        own_mind = set(kinds) <= _OWN_MIND
        if risk_rank(risk) >= _HIGH and kinds and topic in ("other", "legal"):
            return "psychological" if own_mind else "safety"
        if risk_rank(risk) >= _MEDIUM and topic == "other":
            return "psychological" if own_mind else "safety"
        if risk_rank(risk) >= _MEDIUM and topic == "psychological" and kinds and kinds[0] not in _OWN_MIND:
            return "safety"
        if intent not in ("none", "yes", "no", "human") and risk_rank(risk) < _MEDIUM:
            return "other" if chances.max() < 0.9 else topic
        return topic

    def _category(self, topic: Topic, whole: Whole) -> str:
        """The likeliest leaf of the topic; its group where no leaf stands out."""
        opinion = np.where(
            self._known >= 0, whole.opinion.category[self._known], whole.opinion.category.min()
        )
        values = fusion.blend("category", opinion, whole.scores.category).tolist()
        groups: dict[str, float] = {}
        best, share, total = "", 0.0, 0.0
        leaves = self._leaves.get(topic, ())
        for place, name, group in leaves:
            value = values[place]
            groups[group] = groups.get(group, 0.0) + value
            total += value
            if value > share:
                best, share = name, value
        if not groups:
            return ""
        group = max(groups, key=lambda name: groups[name])
        if share >= 0.3 * total:
            return best
        inside = [(values[place], name) for place, name, _ in leaves if name.startswith(group + ".")]
        top = max(inside, default=(0.0, group))
        return top[1] if top[0] >= 0.5 * groups[group] else group

    def _about(self, own: Reading, whole: Whole) -> About:
        chances = fusion.blend("about", whole.opinion.about, whole.scores.about)
        best = cast(About, ABOUTS[int(chances.argmax())])
        if best == "unknown" and any(hit.live for hit in own.hits):
            return "other" if any("other" in hit.scopes for hit in own.hits if hit.live) else "self"
        return best

    def _spans(self, own: Reading, worst: tuple[int, int] | None) -> tuple[Span, ...]:
        """The words that moved the risk; where no phrase did, the clause that reads gravest."""
        spans: list[Span] = []
        for hit in sorted(own.hits, key=lambda hit: (-risk_rank(hit.risk), hit.start)):
            if risk_rank(hit.risk) < 1 or len(spans) >= MAX_SPANS:
                break
            start, end = own.normal.original(hit.start, hit.end)
            if not any(span.start <= start and end <= span.end for span in spans):
                spans.append(Span(start, end, hit.phrase.reason))
        if not spans and worst and worst[1] > worst[0]:
            spans.append(self._gravest(own.normal, *worst))
        return tuple(sorted(spans, key=lambda span: span.start))

    def _gravest(self, normal: Normal, start: int, end: int) -> Span:
        """The clause of a part of a text that the reader finds gravest, with what it sounds like."""
        clauses = [
            (start + at, clause) for at, clause in clauses_of(normal.text[start:end]) if clause.strip()
        ]
        opinions = [self._reader.read(clause) for _, clause in clauses]
        if not opinions:
            return Span(*normal.original(start, end), "这段话整体读来令人担心")
        place = max(
            range(len(clauses)), key=lambda n: opinions[n].risk[_MEDIUM - 1] + opinions[n].risk[_HIGH - 1]
        )
        at, clause = clauses[place]
        kind = KINDS[int(opinions[place].kinds.argmax())]
        return Span(*normal.original(at, at + len(clause)), f"没有明说，读来令人担心，像是{IN_CHINESE[kind]}")


def read(lexicon: Lexicon, text: str) -> Reading:
    """The phrases of one message, piece by piece, and whether it says that a danger is over."""
    normal = normalise(text)
    hits: list[Hit] = []
    resolved = False
    for start, piece in cut(normal.text, PIECE):
        hits += [replace(hit, start=hit.start + start, end=hit.end + start) for hit in lexicon.hits(piece)]
        resolved = resolved or lexicon.has("resolved", piece)
    rule = combined(hits)
    return Reading(normal, tuple(hits), rule, resolved and risk_rank(rule) < _MEDIUM)


def joined(own: Reading, older: Sequence[Reading]) -> Reading:
    """The message with the last few older ones before it, read as one: 嗯 says nothing, 我存了药 / 嗯 does.

    Only levels and features are read off it; its places are those of no text.
    """
    last = [*older[-TOGETHER:], own]
    text = "\n".join(reading.normal.text[-PIECE:] for reading in last)
    hits = tuple(hit for reading in last for hit in reading.hits)
    return Reading(Normal(text, [], []), hits, combined(list(hits)), own.resolved)


def vector_of(lexicon: Lexicon, own: Reading) -> Vector:
    """What the heads see of a message. Used alike in training and at run time."""
    text = long_cut(own.normal.text)
    return features.vector(text, own.hits, lexicon.topics(text), lexicon.concepts(text))


def long_cut(text: str) -> str:
    """The part of a long letter that speaks for the whole: two thirds of its beginning and a third of its end."""
    return text if len(text) <= WHOLE else text[: WHOLE * 2 // 3] + text[-WHOLE // 3 :]


def named(hits: Sequence[Hit]) -> Floats:
    """The rank of the gravest phrase of each kind, shape (11,)."""
    found = np.zeros(len(KINDS), dtype=np.float32)
    for hit in hits:
        place = KINDS.index(hit.phrase.kind)
        found[place] = max(found[place], risk_rank(hit.risk))
    return found


def graver(first: Weighed, second: Weighed) -> Weighed:
    """The graver of two, label by label."""
    return Weighed(*(np.maximum(one, other) for one, other in zip(first, second, strict=True)))


def fingerprint(path: Path) -> str:
    """Which encoder weights these are."""
    return f"{crc32(path.read_bytes()):08x}"


def cut(text: str, size: int) -> list[tuple[int, str]]:
    """`text` in pieces of at most `size` characters, cut at ends of sentences or clauses where there are any."""
    found: list[tuple[int, str]] = []
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        if end < len(text):
            at = max(text.rfind(mark, start, end) for mark in SENTENCE_END)
            if at <= start + size // 4:
                at = max(at, *(text.rfind(mark, start, end) for mark in ",; "))
            end = at + 1 if at > start else end
        found.append((start, text[start:end]))
        start = end
    return found


def clauses_of(text: str) -> list[tuple[int, str]]:
    """A text cut after every mark that ends a clause."""
    found: list[tuple[int, str]] = []
    start = 0
    for at, letter in enumerate(text):
        if letter in CLAUSE_END or at == len(text) - 1:
            found.append((start, text[start : at + 1]))
            start = at + 1
    return found


@cache
def default() -> Engine:
    """The engine of this process, loaded at the first call."""
    return Engine.load()


def understand(text: str, history: Sequence[str] = ()) -> Understanding:
    """Read `text` in the light of `history` (the same person's older messages, oldest first) with the default engine."""
    return default().understand(text, history)
