"""Entries as files on the workbench: what is said now as a spreadsheet or YAML, and a file whose rows become drafts."""

from __future__ import annotations

import asyncio
from typing import Literal
from urllib.parse import quote

from aiohttp import web
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from bot.entry_files import NOTE, in_words, message
from bot.live_entries import today
from bot.web.api.fields import Asked, Flag, Given, OptionalCode
from bot.web.api.operations import Call, get, post
from bot.web.problems import Refused
from escalation import records
from knowledge import exchange
from knowledge.entries import shipped
from knowledge.exchange import COLUMNS, Problem

FormatName = Literal["xlsx", "csv", "yaml"]
_ENDINGS = {"xlsx": "xlsx", "csv": "csv", "yaml": "yml"}
_TOLD = 200  # problems of a file that are told at once


class ExportAsked(Asked):
    format: FormatName = "xlsx"
    category: OptionalCode = Field(default="", description="只要这个案由，或它的下级")


class ImportAsked(Asked):
    format: FormatName = "xlsx"
    trial: Literal["yes", "no"] = Field(default="no", description="yes：只检查，不写草稿")


class RowProblem(Given):
    """One thing that is wrong in the file. Row 1 is a sheet's first line, or a YAML file's first entry; 0 the whole file."""

    row: int
    column: str
    head: str = Field(description="列名")
    item: int = Field(description="问法或来源里的第几个；0：不适用")
    message: str


class ImportShown(Given):
    """By id. `trial`: nothing was written."""

    new: list[str]
    changed: list[str]
    same: list[str]
    trial: Flag


@get(
    "/knowledge/export",
    "导出现在对外回答的条目（文件）",
    asks=ExportAsked,
    gives=bytes,
    needs="entries.desk",
    per_minute=20,
)
async def export_knowledge(call: Call, asked: ExportAsked) -> web.Response:
    """No cell is a formula, whatever stands in it."""
    shell, day = call.shell, today(call.now, call.shell.settings.desk.timezone)
    await asyncio.to_thread(shipped)
    async with shell.storage.read() as session:
        entries = list((await shell.entries.of(session, day)).entries.values())
    wanted = [
        entry
        for entry in entries
        if not asked.category or f"{entry.category}.".startswith(f"{asked.category}.")
    ]
    data = await asyncio.to_thread(exchange.write, wanted, asked.format)
    me_id, now = call.me.id, call.now

    async def note(session: AsyncSession) -> None:
        records.write(session, me_id, "entry.export", "staff", me_id, now, asked.format)

    await call.write(note)
    name = quote(f"知识条目-{day.isoformat()}.{_ENDINGS[asked.format]}")
    return web.Response(
        body=data,
        content_type="application/octet-stream",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


@post(
    "/knowledge/import",
    "导入条目（文件在请求内容里），全部成为草稿或一条也不写",
    asks=ImportAsked,
    gives=ImportShown,
    needs="entries.edit",
    refuses=(409,),
    file=exchange.MOST_BYTES,
    per_minute=20,
)
async def import_knowledge(call: Call, asked: ImportAsked) -> ImportShown:
    """What is wrong is told by row and column (400, `rows`). What a colleague has in work is not written over."""
    data = await call.file(exchange.MOST_BYTES)
    me_id, now, trial = call.me.id, call.now, asked.trial == "yes"
    day = today(now, call.shell.settings.desk.timezone)
    await asyncio.to_thread(shipped)
    try:
        rows = await asyncio.to_thread(exchange.read, data, asked.format)
        async with call.shell.storage.read() as session:
            planned = await exchange.plan(session, rows, today=day, staff_id=me_id)
        if not trial and planned.drafts:
            await call.write(lambda s: exchange.carry_out(s, planned, staff_id=me_id, now=now, note=NOTE))
            call.tell("entries", key="", version=0)
    except exchange.Refused as refused:
        raise _refused(refused.problems) from None
    return ImportShown(
        new=list(planned.new), changed=list(planned.changed), same=list(planned.same), trial=trial
    )


def _refused(problems: tuple[Problem, ...]) -> Refused:
    told = "；".join(map(in_words, problems[:5]))
    more = f"；共 {len(problems)} 处" if len(problems) > 5 else ""
    shown = [
        RowProblem(
            row=one.row,
            column=one.column,
            head=COLUMNS.get(one.column, ""),
            item=one.item,
            message=message(one),
        )
        for one in problems[:_TOLD]
    ]
    return Refused(
        400,
        "rows",
        f"没有导入任何条目。{told}{more}",
        problems=[one.model_dump() for one in shown],
        count=len(problems),
    )
