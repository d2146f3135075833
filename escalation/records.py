"""Who did what, when and why (promises 10 and 11). Details are codes and ids; a reason in free words is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.privacy import Vault
from escalation.tables import Record


def write(
    session: AsyncSession,
    staff_id: int | None,
    action: str,
    object: str,  # noqa: A002 (the column's own name)
    object_id: int,
    now: datetime,
    why: str = "",
) -> Record:
    """Put an act on record with the caller's transaction. `staff_id` None is the system; `why` is a code, never words."""
    record = Record(
        at=now, staff_id=staff_id, action=action, object=object, object_id=object_id, why=why, why_sealed=None
    )
    session.add(record)
    return record


def write_reason(
    session: AsyncSession,
    vault: Vault,
    staff_id: int,
    action: str,
    object: str,  # noqa: A002
    object_id: int,
    now: datetime,
    reason: str,
) -> Record:
    """The same with a reason in the staff member's own words, sealed with the desk's key."""
    record = write(session, staff_id, action, object, object_id, now)
    record.why_sealed = vault.desk.seal(reason, "record.why")
    return record


async def looked_since(session: AsyncSession, conversation_id: int, since: datetime) -> bool:
    """Whether a member of staff has opened the conversation since then."""
    await session.flush()
    found = await session.scalar(
        select(Record.id)
        .where(
            Record.object == "conversation",
            Record.object_id == conversation_id,
            Record.action == "look",
            Record.at >= since,
        )
        .limit(1)
    )
    return found is not None


async def of(session: AsyncSession, object: str, object_id: int, limit: int = 200) -> Sequence[Record]:  # noqa: A002
    """What was done with one thing, newest first."""
    found = await session.scalars(
        select(Record)
        .where(Record.object == object, Record.object_id == object_id)
        .order_by(Record.at.desc(), Record.id.desc())
        .limit(limit)
    )
    return found.all()
