"""A case is opened: with its number, by the first danger, unread message or counsellor's need. cases.py does the rest."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.tables import Case, Conversation
from nlu.understanding import Risk, higher

_DAY: Final = ZoneInfo("Asia/Shanghai")  # all of China keeps one time


async def number(session: AsyncSession, now: datetime) -> str:
    """A free case number such as 20261123-40718: the day, then five digits drawn by lot (more on a day that is full).

    Drawn, not counted: a number goes out with alerts, and a count would tell outsiders how many cases a desk has. A shared
    counter would also be a lock that every crisis waits for.
    """
    day = now.astimezone(_DAY).strftime("%Y%m%d")
    for attempt in range(40):
        digits = 5 + attempt // 8
        candidate = f"{day}-{secrets.randbelow(10**digits):0{digits}d}"
        if await session.scalar(select(Case.id).where(Case.number == candidate)) is None:
            return candidate
    raise RuntimeError("no free case number was found")


async def open_for(session: AsyncSession, conversation: Conversation, level: Risk, now: datetime) -> Case:
    """The conversation's open case, made if there is none. The machine's risk in it only rises."""
    await session.flush()
    case = None if conversation.case_id is None else await session.get(Case, conversation.case_id)
    if case is None or case.state == "closed":
        case = Case(
            number=await number(session, now),
            desk=conversation.desk,
            conversation_id=conversation.id,
            person_id=conversation.person_id,
            state="in_progress" if conversation.owner_id else "new",
            risk_machine=level,
            category=conversation.category,
            owner_id=conversation.owner_id,
            opened_at=now,
        )
        session.add(case)
        await session.flush()
        conversation.case_id = case.id
    elif higher(case.risk_machine, level) != case.risk_machine:
        case.risk_machine = level
    return case
