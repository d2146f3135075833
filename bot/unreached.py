"""Words that wait for a carrier who will not come: each becomes a failure that staff see, and a task to call (promise 7).

Two kinds would otherwise look like any reply on its way, for ever: those of an account that is no longer in config.yml, and grave words
that only the person's own side can fetch (a web page nobody has open, a WeChat account that may only answer). The sweep looks.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, and_, exists, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from bot.outbox import CRISIS, HUMAN, cannot_reach
from bot.tables import Delivery
from escalation import tasks
from escalation.tables import Conversation, Person, Task

NO_ACCOUNT: Final = "no_account"
NOT_FETCHED: Final = "not_fetched"
_OTHERS_MAY_SERVE: Final = timedelta(
    minutes=1
)  # another process, started with another config.yml, has had its time
_FETCHED_WITHIN: Final = timedelta(minutes=2)  # a page that is open has a message within a second
_SHARE: Final = 200

Account = tuple[str, str]  # channel, account


def abandoned(served: Collection[Account], now: datetime) -> Select[Delivery]:
    """What waits for accounts that nobody serves. Of a web chat that was switched off only what somebody may miss:
    usual answers lie there for every visitor who left."""
    theirs = or_(*(and_(Delivery.channel == channel, Delivery.account == name) for channel, name in served))
    return select(Delivery).where(
        Delivery.state == "pending",
        Delivery.next_at <= now - _OTHERS_MAY_SERVE,
        ~theirs if served else true(),
        or_(Delivery.channel != "webchat", Delivery.lane.in_((CRISIS, HUMAN))),
    )


def unfetched(fetching: Collection[Account], now: datetime) -> Select[Delivery]:
    """Safety texts, and a human's words to a person in danger, that the person's side has not fetched. Each once; not where
    somebody has closed the conversation."""
    theirs = [and_(Delivery.channel == channel, Delivery.account == name) for channel, name in fetching]
    return (
        select(Delivery)
        .join(Conversation, Conversation.id == Delivery.conversation_id)
        .join(Person, Person.id == Conversation.person_id)
        .where(
            Delivery.state == "pending",
            Delivery.lane.in_((CRISIS, HUMAN)),
            Delivery.next_at <= now - _FETCHED_WITHIN,
            Delivery.error.is_(None),
            or_(Delivery.lane == CRISIS, Conversation.episode_id.is_not(None)),
            Conversation.state != "closed",
            Person.data_key.is_not(None),
            or_(*theirs),
        )
    )


def come_back() -> Select[Task]:
    """Tasks to call somebody who has fetched everything meanwhile."""
    still = exists().where(
        Delivery.conversation_id == Task.conversation_id,
        Delivery.state.in_(("pending", "attempting")),
        Delivery.error == NOT_FETCHED,
    )
    return select(Task).where(
        Task.state == "open", Task.kind == "cannot_reach", Task.detail == NOT_FETCHED, ~still
    )


async def give_up(session: AsyncSession, served: Collection[Account], now: datetime) -> int:
    """What nobody serves has failed, with its task; returns how many."""
    rows = await _locked(session, abandoned(served, now))
    for delivery in rows:
        delivery.state, delivery.error, delivery.settled_at = "failed", NO_ACCOUNT, now
        await cannot_reach(session, delivery, now)
    return len(rows)


async def ask_to_call(session: AsyncSession, fetching: Collection[Account], now: datetime) -> int:
    """What was not fetched stays, for the person may come back, and becomes a task; returns how many."""
    rows = await _locked(session, unfetched(fetching, now))
    for delivery in rows:
        delivery.error = NOT_FETCHED
        await cannot_reach(session, delivery, now)
    return len(rows)


async def call_off(session: AsyncSession, now: datetime) -> int:
    """They have fetched it after all: nobody need call. Returns how many tasks that ended."""
    ended = list(await session.scalars(come_back().limit(_SHARE)))
    for task in ended:
        await tasks.done(session, task.id, None, now)
    return len(ended)


async def _locked(session: AsyncSession, chosen: Select[Delivery]) -> list[Delivery]:
    await session.flush()
    rows = chosen.order_by(Delivery.id).limit(_SHARE).with_for_update(of=Delivery, skip_locked=True)
    return list(await session.scalars(rows.execution_options(populate_existing=True)))
