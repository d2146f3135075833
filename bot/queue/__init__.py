"""The bell between inbox and workers. It says which conversation has something to do; the database says what.

Two kinds behind one interface, in memory.py and redis.py, and one conformance suite over both (tests/bot/test_queue.py).
A bell may be lost or ring twice: the sweep rings again for what was forgotten, and a turn that finds nothing to do does nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Bell:
    """One conversation to look at. `handle` is the queue's own note of it."""

    conversation_id: int
    urgent: bool = False
    handle: str = ""


class Queue(Protocol):
    """Ring, listen, done. While a bell is being handled, the same conversation is not given to anybody else."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def ring(self, conversation_ids: Sequence[int], *, urgent: bool = False) -> None:
        """Somebody should look at these conversations; `urgent` ones before all others. Never raises: the sweep mends."""
        ...

    def listen(self, *, most: int = 64) -> AsyncIterator[list[Bell]]:
        """Bells to handle, several at once, urgent and usual never mixed in one list. Ends after close()."""
        ...

    async def done(self, bells: Sequence[Bell]) -> None:
        """These were handled, whatever the outcome. What rang meanwhile for the same conversations comes next."""
        ...
