"""What knowledge says to a question: a published entry, a choice of titles, or honestly nothing (promise 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["answer", "choose", "nothing"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an entry's statement stands: a law with article and version date, or an official body.

    `article` is empty for a body or for a rule cited by name only. `version` is the ISO date of the law's version.
    """

    name: str
    article: str = ""
    version: str = ""

    def line(self) -> str:
        """The source in one short line, as a person reads it: 《劳动法》第五十条."""
        return f"《{self.name}》{self.article}" if self.article or self.version else self.name


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that might answer, with its confidence 0..1 and why it was found (for curators)."""

    entry_id: str
    title: str
    score: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one look-up.

    answer: `text` is the entry's wording for the channel, word for word as approved, `sources` where it stands.
    choose: two or three `candidates` are near, ask which one is meant.
    nothing: say that we cannot answer this and offer a human.
    `brings_human` is true for entries about self-harm or abuse: they never stand alone. `overdue` is true for an entry past
    its day of review: it is said with a caution.
    """

    outcome: Outcome
    score: float = 0.0
    entry_id: str = ""
    title: str = ""
    text: str = ""
    sources: tuple[Source, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    brings_human: bool = False
    overdue: bool = False


NOTHING = Answer(outcome="nothing")
