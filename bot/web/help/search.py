"""A search on the help site: what it might be about, and first whether somebody is in danger.

The words come by POST, are judged and looked up, and are gone with the answer: nothing is stored, logged or put into an address.
Judging fails towards the safety text (promise 4). No alert can follow, since nobody knows who searched; the page says so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from bot.brain import Brain, Question, Thought, fall_back
from bot.web.help.shelf import Shelf
from handlers.crisis import safety_key_of
from knowledge.entries import Entry
from nlu.language import is_foreign
from nlu.understanding import risk_rank

MOST: Final = 2000  # characters of a search that are read
_SHOWN: Final = 8
_AT_ONCE: Final = (
    2  # searches that are judged at once; a flood of them must not keep messages from being judged
)
_WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """`safety` is the key of the approved text that stands first, "" where nothing sounds like danger. `care`: distress, or an
    answer that never stands alone: a human is offered first. `answer` is the entry that answers, `others` further ones."""

    safety: str = ""
    care: bool = False
    answer: Entry | None = None
    others: tuple[Entry, ...] = ()


class Search:
    """Judges and finds. One per process."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def find(self, words: str, shelf: Shelf) -> Found:
        """What to show for these words."""
        thought = await self._think(words)
        understood, answer = thought.understanding, thought.answer
        safety = ""
        if thought.failed or is_foreign(words):
            safety = "safety.generic"
        elif risk_rank(understood.risk) >= risk_rank("high"):
            safety = safety_key_of(understood.kinds, understood.risk, understood.about)
        named = [answer.entry_id] if answer.outcome == "answer" else [c.entry_id for c in answer.candidates]
        # What the understanding process named may have been retired since: only what is on the shelf is shown.
        entries = [shelf.entries[entry_id] for entry_id in named if entry_id in shelf.entries]
        first = entries[0] if entries and answer.outcome == "answer" else None
        others = {
            e.id: e for e in [*entries, *shelf.near(words, _SHOWN)] if first is None or e.id != first.id
        }
        distress = risk_rank(understood.risk) >= risk_rank("medium") or (
            first is not None and first.brings_human
        )
        care = distress and not safety
        return Found(safety, care, first, tuple(others.values())[:_SHOWN])

    async def _think(self, words: str) -> Thought:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            return fall_back(words)
        try:
            (thought,) = await self._brain.think([Question(words)])
        finally:
            self._free.release()
        return thought
