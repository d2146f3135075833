"""How long each class of data is kept, and its end. The daily job (bot/daily.py) calls `expire` until nothing is left to do.

| class | what ends | counted from |
|---|---|---|
| message_words | words, notes, memory, reasons, review samples; other rows stay for the sums | closing of the conversation |
| | what leads from an unanswered question to its words; count and time stay | closing of the conversation |
| case_records | conversation, case, episodes, alerts, rescues; the person with their last one | closing of the conversation |
| | the count of an unanswered question | the asking |
| network_addresses | web visitors' network addresses | closing of their last conversation |
| looks | who looked and did what | the act |

A legal hold or an open rescue keeps everything of its person. Login sessions and deliveries are the shell's (bot/daily.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import unanswered
from escalation.tables import (
    Alert,
    AlertEvent,
    Case,
    Contact,
    Conversation,
    Episode,
    Message,
    Note,
    Nuisance,
    Person,
    Record,
    Rescue,
    RescueNotice,
    ReviewItem,
    Satisfaction,
    Task,
    Transfer,
    Unanswered,
)

IDLE: Final = timedelta(
    days=30
)  # a talk with the bot that nobody went on with is closed, so that its time runs
_SHARE: Final = 200  # conversations, persons or rows of one class in one call: a transaction stays short
_QUIET: Final[dict[str, Any]] = {"synchronize_session": False}


class Retention(Protocol):
    """Days by class (bot.settings.Retention)."""

    @property
    def message_words(self) -> int: ...
    @property
    def case_records(self) -> int: ...
    @property
    def network_addresses(self) -> int: ...
    @property
    def looks(self) -> int: ...


async def expire(session: AsyncSession, retention: Retention, now: datetime) -> dict[str, int]:
    """End what is due, a bounded share of each class; returns how many of each. All zero: nothing is left to do."""
    await session.flush()

    def since(days: int) -> datetime:
        return now - timedelta(days=days)

    return {
        "idle_conversations": await _close_idle(session, now),
        "message_words": await _end_words(session, since(retention.message_words)),
        "case_records": await _end_records(session, since(retention.case_records)),
        "network_addresses": await _end_addresses(session, since(retention.network_addresses)),
        "unanswered": await _end_unanswered(session, since(retention.case_records)),
        "looks": await _end_looks(session, since(retention.looks)),
    }


async def _close_idle(session: AsyncSession, now: datetime) -> int:
    idle = await session.scalars(
        select(Conversation)
        .where(
            Conversation.state == "bot",
            Conversation.episode_id.is_(None),
            Conversation.case_id.is_(None),
            or_(
                Conversation.last_inbound_at < now - IDLE,
                and_(Conversation.last_inbound_at.is_(None), Conversation.opened_at < now - IDLE),
            ),
        )
        .limit(_SHARE)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    rows = idle.all()
    for conversation in rows:
        conversation.state, conversation.closed_at = "closed", now
    await session.flush()
    return len(rows)


def _kept() -> ColumnElement[bool]:
    """Conversations that nothing may be taken from: a legal hold, an open rescue, an open case."""
    return or_(
        exists().where(Person.id == Conversation.person_id, Person.legal_hold),
        exists().where(Rescue.conversation_id == Conversation.id, Rescue.state == "open"),
        exists().where(Case.conversation_id == Conversation.id, Case.state != "closed"),
    )


async def _end_words(session: AsyncSession, before: datetime) -> int:
    has_words = or_(
        Conversation.memory_sealed.is_not(None),
        exists().where(
            Message.conversation_id == Conversation.id,
            or_(
                Message.text_sealed.is_not(None),
                Message.meta_sealed.is_not(None),
                Message.understanding_sealed.is_not(None),
            ),
        ),
        exists().where(Note.conversation_id == Conversation.id),
        exists().where(ReviewItem.conversation_id == Conversation.id),
        exists().where(Unanswered.conversation_id == Conversation.id),
        exists().where(Transfer.conversation_id == Conversation.id, Transfer.reason_sealed.is_not(None)),
    )
    ids = await _closed_before(session, before, has_words)
    if not ids:
        return 0
    await session.execute(
        update(Message)
        .where(Message.conversation_id.in_(ids))
        .values(text_sealed=None, meta_sealed=None, understanding_sealed=None)
        .execution_options(**_QUIET)
    )
    for table in (Note, ReviewItem):
        await session.execute(delete(table).where(table.conversation_id.in_(ids)).execution_options(**_QUIET))
    await unanswered.unlink(session, conversations_of=ids)
    await session.execute(
        update(Transfer)
        .where(Transfer.conversation_id.in_(ids))
        .values(reason_sealed=None)
        .execution_options(**_QUIET)
    )
    await session.execute(
        update(Conversation)
        .where(Conversation.id.in_(ids))
        .values(memory_sealed=None)
        .execution_options(**_QUIET)
    )
    return len(ids)


async def _end_records(session: AsyncSession, before: datetime) -> int:
    ids = await _closed_before(session, before)
    if not ids:
        return 0
    persons = (
        await session.scalars(select(Conversation.person_id).where(Conversation.id.in_(ids)).distinct())
    ).all()
    await unanswered.unlink(session, conversations_of=ids)
    alerts = select(Alert.id).where(Alert.conversation_id.in_(ids))
    rescues = select(Rescue.id).where(Rescue.conversation_id.in_(ids))
    ends = [
        delete(AlertEvent).where(AlertEvent.alert_id.in_(alerts)),
        delete(Alert).where(Alert.conversation_id.in_(ids)),
        delete(RescueNotice).where(RescueNotice.rescue_id.in_(rescues)),
        delete(Rescue).where(Rescue.conversation_id.in_(ids)),
        *(
            delete(table).where(table.conversation_id.in_(ids))
            for table in (Episode, Transfer, Satisfaction, Task, Note, ReviewItem, Message, Case)
        ),
        delete(Conversation).where(Conversation.id.in_(ids)),
    ]
    for end in ends:
        await session.execute(end.execution_options(**_QUIET))
    await _end_persons(session, persons)
    return len(ids)


async def _end_persons(session: AsyncSession, persons: Sequence[int]) -> None:
    """Persons without any conversation left go with their addresses and data key."""
    alone = select(Person.id).where(
        Person.id.in_(persons),
        ~Person.legal_hold,
        ~exists().where(Conversation.person_id == Person.id),
    )
    ids = (await session.scalars(alone)).all()
    if ids:
        for end in (
            delete(Nuisance).where(Nuisance.person_id.in_(ids)),
            delete(Contact).where(Contact.person_id.in_(ids)),
            delete(Person).where(Person.id.in_(ids)),
        ):
            await session.execute(end.execution_options(**_QUIET))


async def _end_addresses(session: AsyncSession, before: datetime) -> int:
    due = (
        select(Contact.id)
        .where(
            Contact.network_address_sealed.is_not(None),
            Contact.created_at < before,
            ~exists().where(
                Conversation.contact_id == Contact.id,
                or_(Conversation.closed_at.is_(None), Conversation.closed_at >= before, _kept()),
            ),
            ~exists().where(Person.id == Contact.person_id, Person.legal_hold),
        )
        .limit(_SHARE)
    )
    ids = (await session.scalars(due)).all()
    if ids:
        await session.execute(
            update(Contact)
            .where(Contact.id.in_(ids))
            .values(network_address_sealed=None)
            .execution_options(**_QUIET)
        )
    return len(ids)


async def _end_unanswered(session: AsyncSession, before: datetime) -> int:
    """Counted long enough. One that still has its words waits for them."""
    due = select(Unanswered.id).where(Unanswered.at < before, Unanswered.message_id.is_(None))
    ids = (await session.scalars(due.limit(_SHARE * 10))).all()
    if ids:
        await session.execute(delete(Unanswered).where(Unanswered.id.in_(ids)).execution_options(**_QUIET))
    return len(ids)


async def _end_looks(session: AsyncSession, before: datetime) -> int:
    ids = (await session.scalars(select(Record.id).where(Record.at < before).limit(_SHARE * 10))).all()
    if ids:
        await session.execute(delete(Record).where(Record.id.in_(ids)).execution_options(**_QUIET))
    return len(ids)


async def _closed_before(
    session: AsyncSession, before: datetime, *also: ColumnElement[bool]
) -> Sequence[int]:
    found = await session.scalars(
        select(Conversation.id)
        .where(Conversation.state == "closed", Conversation.closed_at < before, ~_kept(), *also)
        .order_by(Conversation.closed_at)
        .limit(_SHARE)
    )
    return found.all()
