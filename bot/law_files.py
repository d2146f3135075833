"""`qingting laws …`: files of official law texts into the database, while the service runs or not.

Importing sends nothing and wakes nobody, so a second process on SQLite does no harm here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from bot.run import is_new
from bot.settings import ConfigProblem, Settings, reason
from bot.shell import utc_now
from bot.storage import Storage
from escalation import records
from knowledge import law_library, upkeep
from knowledge.law_library import Stored
from knowledge.laws import Law, LawError, read_law


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of each file, and how many entries must be checked again; in `changed` of them a cited article reads otherwise."""

    laws: tuple[tuple[Law, Stored], ...]
    to_check: int
    changed: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """The library, with the number of entries that cite each law; `missing` are cited laws that it does not have."""

    laws: tuple[tuple[law_library.Listed, int], ...]
    missing: tuple[tuple[str, int], ...]


def read_files(paths: Sequence[Path], *, title: str = "", version: date | None = None) -> list[Law]:
    """The files' laws. Raises ConfigProblem naming every file that cannot be read, so that all or none are imported."""
    laws, problems = [], []
    for path in paths:
        try:
            laws.append(read_law(path.name, path.read_bytes(), title=title, version=version))
        except OSError as error:
            problems.append(f"{path}：读不了这个文件（{reason(error)}）")
        except LawError as error:
            problems.append(f"{path}：{error}")
    if problems:
        raise ConfigProblem("\n".join([*problems, "没有导入任何文件。"]))
    return laws


async def bring(settings: Settings, laws: Sequence[Law]) -> Imported:
    """Keep the laws, all or none, then mark the entries whose law has a newer version. Raises ConfigProblem."""
    now = utc_now()
    today = now.astimezone(ZoneInfo(settings.desk.timezone)).date()

    async def work(session: AsyncSession) -> list[tuple[Law, Stored]]:
        cited = await upkeep.cited_laws(session, today)
        stored = [(law, await law_library.store(session, law, cited=cited, now=now)) for law in laws]
        for _, one in stored:
            if one.outcome != "same":
                records.write(session, None, "law.import", "law_text", one.id, now, one.outcome)
        return stored

    async with _opened(settings) as storage:
        stored = await storage.write(work)
        await mark(storage, today, now)
        async with storage.read() as session:
            found = await upkeep.outdated(session, today)
    return Imported(tuple(stored), len(found), sum(not one.unchanged for one in found))


async def take_out(settings: Settings, title: str, version: date) -> bool:
    """Take out a version that should not have been imported, and the marks it made; whether it was there."""
    now = utc_now()
    today = now.astimezone(ZoneInfo(settings.desk.timezone)).date()

    async def work(session: AsyncSession) -> bool:
        gone = await law_library.remove(session, title, version)
        if gone is not None:
            records.write(session, None, "law.remove", "law_text", gone, now)
        return gone is not None

    async with _opened(settings) as storage:
        was_there = await storage.write(work)
        await mark(storage, today, now)
    return was_there


async def mark(storage: Storage, today: date, now: datetime) -> int:
    """Bring every entry's mark up to date, a few in each commit; returns how many were changed."""
    changed = 0
    while share := await storage.write(lambda session: upkeep.mark(session, today, now=now)):
        changed += share
    return changed


async def shelf(settings: Settings) -> Shelf:
    """What is in the library. Raises ConfigProblem."""
    today = utc_now().astimezone(ZoneInfo(settings.desk.timezone)).date()
    async with _opened(settings) as storage, storage.read() as session:
        laws = await law_library.listed(session)
        cited = {law: len(entries) for law, entries in (await upkeep.cited_laws(session, today)).items()}
    known = {law.title for law in laws}
    return Shelf(
        tuple((law, cited.get(law.title, 0)) for law in laws),
        tuple(sorted((title, count) for title, count in cited.items() if title not in known)),
    )


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Storage]:
    """The desk's database, which the service has made. Raises ConfigProblem where it has not, or is of an older version."""
    if is_new(settings):
        raise ConfigProblem(f"{settings.storage.data}：这里还没有数据，请先启动一次服务")
    storage = Storage(settings.storage.url)
    try:
        await storage.start()
        async with storage.read() as session:
            try:
                await law_library.newest(session)
            except (OperationalError, ProgrammingError):
                raise ConfigProblem("数据库打不开，或者还是旧版本的。请先用现在的程序启动一次服务") from None
        yield storage
    finally:
        await storage.close()
