"""What the workbench knows of the desk: name, numbers, categories; texts to answer with; entries to look up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from sqlalchemy import select

import nlu
from bot.desk_view import DeskNow
from bot.live_entries import today
from bot.shell import Shell
from bot.tables import Fact
from bot.web.api import shapes
from bot.web.api.fields import Asked, Line, Nothing, Number
from bot.web.api.looks import WHYS
from bot.web.api.operations import Call, get, post
from bot.web.api.templates import in_force
from escalation import alerts, cases, erasure, rescue
from handlers.templates import shipped as shipped_texts
from knowledge.entries import Entry

_SUGGESTED = 4
# Texts a counsellor may send as they are; the others are the bot's own.
_CANNED = "canned."


class Search(Asked):
    q: Line
    limit: Number = Field(default=20, ge=1, le=50)


@get("/desk", "服务台的名称、电话、案由和结果代码", gives=shapes.DeskShown, needs="desk.read")
async def desk(call: Call, asked: Nothing) -> shapes.DeskShown:
    settings = call.shell.settings
    async with call.shell.storage.read() as session:
        demonstration = await session.scalar(select(Fact.value).where(Fact.name == "demonstration"))
    return shapes.DeskShown(
        name=settings.desk.name,
        short_name=settings.desk.short_name,
        logo=settings.desk.logo,
        colours=shapes.ColoursShown(**settings.desk.colours.model_dump()),
        numbers=dict(settings.desk.numbers),
        hours=shapes.HoursShown(**settings.desk.hours.model_dump()),
        categories=categories(),
        results=_codes(cases.RESULTS),
        decisions=_codes(alerts.DECISIONS),
        told=_codes(rescue.TOLD),
        verified_how=_codes(erasure.VERIFIED),
        whys=_codes(WHYS),
        fallback_telephone_configured=settings.escalation.fallback_telephone.url is not None,
        demonstration=bool(demonstration) or call.me.demonstration,
    )


def _codes(named: Mapping[str, str]) -> list[shapes.ResultCode]:
    return [shapes.ResultCode(code=code, name=name) for code, name in named.items()]


@cache
def categories() -> list[shapes.CategoryNode]:
    """案由 as a tree; codes are the whole path ("legal.labour.unpaid_wages")."""
    path = Path(nlu.__path__[0]) / "categories.yml"
    areas: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        shapes.CategoryNode(
            code=area,
            name=named["zh"],
            children=[
                shapes.CategoryNode(
                    code=f"{area}.{group}",
                    name=inner["zh"],
                    children=[
                        shapes.CategoryNode(code=f"{area}.{group}.{leaf}", name=zh)
                        for leaf, zh in inner["leaves"].items()
                    ],
                )
                for group, inner in named["groups"].items()
            ],
        )
        for area, named in areas.items()
    ]


@cache
def category_codes() -> frozenset[str]:
    """Every code a case can be closed with."""
    found = set()
    waiting = list(categories())
    while waiting:
        node = waiting.pop()
        found.add(node.code)
        waiting += node.children or []
    return frozenset(found)


@get("/canned-replies", "常用语", gives=list[shapes.CannedReply], needs="reply")
async def canned_replies(call: Call, asked: Nothing) -> list[shapes.CannedReply]:
    """Approved texts, with the desk's numbers filled in, ready to be changed before sending."""
    async with call.shell.storage.read() as session:
        texts = await in_force(session)
        view = await DeskNow(call.shell.settings.desk).view(session, call.now)
    return [
        shapes.CannedReply(key=key, title=shipped.title, text=texts.fill(key, view).text)
        for key, shipped in shipped_texts().items()
        if key.startswith(_CANNED)
    ]


@get("/entries", "全部知识条目", gives=list[shapes.EntryShown], needs="entries.read")
async def entries(call: Call, asked: Nothing) -> list[shapes.EntryShown]:
    return [_entry(e, 0.0) for e in (await _live(call.shell)).values()]


@post("/entries/search", "查找知识条目", asks=Search, gives=list[shapes.EntryShown], needs="entries.read")
async def search_entries(call: Call, asked: Search) -> list[shapes.EntryShown]:
    """A POST: what is looked up may be the young person's own words, and those do not go into an address."""
    found = await call.shell.brain.look_up(asked.q, limit=asked.limit)
    by_id = await _live(call.shell)
    near = () if found is None else found.candidates
    return [_entry(by_id[c.entry_id], c.score) for c in near if c.entry_id in by_id and c.score > 0]


async def suggestions(shell: Shell, text: str, category: str) -> list[shapes.Suggestion]:
    """Entries near what the person wrote last, for the counsellor to use or leave. None where they cannot be looked up: a
    counsellor without suggestions still has a conversation."""
    if not text.strip():
        return []
    found = await shell.brain.look_up(text, category=category, limit=_SUGGESTED)
    by_id = await _live(shell)
    return [
        shapes.Suggestion(entry_id=c.entry_id, title=c.title, text=by_id[c.entry_id].chat_text, score=c.score)
        for c in (() if found is None else found.candidates)
        if c.entry_id in by_id and c.score >= 0.05
    ]


def _entry(entry: Entry, score: float) -> shapes.EntryShown:
    sources = [citation.source().line() for citation in entry.sources]
    return shapes.EntryShown(
        id=entry.id, title=entry.title, text=entry.chat_text, score=score, sources=sources
    )


async def _live(shell: Shell) -> Mapping[str, Entry]:
    """The entries said now."""
    async with shell.storage.read() as session:
        said = await shell.entries.of(session, today(shell.clock(), shell.settings.desk.timezone))
    return said.entries
