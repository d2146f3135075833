"""The embedded engine: text and older messages in, one Understanding out. No server, no download.

normalise -> phrases with scope -> context of the older messages -> labels. `nlu.understand` calls the
default engine. Nothing here keeps or logs a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from . import entities
from .lexicon import SENTENCE_END, Hit, Intents, Lexicon, combined
from .normalise import Normal, normalise
from .understanding import RISKS, Intent, Kind, Risk, Span, Topic, Understanding, higher, risk_rank

# Older messages that still count, and how many levels each has faded: the last two are as if said now.
FADING = (0, 0, 0, 1, 1, 2, 2, 2)
PIECE = 240  # characters looked at together; a letter is read piece by piece, so time stays linear
MAX_SPANS = 40
_SCORE: dict[Risk, float] = {"none": 0.01, "low": 0.04, "medium": 0.2, "high": 0.85, "critical": 0.97}
_OWN_MIND = frozenset({"suicide", "self_harm"})


@dataclass(frozen=True, slots=True)
class Reading:
    """One message read on its own, before its context."""

    hits: tuple[Hit, ...]
    risk: Risk
    resolved: bool


class Engine:
    """Understands messages. Load once; `understand` keeps nothing between calls and may run in any thread."""

    def __init__(self, lexicon: Lexicon, intents: Intents) -> None:
        self._lexicon = lexicon
        self._intents = intents

    @classmethod
    def load(cls, path: Path | None = None) -> Engine:
        """The engine with the shipped lexicons. Raises LexiconError when a file is missing or broken."""
        return cls(Lexicon(), Intents())

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        """Read `text` in the light of `history` (the same person's older messages, oldest first)."""
        normal = normalise(text)
        own = self._read(normal)
        older = [self._read(normalise(message)) for message in history[-len(FADING) :]]
        risk = self._in_context(own, older)
        live = [hit for hit in own.hits if risk_rank(hit.risk) >= risk_rank("medium")]
        kinds = _kinds(live) or (
            _kinds([h for r in older for h in r.hits if h.live]) if risk_rank(risk) >= 2 else ()
        )
        intent = cast(Intent, self._intents.find(normal.text))
        topic: Topic = "other"
        if kinds:
            topic = "psychological" if set(kinds) <= _OWN_MIND and risk != "critical" else "safety"
        return Understanding(
            topic=topic,
            risk=risk,
            risk_score=_SCORE[risk],
            kinds=kinds,
            about="other" if any("other" in hit.scopes for hit in live) else "self" if live else "unknown",
            intent=intent,
            resolved=own.resolved,
            spans=_spans(normal, own.hits),
            entities=entities.read(normal.text[:2000]),
        )

    def _read(self, normal: Normal) -> Reading:
        hits: list[Hit] = []
        resolved = False
        for start, piece in pieces(normal.text):
            hits += [
                replace(hit, start=hit.start + start, end=hit.end + start)
                for hit in self._lexicon.hits(piece)
            ]
            resolved = resolved or self._lexicon.has("resolved", piece)
        risk = combined(hits)
        return Reading(tuple(hits), risk, resolved and risk_rank(risk) < risk_rank("medium"))

    def _in_context(self, own: Reading, older: Sequence[Reading]) -> Risk:
        risk = own.risk
        for age, reading in enumerate(reversed(older)):
            if own.resolved or any(later.resolved for later in older[len(older) - age :]):
                risk = higher(risk, "low" if risk_rank(reading.risk) > 1 else "none")
                continue
            risk = higher(risk, RISKS[max(0, risk_rank(reading.risk) - FADING[age])])
        together = combined([hit for reading in (*older[-4:], own) for hit in reading.hits])
        return risk if own.resolved else higher(risk, together if own.hits else "none")


def pieces(text: str) -> list[tuple[int, str]]:
    """`text` in pieces of at most PIECE characters, cut at sentence ends where there are any, with their offsets."""
    found: list[tuple[int, str]] = []
    start = 0
    while start < len(text):
        end = min(start + PIECE, len(text))
        if end < len(text):
            cut = max(text.rfind(mark, start, end) for mark in SENTENCE_END)
            end = cut + 1 if cut > start else end
        found.append((start, text[start:end]))
        start = end
    return found


def _kinds(hits: Sequence[Hit]) -> tuple[Kind, ...]:
    ordered = sorted(hits, key=lambda hit: -risk_rank(hit.risk))
    return tuple(dict.fromkeys(hit.phrase.kind for hit in ordered))


def _spans(normal: Normal, hits: Sequence[Hit]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for hit in sorted(hits, key=lambda hit: (-risk_rank(hit.risk), hit.start)):
        if risk_rank(hit.risk) < risk_rank("low") or len(spans) >= MAX_SPANS:
            break
        start, end = normal.original(hit.start, hit.end)
        if not any(span.start <= start and end <= span.end for span in spans):
            spans.append(Span(start, end, hit.phrase.reason))
    return tuple(sorted(spans, key=lambda span: span.start))


@cache
def default() -> Engine:
    """The engine of this process, loaded at the first call."""
    return Engine.load()


def understand(text: str, history: Sequence[str] = ()) -> Understanding:
    """Read `text` in the light of `history` (the same person's older messages, oldest first) with the default engine."""
    return default().understand(text, history)
