"""Finds what did not end, mends it and reports it (promise 7): the net under queue, workers and sender.

The queue is only a bell and a bell can be lost: a message still `received` after a few seconds is rung for again. Attempts of dead
processes are recovered. Several failures of understanding in a short time page a supervisor (promise 4).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import select

from bot.brain import Brain
from bot.channels import StorageUnavailable
from bot.queue import Queue
from bot.sender import Sender
from bot.shell import Shell
from escalation.tables import Conversation, Message, Person

log = structlog.get_logger(__name__)

_EVERY = 5.0
_FORGOTTEN_AFTER = timedelta(seconds=5)
_MOST = 1000


class Sweep:
    """Runs every few seconds in each process that has workers; ringing twice does no harm."""

    def __init__(self, shell: Shell, queue: Queue, sender: Sender, brain: Brain) -> None:
        self._shell = shell
        self._queue = queue
        self._sender = sender
        self._brain = brain
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.once(at_start=True)
        self._task = asyncio.create_task(self._run(), name="sweep")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.once()
            except StorageUnavailable:
                continue
            except Exception as error:
                log.error("sweep.failed", error=type(error).__name__)

    async def once(self, *, at_start: bool = False) -> int:
        """One round; returns how many conversations were rung for again."""
        now = self._shell.clock()
        async with self._shell.storage.read() as session:
            forgotten = (
                select(Message.conversation_id)
                .join(Conversation, Conversation.id == Message.conversation_id)
                .join(Person, Person.id == Conversation.person_id)
                .where(Message.state == "received", Person.data_key.is_not(None))
                .order_by(Message.received_at)
                .limit(_MOST)
            )
            if not at_start:
                forgotten = forgotten.where(Message.received_at < now - _FORGOTTEN_AFTER)
            rung = list(dict.fromkeys(await session.scalars(forgotten)))
        if rung:
            log.warning("sweep.rings_again", conversations=len(rung))
            await self._queue.ring(rung)
        embedded = self._shell.storage.engines.sqlite
        await self._sender.recover(own=at_start and embedded)
        return len(rung)
