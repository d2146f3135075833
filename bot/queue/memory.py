"""Bells within one process: the queue of the embedded default."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from bot.queue import Bell


class MemoryQueue:
    """Two lanes of conversation ids; one that is being handled waits until `done`."""

    def __init__(self) -> None:
        # Dicts, because they keep order and hold each conversation once.
        self._urgent: dict[int, None] = {}
        self._usual: dict[int, None] = {}
        self._busy: set[int] = set()
        self._again: dict[int, bool] = {}  # rang while busy -> urgent?
        self._wake = asyncio.Event()
        self._closed = False

    async def start(self) -> None:
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def ring(self, conversation_ids: Sequence[int], *, urgent: bool = False) -> None:
        for conversation_id in conversation_ids:
            if conversation_id in self._busy:
                self._again[conversation_id] = urgent or self._again.get(conversation_id, False)
            elif urgent:
                self._usual.pop(conversation_id, None)
                self._urgent[conversation_id] = None
            elif conversation_id not in self._urgent:
                self._usual[conversation_id] = None
        self._wake.set()

    async def listen(self, *, most: int = 64) -> AsyncIterator[list[Bell]]:
        while not self._closed:
            urgent = bool(self._urgent)
            lane = self._urgent or self._usual
            if not lane:
                self._wake.clear()
                await self._wake.wait()
                continue
            taken = list(lane)[:most] if len(lane) > most else list(lane)
            for conversation_id in taken:
                del lane[conversation_id]
            self._busy.update(taken)
            yield [Bell(conversation_id, urgent) for conversation_id in taken]

    async def done(self, bells: Sequence[Bell]) -> None:
        for bell in bells:
            self._busy.discard(bell.conversation_id)
            if bell.conversation_id in self._again:
                await self.ring([bell.conversation_id], urgent=self._again.pop(bell.conversation_id))
