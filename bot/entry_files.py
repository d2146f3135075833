"""Files of entries in and out, for the workbench and for `qingting knowledge`: what is wrong in words, and who imports.

Rows become drafts in one commit, all or none; two persons still stand between a draft and what is said (knowledge/desk.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy.exc import OperationalError, ProgrammingError

from bot.live_entries import today
from bot.run import is_new
from bot.settings import ConfigProblem, Settings, reason
from bot.shell import utc_now
from bot.storage import Storage
from bot.value_words import wrong
from escalation import staff
from knowledge import desk, exchange
from knowledge.entries import Entry, shipped
from knowledge.exchange import COLUMNS, Format, Plan, Problem, Refused, Row

NOTE: Final = "从文件导入"

_WORDS: Final = {
    "too_large": "文件太大，最多 {megabytes} MB",
    "too_many": "条目太多，一个文件最多 {most} 条",
    "too_many_drafts": "改动太多，一次最多 {most} 条，请分成几个文件",
    "empty_file": "文件里没有条目",
    "encoding": "不是 UTF-8 或 GB18030 编码的文字",
    "not_csv": "不是 CSV，或引号没有成对",
    "not_xlsx": "不是 XLSX，或文件已损坏（旧的 .xls 请另存为 .xlsx）",
    "not_yaml": "不是有效的 YAML",
    "not_entries": "应为 entries（和 defaults）组成的 YAML，或者条目的列表",
    "unknown_column": "有不认识的列",
    "doubled_column": "这一列出现了两次",
    "missing_column": "缺少这一列",
    "formula": "是公式，请改成文字",
    "category": "没有这个案由",
    "doubled_id": "和第 {row} 行的编号相同",
    "wording_of_other": "和第 {row} 行的问法相同",
    "in_work": "同事正在修改这个条目，等发布或放弃以后再导入",
}


def in_words(problem: Problem) -> str:
    """第 3 行 问法（第 2 个）：……"""
    place = f"第 {problem.row} 行" if problem.row else ""
    if problem.column:
        place += f" {COLUMNS[problem.column]}"
    if problem.item:
        place += f"（第 {problem.item} 个）"
    return f"{place.strip()}：{message(problem)}" if place else message(problem)


def message(problem: Problem) -> str:
    """What is wrong, without the place."""
    ctx = dict(problem.ctx)
    if problem.kind == "unknown_column" and "place" in ctx:
        return f"有不认识的列：左起第 {ctx['place']} 列"
    if problem.kind == "not_yaml" and "line" in ctx:
        return f"不是有效的 YAML：文件第 {ctx['line']} 行附近"
    told = _WORDS.get(problem.kind)
    return wrong(problem.kind, ctx) if told is None else told.format(**ctx)


def read_file(path: Path) -> list[Row]:
    """The rows of a file. Raises ConfigProblem naming every row and column that is wrong."""
    format_ = _format(path)
    try:
        return exchange.read(path.read_bytes(), format_)
    except OSError as error:
        raise ConfigProblem(f"{path}：读不了这个文件（{reason(error)}）") from None
    except Refused as refused:
        raise _told(path, refused.problems) from None


async def bring(settings: Settings, path: Path, rows: Sequence[Row], login: str) -> Plan:
    """Make drafts of the rows in the name of a curator, all or none. Raises ConfigProblem."""
    now = utc_now()
    async with _opened(settings) as storage:
        async with storage.read() as session:
            member = await staff.by_login(session, login)
        if member is None or not member.active or member.desk != settings.desk.id:
            raise ConfigProblem(f"--as {login}：本台没有这个在用的账号")
        if not staff.may(member.role, "entries.edit"):
            raise ConfigProblem(f"--as {login}：只有知识编辑可以写条目")
        member_id = member.id
        await asyncio.to_thread(shipped)
        day = today(now, settings.desk.timezone)
        try:
            async with storage.read() as session:
                planned = await exchange.plan(session, rows, today=day, staff_id=member_id)
            await storage.write(
                lambda s: exchange.carry_out(s, planned, staff_id=member_id, now=now, note=NOTE)
            )
            return planned
        except Refused as refused:
            raise _told(path, refused.problems) from None


async def live_entries(settings: Settings, now: datetime | None = None) -> list[Entry]:
    """What is said now. Raises ConfigProblem."""
    day = today(now or utc_now(), settings.desk.timezone)
    await asyncio.to_thread(shipped)
    async with _opened(settings) as storage, storage.read() as session:
        return await desk.live_entries(session, day)


def write_file(path: Path, entries: Sequence[Entry]) -> None:
    """Write a file of entries, never over one that is there. Raises ConfigProblem."""
    data = exchange.write(entries, _format(path))
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise ConfigProblem(f"{path}：已经有这个文件，没有改动") from None
    except OSError as error:
        raise ConfigProblem(f"{path}：写不了这个文件（{reason(error)}）") from None


def _format(path: Path) -> Format:
    found = exchange.format_of(path.name)
    if found is None:
        raise ConfigProblem(f"{path}：文件名要以 .xlsx、.csv 或 .yml 结尾")
    return found


def _told(path: Path, problems: Sequence[Problem]) -> ConfigProblem:
    lines = [f"{path}：{in_words(problem)}" for problem in problems]
    return ConfigProblem("\n".join([*lines, "没有导入任何条目。"]))


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
                await desk.generation(session)
            except (OperationalError, ProgrammingError):
                raise ConfigProblem("数据库打不开，或者还是旧版本的。请先用现在的程序启动一次服务") from None
        yield storage
    finally:
        await storage.close()
