"""骚扰标记: proposed by one, confirmed by a supervisor, over after 7 days at most. Lowers the place in the queue, no more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import records, tasks
from escalation.people import key_of
from escalation.privacy import Vault
from escalation.queue_rank import queue_rank
from escalation.tables import Conversation, Nuisance

LONGEST_DAYS: Final = 7


class NotAllowed(Exception):
    """`code`: own (one cannot confirm one's own proposal), decided, days, no_reason, unknown."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def active(session: AsyncSession, person_id: int, now: datetime) -> bool:
    """Whether a confirmed mark is in force for this person."""
    return bool(await marked(session, [person_id], now))


async def marked(session: AsyncSession, person_ids: Sequence[int], now: datetime) -> set[int]:
    """Which of these persons have a confirmed mark in force: `active` for many."""
    found = await session.scalars(
        select(Nuisance.person_id).where(
            Nuisance.person_id.in_(person_ids), Nuisance.ended_at.is_(None), Nuisance.until > now
        )
    )
    return set(found)


async def propose(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    *,
    staff_id: int,
    reason: str,
    now: datetime,
) -> Nuisance:
    """Propose a mark; it has no effect until a supervisor confirms it. An open proposal is returned as it is.

    Raises NotAllowed("no_reason") or ("unknown").
    """
    if not reason.strip():
        raise NotAllowed("no_reason")
    await session.flush()
    conversation = await session.get(Conversation, conversation_id)
    if conversation is None:
        raise NotAllowed("unknown")
    standing = await session.scalar(
        select(Nuisance)
        .where(
            Nuisance.person_id == conversation.person_id,
            Nuisance.confirmed_by.is_(None),
            Nuisance.ended_at.is_(None),
        )
        .limit(1)
    )
    if standing is not None:
        return standing
    key = await key_of(session, vault, conversation.person_id)
    mark = Nuisance(
        person_id=conversation.person_id,
        proposed_by=staff_id,
        proposed_at=now,
        reason_sealed=key.seal(reason, "nuisance.reason"),
    )
    session.add(mark)
    await session.flush()
    records.write(session, staff_id, "nuisance.propose", "person", conversation.person_id, now)
    await tasks.open_task(
        session,
        "nuisance_review",
        now=now,
        conversation_id=conversation_id,
        role="supervisor",
        detail=str(mark.id),
    )
    return mark


async def confirm(
    session: AsyncSession, nuisance_id: int, *, staff_id: int, days: int, now: datetime
) -> Nuisance:
    """A supervisor's yes, for 1 to 7 days. Who may is for the caller (staff.may "nuisance.confirm"); never the proposer."""
    mark = await _mark(session, nuisance_id)
    if mark.proposed_by == staff_id:
        raise NotAllowed("own")
    if mark.ended_at is not None or mark.confirmed_by is not None:
        raise NotAllowed("decided")
    if not 1 <= days <= LONGEST_DAYS:
        raise NotAllowed("days")
    mark.confirmed_by, mark.until = staff_id, now + timedelta(days=days)
    records.write(session, staff_id, "nuisance.confirm", "person", mark.person_id, now, str(days))
    await _settled(session, mark, staff_id, now)
    return mark


async def end(session: AsyncSession, nuisance_id: int, *, staff_id: int, now: datetime) -> Nuisance:
    """End a mark, or turn a proposal down."""
    mark = await _mark(session, nuisance_id)
    if mark.ended_at is None:
        mark.ended_at = now
        records.write(session, staff_id, "nuisance.end", "person", mark.person_id, now)
        await _settled(session, mark, staff_id, now)
    return mark


async def lapse(session: AsyncSession, now: datetime) -> int:
    """End marks whose time is over and put the persons back in their place; returns how many."""
    await session.flush()
    found = await session.scalars(select(Nuisance).where(Nuisance.until <= now, Nuisance.ended_at.is_(None)))
    over = found.all()
    for mark in over:
        mark.ended_at = mark.until
        await _settled(session, mark, None, now)
    return len(over)


async def _mark(session: AsyncSession, nuisance_id: int) -> Nuisance:
    await session.flush()
    mark = await session.get(Nuisance, nuisance_id)
    if mark is None:
        raise NotAllowed("unknown")
    return mark


async def _settled(session: AsyncSession, mark: Nuisance, staff_id: int | None, now: datetime) -> None:
    """The review is done; waiting conversations of the person find their new place."""
    if staff_id is not None:
        await tasks.done_for(session, "nuisance_review", str(mark.id), staff_id, now)
    await session.flush()
    marked = await active(session, mark.person_id, now)
    waiting = await session.scalars(
        select(Conversation).where(Conversation.person_id == mark.person_id, Conversation.state == "queued")
    )
    for conversation in waiting.all():
        conversation.queue_rank = queue_rank(conversation.risk, marked)
    await session.flush()
