"""Fifth station: carries replies out, the crisis lane first, one at a time for each person and lane.

A graver lane never waits for a lesser one: not behind a text of the same person that hangs, and not for a free place.

Attempt, then confirm (promise 2): the attempt is committed, then the provider is called, then the outcome is committed. A crash in
between leaves `attempting`; `recover` then sends safety texts and a human's words again, and shows the others as unknown. So the
duplicates at a provider never exceed the sends that were in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, and_, bindparam, exists, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from bot.channels import Channel, OutboundMessage, SendFailed, Sent, StorageUnavailable
from bot.events import Bus, News
from bot.outbox import CRISIS, HUMAN, PROACTIVE, OutboxService, cannot_reach, outbound
from bot.storage import Storage
from bot.tables import Delivery
from escalation.privacy import Vault

log = structlog.get_logger(__name__)

_MOST = 64  # sends at once
_KEPT_FOR_CRISIS = 32  # and these for safety texts alone, when a provider leaves all of those waiting
_CALL_SECONDS = 15.0
_LOST_AFTER = timedelta(seconds=60)  # an attempt of another process that long ago is nobody's any more
_ATTEMPTS = {CRISIS: 20, HUMAN: 12, 2: 8, PROACTIVE: 5}
_FIRST_WAIT = {CRISIS: 0.5, HUMAN: 1.0, 2: 2.0, PROACTIVE: 10.0}  # seconds; doubled each time
_LONGEST_WAIT = {CRISIS: 30.0, HUMAN: 60.0, 2: 300.0, PROACTIVE: 1800.0}


@dataclass(slots=True)
class _Outcome:
    delivery: Delivery
    sent: Sent | None = None
    failed: SendFailed | None = None


class Sender:
    """One per process. `wake` comes from the outbox; otherwise it looks once a second for what is due."""

    def __init__(
        self,
        storage: Storage,
        vault: Vault,
        bus: Bus,
        outbox: OutboxService,
        channels: Sequence[Channel],
        *,
        process: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._storage = storage
        self._vault = vault
        self._bus = bus
        self._outbox = outbox
        self._channels = {(c.name, c.account): c for c in channels if c.can_push}
        # Asked after every commit: made once.
        self._look = self._due(crisis=False).limit(1)
        self._look_for_crisis = self._due(crisis=True).limit(1)
        self._process = process
        self._clock = clock
        self._sending: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="sender")

    async def close(self) -> None:
        """Take nothing new; let the calls under way end, so that their outcome is known."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sending:
            await asyncio.wait(self._sending, timeout=_CALL_SECONDS)

    async def _run(self) -> None:
        while True:
            self._outbox.wake.clear()
            taken = 0
            try:
                if self._channels and len(self._sending) < _MOST + _KEPT_FOR_CRISIS:
                    taken = await self._round()
            except StorageUnavailable:
                await asyncio.sleep(0.5)
            except Exception as error:
                log.error("sender.failed", error=type(error).__name__)
                await asyncio.sleep(0.5)
            if taken == 0:
                # Not wait_for: in Python 3.11 it forgets that it was cancelled when the wake comes in the same moment.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._outbox.wake.wait()

    async def _round(self) -> int:
        async with self._storage.read() as session:
            look = self._look_for_crisis if self._full() else self._look
            if await session.scalar(look, {"now": self._clock()}) is None:
                return 0
        claimed = await self._storage.write(self._claim, urgent=True)
        for delivery, message in claimed:
            task = asyncio.create_task(self._carry(delivery, message))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(claimed)

    def _full(self) -> bool:
        """Whether only safety texts still have a place."""
        return len(self._sending) >= _MOST

    def _due(self, *, crisis: bool) -> Select[int]:
        """What is due at the parameter `now`, in any lane or (`crisis`) only safety texts."""
        earlier = aliased(Delivery)
        blocked = exists().where(
            earlier.contact_id == Delivery.contact_id,
            earlier.lane <= Delivery.lane,
            or_(
                earlier.state == "attempting",
                and_(earlier.state == "pending", earlier.id < Delivery.id),
            ),
        )
        accounts = or_(
            false(),
            *(and_(Delivery.channel == name, Delivery.account == acc) for name, acc in self._channels),
        )
        due = select(Delivery.id).where(
            Delivery.state == "pending", Delivery.next_at <= bindparam("now"), accounts, ~blocked
        )
        return due.where(Delivery.lane == CRISIS) if crisis else due

    async def _claim(self, session: AsyncSession) -> list[tuple[Delivery, OutboundMessage]]:
        full, now = self._full(), self._clock()
        room = (_MOST + _KEPT_FOR_CRISIS if full else _MOST) - len(self._sending)
        due = self._due(crisis=full).order_by(Delivery.lane, Delivery.id).limit(room)
        ids = select(due.subquery().c.id)
        chosen = list(
            await session.scalars(
                select(Delivery)
                .where(Delivery.id.in_(ids), Delivery.state == "pending")
                .order_by(Delivery.lane, Delivery.id)
                .with_for_update(skip_locked=True),
                {"now": now},
            )
        )
        for delivery in chosen:
            delivery.state = "attempting"
            delivery.via = "push"
            delivery.attempts += 1
            delivery.attempted_at = now
            delivery.attempted_by = self._process
        await session.flush()
        opened = {m.delivery_id: m for m in await outbound(session, self._vault, [d.id for d in chosen])}
        for delivery in chosen:
            if delivery.id not in opened:  # erased meanwhile, or damaged: nobody can read it any more
                delivery.state, delivery.error, delivery.settled_at = "failed", "unreadable", now
                await cannot_reach(session, delivery, now)
        return [(d, opened[d.id]) for d in chosen if d.id in opened]

    async def _carry(self, delivery: Delivery, message: OutboundMessage) -> None:
        channel = self._channels[delivery.channel, delivery.account]
        outcome = _Outcome(delivery)
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                outcome.sent = await channel.send(message)
        except SendFailed as failed:
            outcome.failed = failed
        except TimeoutError:
            outcome.failed = SendFailed("timeout", retry=True, maybe_sent=True)
        except Exception as error:
            # A fault of ours in the channel: the message may have left. The type only: no words in logs.
            log.error("sender.channel_fault", channel=channel.name, error=type(error).__name__)
            outcome.failed = SendFailed("channel_fault", retry=True, maybe_sent=True)
        while True:
            try:
                await self._storage.write(lambda session: self._settle(session, outcome), urgent=True)
                break
            except StorageUnavailable:
                await asyncio.sleep(0.5)  # the call was made: its outcome must be kept
        self._bus.publish(News("delivery", delivery.conversation_id, {"delivery_id": str(delivery.id)}))
        self._outbox.wake.set()

    async def _settle(self, session: AsyncSession, outcome: _Outcome) -> None:
        delivery = await session.get_one(Delivery, outcome.delivery.id)
        if delivery.state != "attempting" or delivery.attempted_by != self._process:
            return  # recovered by somebody else meanwhile
        now = self._clock()
        if outcome.sent is not None:
            delivery.state, delivery.settled_at, delivery.error = "sent", now, None
            delivery.provider_id = outcome.sent.provider_id or None
            return
        failed = outcome.failed
        assert failed is not None
        delivery.error = failed.code
        may_retry = failed.retry and (not failed.maybe_sent or delivery.resend_if_unknown)
        if may_retry and delivery.attempts < _ATTEMPTS[delivery.lane]:
            delivery.state = "pending"
            delivery.next_at = now + timedelta(seconds=wait_before(delivery.lane, delivery.attempts, failed))
            return
        delivery.state = "unknown" if failed.maybe_sent and not delivery.resend_if_unknown else "failed"
        delivery.settled_at = now
        await cannot_reach(session, delivery, now)

    async def recover(self, *, own: bool) -> int:
        """Settle attempts whose process died: at start with `own` (nobody else can be alive on an embedded database),
        later those older than a minute. Returns how many."""
        now = self._clock()

        async def work(session: AsyncSession) -> int:
            lost = select(Delivery).where(Delivery.state == "attempting")
            if not own:
                lost = lost.where(Delivery.attempted_at < now - _LOST_AFTER)
            deliveries = list(await session.scalars(lost.with_for_update(skip_locked=True)))
            for delivery in deliveries:
                if delivery.resend_if_unknown or delivery.via == "passive":
                    # A passive answer that was not confirmed is asked for again by the provider itself.
                    delivery.state, delivery.next_at = "pending", now
                else:
                    delivery.state, delivery.settled_at = "unknown", now
                    delivery.error = delivery.error or "crash"
                    await cannot_reach(session, delivery, now)
            return len(deliveries)

        recovered = await self._storage.write(work)
        if recovered:
            log.warning("sender.recovered", deliveries=recovered)
            self._outbox.wake.set()
        return recovered


def wait_before(lane: int, attempts: int, failed: SendFailed) -> float:
    """Seconds before the next attempt: doubled each time up to a limit by lane, with jitter, or as the provider says."""
    wait: float = min(_FIRST_WAIT[lane] * 2.0 ** (attempts - 1), _LONGEST_WAIT[lane])
    return max(failed.retry_after or 0.0, wait * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
