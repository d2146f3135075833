"""Once a day, at night by the desk's clock: data whose time is over ends, approved erasures that were held are tried again, and
entries whose review is overdue or whose law has changed are marked.

Which day was done is a Fact in the database, so of many processes one does the work. Small transactions: a share of each class at a
time, with everybody else's writes between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from bot import erasing, law_files
from bot.channels import StorageUnavailable
from bot.shell import Shell
from bot.tables import (
    Base,
    ChatSession,
    Delivery,
    DeliveryPart,
    Fact,
    LoginDelay,
    LoginSession,
    Quota,
    ReturnCode,
)
from escalation import nuisance, retention, roster
from escalation.tables import Contact
from knowledge import questions

log = structlog.get_logger(__name__)

_FACT: Final = "daily"
_HOUR: Final = 3  # not before this hour of the desk's day
_LOOK_EVERY: Final = 600.0  # seconds
_SHARE: Final = 2_000
_MOST_ROUNDS: Final = 10_000
_UNUSED_QUOTA: Final = timedelta(days=3)


class Daily:
    """One per process with workers."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._zone = ZoneInfo(shell.settings.desk.timezone)
        self._task: asyncio.Task[None] | None = None
        self._idle = self._closing = False

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="daily")

    async def close(self) -> None:
        """Finish the share under way; the rest of a day's work that was cut off is the next day's."""
        self._closing = True
        if self._task is not None:
            if self._idle:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closing:
            try:
                if await self.due(self._shell.clock()):
                    await self.once(self._shell.clock())
            except StorageUnavailable:
                log.error("daily.storage")
            except Exception as error:
                log.error("daily.failed", error=type(error).__name__)
            if not self._closing:
                self._idle = True
                await asyncio.sleep(_LOOK_EVERY)
                self._idle = False

    async def due(self, now: datetime) -> bool:
        """Whether today's work is due and no process took it; taking it is one write."""
        local = now.astimezone(self._zone)
        if local.hour < _HOUR:
            return False
        today = local.date().isoformat().encode()

        async def take(session: AsyncSession) -> bool:
            fact = await session.get(Fact, _FACT, with_for_update=True, populate_existing=True)
            if fact is None:
                session.add(Fact(name=_FACT, value=today))
                await session.flush()
                return True
            if fact.value >= today:
                return False
            fact.value = today
            return True

        async with self._shell.storage.read() as session:
            known = await session.scalar(select(Fact.value).where(Fact.name == _FACT))
        return (known is None or known < today) and await self._shell.storage.write(take)

    async def once(self, now: datetime) -> dict[str, int]:
        """All of today's work; returns how many of each class ended."""
        storage, settings, vault = self._shell.storage, self._shell.settings, self._shell.vault
        ended: Counter[str] = Counter()
        ended["erased"] = await storage.write(lambda s: erasing.retry_held(s, vault, now))
        for _ in range(_MOST_ROUNDS):
            share = await storage.write(lambda s: retention.expire(s, settings.retention, now))
            share |= await storage.write(lambda s: self._end_shell_rows(s, now))
            ended.update(share)
            if self._closing or not any(share.values()):
                break
        ended["questions"] = await storage.write(questions.expire)
        ended["nuisance"] = await storage.write(lambda s: nuisance.lapse(s, now))
        ended["screens"] = await storage.write(lambda s: roster.forget_screens(s, now))
        ended["entries_to_check"] = await law_files.mark(storage, now.astimezone(self._zone).date(), now)
        await storage.drop_old_pages()
        log.info("daily.done", **ended)
        return dict(ended)

    async def _end_shell_rows(self, session: AsyncSession, now: datetime) -> dict[str, int]:
        """The shell's own classes: sign-ins, deliveries, quotas, and access of contacts that are gone."""
        keep = self._shell.settings.retention
        signed_in = now - timedelta(days=keep.login_sessions)
        gone = LoginSession.ended_at < signed_in, LoginSession.seen_at < signed_in
        left = ChatSession.revoked_at < signed_in, ChatSession.seen_at < signed_in
        settled = Delivery.settled_at < now - timedelta(days=keep.deliveries)
        ended = {
            "login_sessions": await _end(session, LoginSession, LoginSession.id, or_(*gone)),
            "deliveries": await _end(session, Delivery, Delivery.id, settled),
            "delivery_parts": await _end(
                session,
                DeliveryPart,
                DeliveryPart.id,
                DeliveryPart.at < now - timedelta(days=keep.deliveries),
            ),
            "quotas": await _end(session, Quota, Quota.id, Quota.until < now - _UNUSED_QUOTA),
            "chat_sessions": await _end(session, ChatSession, ChatSession.id, or_(*left)),
            "return_codes": await _end(
                session, ReturnCode, ReturnCode.id, ReturnCode.contact_id.not_in(select(Contact.id))
            ),
        }
        await session.execute(
            delete(LoginDelay)
            .where(LoginDelay.until < signed_in)
            .execution_options(synchronize_session=False)
        )
        return ended


async def _end(
    session: AsyncSession, table: type[Base], id_: InstrumentedAttribute[int], due: ColumnElement[bool]
) -> int:
    """Delete a share of the rows that are due; returns how many."""
    ids = (await session.scalars(select(id_).where(due).limit(_SHARE))).all()
    if ids:
        await session.execute(delete(table).where(id_.in_(ids)).execution_options(synchronize_session=False))
    return len(ids)
