"""The desk's code in every row: a start under another code would hide staff and conversations from each other and from the ladder.

`check` stops such a start and names the cure; `qingting move-desk OLD` (`move`) is the cure where the code was really meant to change.
"""

from __future__ import annotations

from sqlalchemy import Table, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from bot.settings import ConfigProblem, Settings
from bot.shell import utc_now
from bot.storage import Storage
from bot.storage.engine import be_patient
from bot.storage.migrations import METADATA, upgrade
from escalation import records
from escalation.tables import Conversation, Staff


async def check(session: AsyncSession, configured: str) -> None:
    """Raises ConfigProblem when the staff and open conversations here are all another desk's."""
    desks = set(await session.scalars(select(Staff.desk).where(Staff.active).distinct()))
    desks |= set(
        await session.scalars(select(Conversation.desk).where(Conversation.state != "closed").distinct())
    )
    if not desks or configured in desks:
        return
    theirs = "、".join(sorted(desks))
    old = min(desks)
    raise ConfigProblem(
        f"desk.id：现在写的是 {configured}，数据库里的人员和会话却都属于 {theirs}。这样启动，原来的人登录后看不到来访者，"
        f"警报也叫不到他们。\n"
        f'  写错了：把 config.yml 里的 desk.id 改回 "{old}"。\n'
        f"  确实要换代码：先停掉所有进程并备份，再运行  qingting move-desk {old}"
    )


async def move(settings: Settings, old: str) -> int:
    """Give everything of desk `old` to the configured desk.id; returns how many rows. Raises ConfigProblem.

    All processes must be stopped first (on SQLite a running one is noticed).
    """
    from bot.run import only_one  # which wires the service, and so imports this file

    new = settings.desk.id
    if old == new:
        raise ConfigProblem(f"desk.id 已经是 {new}，没有要改的")
    lock = only_one(settings)
    storage = Storage(settings.storage.url)
    try:
        await upgrade(storage.engines.writing)
        await storage.start()
        return await storage.write(lambda session: _move(session, old, new))
    finally:
        await storage.close()
        if lock is not None:
            lock.close()


async def _move(session: AsyncSession, old: str, new: str) -> int:
    await be_patient(session)
    moved = 0
    for table in _tables():
        result = await session.execute(update(table).where(table.c.desk == old).values(desk=new))
        assert isinstance(result, CursorResult)
        moved += result.rowcount
    if not moved:
        known = await session.scalars(select(Staff.desk).distinct())
        raise ConfigProblem(
            f"数据库里没有属于 {old} 的记录；里面的人员属于 {'、'.join(sorted(known)) or '（没有人员）'}"
        )
    first = await session.scalar(select(func.min(Staff.id)).where(Staff.desk == new))
    records.write(session, None, "desk.move", "staff", first or 0, utc_now(), f"{old}>{new}"[:80])
    return moved


def _tables() -> list[Table]:
    return [table for metadata in METADATA for table in metadata.sorted_tables if "desk" in table.c]
