"""Many pieces of work, one commit: each sees what was written before it, one that fails harms nobody else, urgent goes first."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from bot.storage.together import Together
from bot.tables import Fact


async def test_a_piece_sees_what_the_one_before_it_wrote_in_the_same_commit(storage: Storage) -> None:
    async def once(session: AsyncSession) -> bool:
        if await session.scalar(select(Fact.value).where(Fact.name == "once")) is not None:
            return False
        session.add(Fact(name="once", value=b"1"))
        return True

    # On PostgreSQL several commits run side by side; there the key itself refuses the second.
    outcomes = await asyncio.gather(*(storage.write(once) for _ in range(20)), return_exceptions=True)
    assert outcomes.count(True) == 1


async def test_a_piece_that_fails_is_undone_and_harms_no_other(storage: Storage) -> None:
    async def write(session: AsyncSession, n: int) -> int:
        session.add(Fact(name=f"n{n}", value=b"1"))
        await session.flush()
        if n % 7 == 3:
            raise ValueError("this one")
        return n

    done = await asyncio.gather(
        *(storage.write(lambda s, n=n: write(s, n)) for n in range(60)), return_exceptions=True
    )
    failed = {n for n, outcome in enumerate(done) if isinstance(outcome, ValueError)}
    assert failed == {n for n in range(60) if n % 7 == 3}
    async with storage.read() as session:
        kept = set(await session.scalars(select(Fact.name)))
    assert kept == {f"n{n}" for n in range(60) if n % 7 != 3}


async def test_one_bad_item_of_a_shared_piece_is_refused_alone(storage: Storage) -> None:
    async def write(session: AsyncSession, items: list[int]) -> list[int]:  # type: ignore[misc]
        if 5 in items:
            raise ValueError("this one")
        session.add_all([Fact(name=f"i{n}", value=b"1") for n in items])
        return list(items)

    together: Together[int, int] = Together(storage, write)  # type: ignore[arg-type]
    done = await asyncio.gather(*(together(n) for n in range(12)), return_exceptions=True)
    assert [n for n, outcome in enumerate(done) if isinstance(outcome, ValueError)] == [5]
    assert [outcome for outcome in done if isinstance(outcome, int)] == [n for n in range(12) if n != 5]


async def test_a_reader_cannot_write(storage: Storage) -> None:
    if not storage.engines.sqlite:
        pytest.skip("on PostgreSQL nothing stops it; but nothing a reader does is committed")
    async with storage.read() as session:
        with pytest.raises(OperationalError, match="readonly"):
            await session.execute(insert(Fact).values(name="a", value=b""))
