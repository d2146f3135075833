"""骚扰标记: proposed by one, confirmed by a supervisor, over after 7 days at most. Lowers the place in the queue, no more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.tables import Nuisance

LONGEST: Final = timedelta(days=7)


async def active(session: AsyncSession, person_id: int, now: datetime) -> bool:
    """Whether a confirmed mark is in force for this person."""
    found = await session.scalar(
        select(Nuisance.id)
        .where(Nuisance.person_id == person_id, Nuisance.ended_at.is_(None), Nuisance.until > now)
        .limit(1)
    )
    return found is not None
