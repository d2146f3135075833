"""The embedded engine: text and older messages in, one Understanding out. No server, no download.

normalise -> phrases with scope -> features -> linear heads -> rules -> context of the older messages -> labels.
`nlu.understand` calls the default engine. Nothing here keeps or logs a text.

The model and the rules both judge. A phrase said in earnest raises the level to its own whatever the model thinks; idioms,
jokes and quotations take the model's level down by one at most, and never from critical.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np

from . import entities, features
from .encoder import WEIGHTS, Encoder
from .features import Floats, Vector
from .lexicon import SENTENCE_END, Hit, Intents, Lexicon, combined
from .model import ABOUTS, Model, ModelError, Scores
from .normalise import Normal, normalise
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
TOGETHER = 3  # older messages that the model reads together with the new one
PIECE = 240  # characters whose phrases are looked at together; keeps time linear
WINDOW = (
    60  # characters of a long message that the model weighs together: one sentence in the middle is enough
)
WHOLE = 1200  # characters of a long letter that decide topic and category
MAX_SPANS = 40
# Beside a phrase of medium, or in a thread, the model needs to be less sure for high: on training themes it had not seen, its
# precision there at 0.45 was as good as at 0.65 on single lines without a phrase.
SUPPORTED = 0.2
_OWN_MIND = frozenset({"suicide", "self_harm"})
_SOFT = frozenset({"hyperbole", "quotation", "game", "negation", "recovery", "joke"})
_MEDIUM, _HIGH = risk_rank("medium"), risk_rank("high")


@dataclass(frozen=True, slots=True)
class Reading:
    """One message read by the phrases alone."""

    normal: Normal
    hits: tuple[Hit, ...]
    rule: Risk
    resolved: bool


class Engine:
    """Understands messages. Load once; `understand` keeps nothing between calls and may run in any thread."""

    def __init__(self, lexicon: Lexicon, intents: Intents, model: Model, encoder: Encoder | None) -> None:
        self._lexicon = lexicon
        self._intents = intents
        self._model = model
        self._encoder = encoder
        # topic -> (place in the model's output, category, its group of two levels)
        self._leaves: dict[str, list[tuple[int, str, str]]] = {}
        for place, name in enumerate(model.categories):
            group = ".".join(name.split(".")[:2])
            self._leaves.setdefault(name.partition(".")[0], []).append((place, name, group))

    @classmethod
    def load(cls, path: Path | None = None) -> Engine:
        """The engine with the shipped lexicons and a model file (default: the shipped one).

        Raises ModelError, EncoderError or LexiconError when a file is missing, broken or of another version.
        """
        model = Model.load(path)
        encoder = Encoder.load() if model.encoder else None
        if encoder and fingerprint(WEIGHTS) != model.encoder:
            raise ModelError("the model was trained with another encoder; run `python -m nlu.train`")
        return cls(Lexicon(), Intents(), model, encoder)

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        """Read `text` in the light of `history` (the same person's older messages, oldest first)."""
        own = read(self._lexicon, text)
        older = [read(self._lexicon, message) for message in history[-len(FADING) :]]
        whole = self._model.scores(vector_of(self._lexicon, self._encoder, own))
        at_least, worst = self._worst(own, whole)
        judged = self._level(at_least, own)
        risk = higher(judged, own.rule)
        if older:
            together = joined(own, older)
            whole = self._model.scores(vector_of(self._lexicon, self._encoder, together))
            if not (own.resolved and risk_rank(risk) < _HIGH):
                risk = higher(risk, self._level(whole.at_least, together, thread=True))
                at_least = np.maximum(at_least, whole.at_least)
            risk = self._in_context(risk, own, older)
        ruled = higher(own.rule, risk if older else "none")
        log_odds = _log_odds(float(at_least[_HIGH - 1]))
        score = self._model.calibration.probability(log_odds, risk_rank(ruled))
        kinds = _kinds(risk, own, older, whole)
        intent = self._intent(own, whole)
        topic = _topic(risk, kinds, intent, whole)
        return Understanding(
            topic=topic,
            risk=risk,
            risk_score=score,
            kinds=kinds,
            category=self._category(topic, whole),
            about=_about(own, whole),
            intent=intent,
            resolved=own.resolved and risk_rank(judged) < _HIGH,
            spans=_spans(own, worst if risk_rank(judged) >= _MEDIUM else None),
            entities=entities.read(own.normal.text[:2000]),
        )

    def _worst(self, own: Reading, whole: Scores) -> tuple[Floats, tuple[int, int]]:
        """The gravest risk of the whole and of its windows, and where it stands in the normal form."""
        text = own.normal.text
        at_least, where = whole.at_least, (0, len(text))
        if len(text) <= WINDOW:
            return at_least, where
        for start, window in cut(text, WINDOW):
            end = start + len(window)
            inside = [hit for hit in own.hits if start <= hit.start < end]
            topics, point = self._lexicon.topics(window), meaning(self._encoder, window)
            concepts = self._lexicon.concepts(window)
            seen = self._model.risk_scores(features.vector(window, inside, topics, concepts, meaning=point))
            if seen[_HIGH - 1] > at_least[_HIGH - 1]:
                where = (start, end)
            at_least = np.maximum(at_least, seen)
        return at_least, where

    def _level(self, at_least: Floats, own: Reading, thread: bool = False) -> Risk:
        """The model's level, one lower when what sounds dangerous is only an idiom, a joke or a quotation."""
        level = 0
        supported = risk_rank(own.rule) >= _MEDIUM or thread
        for value, threshold in zip(at_least, self._model.thresholds, strict=True):
            if value < threshold - (SUPPORTED if supported and level == _HIGH - 1 else 0.0):
                break
            level += 1
        soft = any(hit.scopes & _SOFT for hit in own.hits) or self._lexicon.idiomatic(own.normal.text[:PIECE])
        if soft and level in (_MEDIUM, _HIGH) and risk_rank(own.rule) < _MEDIUM:
            level -= 1
        return RISKS[level]

    def _alone(self, reading: Reading) -> Risk:
        at_least = self._model.risk_scores(vector_of(self._lexicon, self._encoder, reading))
        return higher(self._level(at_least, reading), reading.rule)

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

    def _intent(self, own: Reading, whole: Scores) -> Intent:
        found = cast(Intent, self._intents.find(own.normal.text))
        if found != "none":
            return found
        best = int(whole.intent.argmax())
        return INTENTS[best] if whole.intent[best] >= 0.8 else "none"

    def _category(self, topic: Topic, whole: Scores) -> str:
        """The likeliest leaf of the topic; its group where no leaf stands out."""
        groups: dict[str, float] = {}
        best, share, total = "", 0.0, 0.0
        leaves = self._leaves.get(topic, ())
        values = whole.category.tolist()
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


def vector_of(lexicon: Lexicon, encoder: Encoder | None, own: Reading) -> Vector:
    """What the model sees of a message. Used alike in training and at run time."""
    text = own.normal.text
    if len(text) > WHOLE:
        text = text[: WHOLE * 2 // 3] + text[-WHOLE // 3 :]
    topics, concepts = lexicon.topics(text), lexicon.concepts(text)
    return features.vector(text, own.hits, topics, concepts, meaning(encoder, text))


def meaning(encoder: Encoder | None, text: str) -> Floats:
    """The dense features of a normal form; none without an encoder."""
    return features.unfold(encoder.encode([text])[0]) if encoder else features.NO_MEANING


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


def _log_odds(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def _kinds(risk: Risk, own: Reading, older: Sequence[Reading], whole: Scores) -> tuple[Kind, ...]:
    """Kinds named by phrases in earnest first, then the model's; never empty at high or above."""
    if risk_rank(risk) < 1:
        return ()
    found: dict[Kind, None] = {}
    for hit in sorted(own.hits, key=lambda hit: -risk_rank(hit.risk)):
        if risk_rank(hit.risk) >= _MEDIUM:
            found[hit.phrase.kind] = None
    for i in np.argsort(-whole.kinds):
        if whole.kinds[i] >= (0.35 if risk_rank(risk) >= _MEDIUM else 0.5):
            found[KINDS[i]] = None
    if not found and risk_rank(risk) >= _MEDIUM:
        for reading in reversed(older):
            found.update(dict.fromkeys(hit.phrase.kind for hit in reading.hits if hit.live))
    best = int(whole.kinds.argmax())
    if not found and (
        risk_rank(risk) >= _HIGH or whole.kinds[best] >= (0.2 if risk_rank(risk) >= _MEDIUM else 0.3)
    ):
        found[KINDS[best]] = None
    return tuple(found)


def _topic(risk: Risk, kinds: tuple[Kind, ...], intent: Intent, whole: Scores) -> Topic:
    """The model's topic, except that distress and danger are never `other`, harm done to somebody is not only a
    feeling, and a bare service word is `other`."""
    topic = TOPICS[int(whole.topic.argmax())]
    own_mind = set(kinds) <= _OWN_MIND
    if risk_rank(risk) >= _HIGH and kinds and topic in ("other", "legal"):
        return "psychological" if own_mind else "safety"
    if risk_rank(risk) >= _MEDIUM and topic == "other":
        return "psychological" if own_mind else "safety"
    if risk_rank(risk) >= _MEDIUM and topic == "psychological" and kinds and kinds[0] not in _OWN_MIND:
        return "safety"
    if intent not in ("none", "yes", "no", "human") and risk_rank(risk) < _MEDIUM:
        return "other" if whole.topic[TOPICS.index(topic)] < 0.9 else topic
    return topic


def _about(own: Reading, whole: Scores) -> About:
    best = cast(About, ABOUTS[int(whole.about.argmax())])
    if best == "unknown" and any(hit.live for hit in own.hits):
        return "other" if any("other" in hit.scopes for hit in own.hits if hit.live) else "self"
    return best


def _spans(own: Reading, worst: tuple[int, int] | None) -> tuple[Span, ...]:
    """The words that moved the risk; where no phrase did, the sentence that the model found gravest."""
    spans: list[Span] = []
    for hit in sorted(own.hits, key=lambda hit: (-risk_rank(hit.risk), hit.start)):
        if risk_rank(hit.risk) < 1 or len(spans) >= MAX_SPANS:
            break
        start, end = own.normal.original(hit.start, hit.end)
        if not any(span.start <= start and end <= span.end for span in spans):
            spans.append(Span(start, end, hit.phrase.reason))
    if not spans and worst and worst[1] > worst[0]:
        spans.append(Span(*own.normal.original(*worst), "这句话整体读来令人担心"))
    return tuple(sorted(spans, key=lambda span: span.start))


@cache
def default() -> Engine:
    """The engine of this process, loaded at the first call."""
    return Engine.load()


def understand(text: str, history: Sequence[str] = ()) -> Understanding:
    """Read `text` in the light of `history` (the same person's older messages, oldest first) with the default engine."""
    return default().understand(text, history)
