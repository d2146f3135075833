"""An editing desk to test on: a real database, three persons, and a day that only the test moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage import Storage
from escalation.tables import Record
from knowledge import desk
from knowledge.entries import Entry
from knowledge.tables import KnowledgeEntry, KnowledgeRevision

T = TypeVar("T")
ANNA, BO, CHEN = 11, 12, 13
OWN = "labour.water-break"
FIELDS: dict[str, Any] = {
    "title": "上班时能不能喝水休息",
    "asks": ["上班能喝水吗", "老板不让喝水", "工作时可以歇一会吗", "站一天不让坐", "上厕所要扣钱吗"],
    "short": "可以。上班时喝水、上厕所是正当的需要，不能因此扣钱。先和主管说清楚，说不通就打12333。",
    "long": "",
    "category": "legal.labour.overtime",
    "audience": ["worker"],
    "region": "",
    "sources": [{"body": "12333人社服务热线"}],
    "checked_on": "2026-01-02",
    "review_by": "2027-01-02",
    "brings_human": False,
}


@dataclass
class EditingDesk:
    """The room over a database. Every step is done with the version that the entry has now."""

    storage: Storage
    now: datetime = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)

    @property
    def today(self) -> date:
        return self.now.date()

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    async def do(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        return await self.storage.write(work)

    async def version(self, entry_id: str) -> int:
        async with self.storage.read() as session:
            row = await session.get(KnowledgeEntry, entry_id)
            return 0 if row is None else row.version

    async def step(
        self, what: Callable[..., Awaitable[T]], entry_id: str, *given: Any, by: int = ANNA, **more: Any
    ) -> T:
        more.setdefault("version", await self.version(entry_id))
        return await self.do(lambda s: what(s, entry_id, *given, staff_id=by, now=self.now, **more))  # fmt: skip

    async def write(self, entry_id: str = OWN, *, by: int = ANNA, **change: Any) -> KnowledgeRevision:
        return await self.step(desk.draft, entry_id, FIELDS | change, by=by)

    async def approved(self, entry_id: str = OWN, *, by: int = ANNA, and_by: int = BO, **change: Any) -> None:
        await self.write(entry_id, by=by, **change)
        await self.step(desk.submit, entry_id, by=by)
        await self.step(desk.approve, entry_id, by=and_by)

    async def published(
        self, entry_id: str = OWN, *, by: int = ANNA, and_by: int = BO, **change: Any
    ) -> KnowledgeRevision:
        days = {name: change.pop(name) for name in ("valid_from", "valid_until") if name in change}
        await self.approved(entry_id, by=by, and_by=and_by, **change)
        return await self.step(desk.publish, entry_id, by=by, today=self.today, **days)  # fmt: skip

    async def live(self, entry_id: str = OWN, *, days: int = 0) -> Entry | None:
        async with self.storage.read() as session:
            entries = await desk.live_entries(session, self.today + timedelta(days=days))
        return next((entry for entry in entries if entry.id == entry_id), None)

    async def generation(self) -> int:
        async with self.storage.read() as session:
            return await desk.generation(session)

    async def one(self, entry_id: str = OWN) -> desk.Listed:
        async with self.storage.read() as session:
            return await desk.one(session, entry_id, self.today)

    async def listed(self, **filters: Any) -> list[str]:
        async with self.storage.read() as session:
            return [one.id for one in await desk.listed(session, self.today, **filters)]

    async def records(self) -> list[tuple[int | None, str, str]]:
        async with self.storage.read() as session:
            rows = await session.scalars(select(Record).order_by(Record.id))
            return [(row.staff_id, row.action, row.why) for row in rows]


@pytest.fixture
def editing(storage: Storage) -> EditingDesk:
    return EditingDesk(storage)
