"""Which questions would be answered otherwise after a change: shown to whoever approves, before anybody hears it.

Two libraries are asked the same questions, the one in force and the one with the change in it. No I/O: the caller brings both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from knowledge.answer import Answer, Outcome
from knowledge.entries import Entry
from knowledge.overlay import Overlay

Verdict = Literal["better", "worse", "other", "text"]


class Asked(Protocol):
    """What is needed of a library."""

    def answer(self, question: str, *, channel: str = "web") -> Answer: ...


@dataclass(frozen=True, slots=True)
class Said:
    """What one library says to a question: `entry_id` for an answer, the titles' ids for a choice."""

    outcome: Outcome
    entry_id: str
    title: str
    score: float
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, answer: Answer) -> Said:
        """Without the text, which may be long."""
        ids = tuple(candidate.entry_id for candidate in answer.candidates)
        return cls(answer.outcome, answer.entry_id, answer.title, round(answer.score, 4), ids)


@dataclass(frozen=True, slots=True)
class Difference:
    """A question (by its place in the list) that would be answered otherwise."""

    number: int
    before: Said
    after: Said
    text_changed: bool


def compared(before: Asked, after: Asked, questions: Sequence[str]) -> list[Difference]:
    """The questions whose outcome, entry, choice or text differs, in their order."""
    found = []
    for number, question in enumerate(questions):
        old, new = before.answer(question), after.answer(question)
        was, will = Said.of(old), Said.of(new)
        same = (was.outcome, was.entry_id, set(was.choices)) == (
            will.outcome,
            will.entry_id,
            set(will.choices),
        )
        if not same or old.text != new.text:
            found.append(Difference(number, was, will, text_changed=same))
    return found


def verdict(difference: Difference, *, saved: bool, expected: str | None) -> Verdict:
    """Whether a change is for the better. Only of a saved question is it known which entry must answer it (None: none may)."""
    if difference.text_changed:
        return "text"
    if not saved:
        return "other"
    was, will = (_right(said, expected) for said in (difference.before, difference.after))
    return "other" if was == will else "better" if will else "worse"


def _right(said: Said, expected: str | None) -> bool:
    return said.entry_id == expected if expected else said.outcome != "answer"


def with_change(overlay: Overlay, entry: Entry | None, entry_id: str) -> Overlay:
    """The overlay as it would be with this text published, or with the entry retired (None)."""
    entries = tuple(one for one in overlay.entries if one.id != entry_id)
    if entry is None:
        return Overlay(overlay.generation, entries, overlay.hidden | {entry_id}, overlay.broken)
    return Overlay(overlay.generation, (*entries, entry), overlay.hidden - {entry_id}, overlay.broken)
