"""Finds what did not end, mends it and reports it (promise 7): the net under queue, workers and sender.

The queue is only a bell and a bell can be lost: a message still `received` after a few seconds is rung for again. Attempts of dead
processes are recovered. Words that nobody will carry become tasks for staff (bot/unreached.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import unreached
from bot.channels import Channel, StorageUnavailable
from bot.events import News
from bot.queue import Queue
from bot.sender import Sender
from bot.shell import Shell
from escalation.tables import Conversation, Message, Person

log = structlog.get_logger(__name__)

_EVERY = 5.0
_FORGOTTEN_AFTER = timedelta(seconds=5)
_MOST = 1000
_ACCOUNTS_EVERY = 12  # rounds: once a minute


class Sweep:
    """Runs every few seconds in each process that has workers; ringing twice does no harm."""

    def __init__(self, shell: Shell, queue: Queue, sender: Sender, channels: Sequence[Channel]) -> None:
        self._shell = shell
        self._queue = queue
        self._sender = sender
        self._served = [(c.name, c.account) for c in channels]
        self._fetching = [(c.name, c.account) for c in channels if not c.can_push]
        self._task: asyncio.Task[None] | None = None
        self._round = 0

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
        self._round += 1
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
        await self._unreached(now)
        return len(rung)

    async def _unreached(self, now: datetime) -> None:
        """Words that wait for nobody become tasks; looked for before anything is written."""
        looks: list[Select[Any]] = [unreached.come_back()]
        if self._fetching:
            looks.append(unreached.unfetched(self._fetching, now))
        if self._round % _ACCOUNTS_EVERY == 1:  # reads all that waits
            looks.append(unreached.abandoned(self._served, now))
        async with self._shell.storage.read() as session:
            found = [await session.scalar(look.limit(1)) for look in looks]
        if any(found):
            await self._shell.storage.write(lambda session: self._make_tasks(session, now), urgent=True)
            self._shell.bus.publish(News("task"))
            self._shell.bus.publish(News("alert"))

    async def _make_tasks(self, session: AsyncSession, now: datetime) -> None:
        no_account = await unreached.give_up(session, self._served, now)
        not_fetched = await unreached.ask_to_call(session, self._fetching, now) if self._fetching else 0
        await unreached.call_off(session, now)
        if no_account or not_fetched:
            log.warning("sweep.cannot_reach", no_account=no_account, not_fetched=not_fetched)
