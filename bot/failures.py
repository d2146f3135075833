"""Failures of understanding, counted over all processes: several in a short time page a supervisor (promise 4).

One small fact in the database holds the moments of the last few; whoever adds one holds it until the commit, so that of three
processes with one failure each the third sees all three.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import orjson
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import Fact

_MOST: Final = 100  # moments kept; nobody asks for so many


async def note(session: AsyncSession, desk: str, failed: int, now: datetime, *, window: float) -> int:
    """`failed` messages of this desk could not be understood just now; returns how many within the last `window` seconds."""
    fact = await _locked(session, f"understanding_failures:{desk}")
    since = (now - timedelta(seconds=window)).timestamp()
    moments = [at for at in orjson.loads(fact.value) if since <= at] + [now.timestamp()] * failed
    fact.value = orjson.dumps(moments[-_MOST:])
    await session.flush()
    return len(moments)


async def _locked(session: AsyncSession, name: str) -> Fact:
    fact = await session.get(Fact, name, with_for_update=True, populate_existing=True)
    if fact is not None:
        return fact
    try:
        async with session.begin_nested():
            session.add(Fact(name=name, value=b"[]"))
            await session.flush()
    except IntegrityError:  # another process was quicker
        pass
    return await session.get_one(Fact, name, with_for_update=True, populate_existing=True)
