"""News for open screens: ids and states, never words. Whoever listens reads the database for the rest.

In one process news goes by queues in memory; over several, Redis pub/sub carries it (bot/queue/redis.py). News can be
lost; the screens therefore also fetch at (re)connection and the database stays the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

What = Literal[
    "message",  # a message was stored in or for a conversation
    "conversation",  # state, owner or risk of a conversation changed
    "alert",  # an alert rings, pauses or ends
    "delivery",  # a delivery changed its state
    "typing",  # somebody types
    "finished",  # an inbound message was finished by a worker
    "left",  # a web chat's token is worth nothing any more: its pages close, in whichever process they are
    "task",
    "template",
    "entries",  # an entry was published, retired or rolled back
]


@dataclass(frozen=True, slots=True)
class News:
    """Something changed. `conversation_id` 0 where there is none; `extra` holds ids, levels and states only."""

    what: What
    conversation_id: int = 0
    extra: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Bus(Protocol):
    """Publish and listen, over one process or many."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, news: News) -> None:
        """Tell everybody. Never blocks, never raises."""
        ...

    def listen(self) -> AbstractAsyncContextManager[asyncio.Queue[News]]:
        """A queue of news from now on."""
        ...


class MemoryBus:
    """News within one process. A listener that does not read (1,000 behind) loses the oldest."""

    def __init__(self, *, backlog: int = 1_000) -> None:
        self._backlog = backlog
        self._listeners: set[asyncio.Queue[News]] = set()

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def publish(self, news: News) -> None:
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(news)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[News]]:
        queue: asyncio.Queue[News] = asyncio.Queue(self._backlog)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
