"""Turns the handle of the alert ladder (promise 5) and keeps the watches beside it: every second, or when an alert begins.

    due alerts -> alerts.step (committed) -> alarms.carry -> what became of it, on record
    owners who vanished, safety texts that fell due, unread messages nobody opened -> the same transaction's rows, then the bells

Everything that is due is read from the database and changed under a lock, so any number of processes may run a ladder. It never
stops: an error is logged by its type and the next second tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.alarms import Alarms
from bot.channels import StorageUnavailable
from bot.desk_view import DeskNow
from bot.events import News
from bot.outbox import Draft
from bot.policy import policy_of
from bot.shell import Shell
from escalation import alerts, desk, episodes, nuisance, people, roster
from escalation.alerts import Ring
from escalation.policy import TELEPHONE, grave
from escalation.privacy import Unreadable
from escalation.tables import Conversation, Episode
from handlers import crisis
from handlers.templates import Filled, Templates

log = structlog.get_logger(__name__)

_EVERY: Final = 1.0  # seconds
_UNCONFIRMED_EVERY: Final = 10  # rounds
_NUISANCE_EVERY: Final = 60
_CARRY_AT_CLOSE: Final = 5.0  # seconds that rings under way get when the service stops


class Ladder:
    """One per process with workers. `texts` gives the templates in force."""

    def __init__(self, shell: Shell, alarms: Alarms, texts: Callable[[], Templates] = Templates) -> None:
        self._shell = shell
        self._alarms = alarms
        self._texts = texts
        self.policy = policy_of(shell.settings.escalation)
        self._desk = DeskNow(shell.settings.desk)
        self._task: asyncio.Task[None] | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._round = 0
        self._idle = self._closing = False

    async def start(self) -> None:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready), name="ladder")
        await ready.wait()

    async def close(self) -> None:
        """Finish the round under way (a read cut off leaves its connection open), then let rings get through."""
        self._closing = True
        if self._task is not None:
            if self._idle:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=_CARRY_AT_CLOSE)

    async def _run(self, ready: asyncio.Event) -> None:
        async with self._shell.bus.listen() as news:
            ready.set()
            while not self._closing:
                await self.once()
                if not self._closing:
                    self._idle = True
                    await _alert_or_second(news)
                    self._idle = False

    async def once(self) -> None:
        """One round: everything that is due now. Each watch fails alone."""
        now = self._shell.clock()
        self._round += 1
        await self._guarded("vanished", self._vanished, now)
        await self._guarded("safety", self._safety, now)
        await self._guarded("unread", self._unread, now)
        if self._round % _UNCONFIRMED_EVERY == 1:
            await self._guarded("unconfirmed", self._unconfirmed, now)
        if self._round % _NUISANCE_EVERY == 1:
            await self._guarded("nuisance", self._nuisance, now)
        await self._guarded("climb", self._climb, now)  # last: what began above rings in this round

    async def settled(self) -> None:
        """Wait until every ring under way was carried and its outcome written."""
        while self._carrying:
            await asyncio.wait(self._carrying)

    async def _guarded(self, name: str, watch: Callable[[datetime], Awaitable[None]], now: datetime) -> None:
        try:
            await watch(now)
        except StorageUnavailable:
            log.error("ladder.storage", watch=name)
        except Exception as error:
            log.error("ladder.failed", watch=name, error=type(error).__name__)

    # --- the ladder ---------------------------------------------------------------------------------------------------

    async def _climb(self, now: datetime) -> None:
        async with self._shell.storage.read() as session:
            if not await alerts.any_due(session, now):
                return
        for ring in await self._shell.storage.write(lambda s: self._step_all(s, now), urgent=True):
            self._carry(ring)

    async def _step_all(self, session: AsyncSession, now: datetime) -> list[Ring]:
        rings: list[Ring] = []
        duties: dict[str, roster.Duty] = {}
        for alert in await alerts.due(session, now):
            if alert.desk not in duties:
                duties[alert.desk] = await roster.on_duty(session, now, alert.desk)
            rings += await alerts.step(session, alert, duties[alert.desk], now, self.policy)
        return rings

    def _carry(self, ring: Ring) -> None:
        task = asyncio.create_task(self._carry_out(ring), name="ring")
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry_out(self, ring: Ring) -> None:
        try:
            outcomes = await self._alarms.carry(ring)
            if outcomes:
                await self._shell.storage.write(lambda s: self._note(s, ring, outcomes), urgent=True)
                self._shell.bus.publish(News("alert", ring.conversation_id, {"alert_id": str(ring.alert_id)}))
        except (
            Exception
        ) as error:  # its outcome stays unwritten and the ring is made again (alerts.unconfirmed)
            log.error("ladder.ring_failed", error=type(error).__name__, alert_id=ring.alert_id)

    async def _note(self, session: AsyncSession, ring: Ring, outcomes: dict[str, str]) -> None:
        now = self._shell.clock()
        for means, error in outcomes.items():
            await alerts.carried(session, ring, means, now, error=error)
        if all(outcomes.values()) and alerts.SCREEN not in ring.means and ring.rung < TELEPHONE:
            await alerts.unreached(session, ring, now)

    async def _unconfirmed(self, now: datetime) -> None:
        for ring in await self._shell.storage.write(lambda s: alerts.unconfirmed(s, now), urgent=True):
            self._carry(ring)

    # --- the watches beside it ----------------------------------------------------------------------------------------

    async def _vanished(self, now: datetime) -> None:
        async with self._shell.storage.read() as session:
            if not await desk.vanishing(session, now, self.policy):
                return
        for conversation_id in await self._shell.storage.write(
            lambda s: self._give_back(s, now), urgent=True
        ):
            self._tell(conversation_id)

    async def _give_back(self, session: AsyncSession, now: datetime) -> list[int]:
        """Return conversations to the queue and tell the persons honestly."""
        lost = await desk.vanished(session, now, self.policy)
        view = await self._desk.view(session, now)
        for gone in lost:
            key = "handoff.owner_gone" if view.human_on_duty else "handoff.owner_gone_nobody"
            danger = grave(gone.conversation.risk)
            await self._say(session, gone.conversation, self._texts().fill(key, view), now, urgent=danger)
        return [gone.conversation.id for gone in lost]

    async def _safety(self, now: datetime) -> None:
        async with self._shell.storage.read() as session:
            due = await session.scalar(select(Episode.id).where(Episode.safety_due_at <= now).limit(1))
            if due is None:
                return
        for conversation_id in await self._shell.storage.write(
            lambda s: self._say_safety(s, now), urgent=True
        ):
            self._tell(conversation_id)

    async def _say_safety(self, session: AsyncSession, now: datetime) -> list[int]:
        """Risk rose under a human who has not written since: the safety text goes out now (promise 6)."""
        view = await self._desk.view(session, now)
        told = []
        for episode in await episodes.safety_due(session, now):
            conversation = await session.get_one(Conversation, episode.conversation_id)
            key = crisis.safety_key_of(episode.kinds, episode.level)
            await self._say(session, conversation, self._texts().fill(key, view), now, urgent=True)
            told.append(conversation.id)
        return told

    async def _unread(self, now: datetime) -> None:
        async with self._shell.storage.read() as session:
            waits = await session.scalar(
                select(Conversation.id)
                .where(Conversation.unjudged_since <= now - self.policy.unread_rings_after)
                .limit(1)
            )
            if waits is None:
                return
        await self._shell.storage.write(lambda s: alerts.unreadable_waiting(s, now, self.policy), urgent=True)

    async def _nuisance(self, now: datetime) -> None:
        await self._shell.storage.write(lambda s: nuisance.lapse(s, now))

    async def _say(
        self, session: AsyncSession, conversation: Conversation, text: Filled, now: datetime, *, urgent: bool
    ) -> None:
        try:
            key = await people.key_of(session, self._shell.vault, conversation.person_id)
        except Unreadable:
            return  # erased or damaged: nobody can be told, and the others must be
        await outbox.write(
            session,
            self._shell.vault,
            conversation,
            [Draft(text.text, template=text.source)],
            lane=outbox.CRISIS if urgent else outbox.BOT,
            now=now,
            author="system",
            key=key,
        )

    def _tell(self, conversation_id: int) -> None:
        self._shell.outbox.ring(conversation_id)
        self._shell.bus.publish(News("conversation", conversation_id))


async def _alert_or_second(news: asyncio.Queue[News]) -> None:
    """Until somebody says that an alert changed, a second at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EVERY):
            while (await news.get()).what != "alert":
                pass
