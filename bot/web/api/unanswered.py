"""未答问题 on the workbench: what the service could not answer, put together by meaning, and taken up into drafts.

A curator sees words with identifying details masked, and each one shown is on record before it is. Nothing goes into an entry by itself:
the curator writes the wording, and what may still lead to the person is told before it is saved.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.live_entries import today
from bot.web.api import shapes
from bot.web.api.desk import category_codes
from bot.web.api.fields import (
    Asked,
    Flag,
    Given,
    Id,
    IdIn,
    Line,
    Nothing,
    OptionalCode,
    OptionalLine,
    Time,
)
from bot.web.api.knowledge import EntryFields, EntryId, Version
from bot.web.api.operations import Call, get, post
from bot.web.api.views import named, names
from bot.web.problems import Refused, conflict, invalid, not_found
from escalation import people, records, unanswered
from escalation.privacy import Unreadable
from escalation.tables import Record, Unanswered
from escalation.unanswered import Example, NotAllowed
from knowledge import desk, grouping
from knowledge.deidentify import identifying
from knowledge.entries import shipped
from knowledge.terms import plain
from nlu import masking

ReasonName = Literal["nothing", "not_helped", "human"]
DismissedWhy = Literal["no_question", "not_ours", "answered", "single", "other"]

_PAGE = 20  # groups
_SETTLED_PAGE = 100
_EXAMPLES = 50  # of a group, when it is opened
_ONE_LOOK = timedelta(minutes=5)  # a screen that fetches again does not look again (looks.py)


# --- what comes in --------------------------------------------------------------------------------------------------

Items = Annotated[list[IdIn], Field(min_length=1, max_length=unanswered.NEWEST, description="未答问题的编号")]
Sure = Annotated[
    Flag, Field(description="提示的内容我都看过，不会让人认出本人；电话、账号、占位词等确定的仍不能保存")
]


class UnansweredAsked(Asked):
    reason: ReasonName | None = None
    category: OptionalCode = Field(default="", description="案由代码，或它的上级")
    skip: str = Field(default="0", pattern=r"^[0-9]{1,6}$", description="跳过几组")


class SettledAsked(Asked):
    state: Literal["taken", "dismissed"] = "taken"
    after: IdIn | None = None


class DraftFromUnanswered(Asked):
    items: Items
    entry: EntryId = Field(description="条目编号；新的条目 version 为 0")
    version: Version = 0
    fields: EntryFields
    note: OptionalLine = ""
    sure: Sure = False


class AttachUnanswered(Asked):
    items: Items
    entry: EntryId
    version: Version
    wordings: Annotated[list[Line], Field(min_length=1, max_length=20, description="编辑改写过的问法")]
    sure: Sure = False


class DismissUnanswered(Asked):
    items: Items
    why: DismissedWhy


class ReopenUnanswered(Asked):
    items: Items


# --- what goes out --------------------------------------------------------------------------------------------------


class UnansweredCounts(Given):
    open: int
    taken: int
    dismissed: int
    gone: int = Field(description="未处理，但原话已到期或已删除，只剩数目")


class UnansweredGroup(Given):
    """Questions that ask the same. `id` is the one in the middle of the group, `text` its words, masked."""

    id: Id
    items: list[Id]
    count: int
    reasons: dict[ReasonName, int]
    first_at: Time
    last_at: Time
    category: str = Field(description="机器判断的案由里最多的一个；空：没有")
    not_helped_by: list[str] = Field(description="来访者说没帮助的条目")
    text: str


class UnansweredPage(Given):
    groups: list[UnansweredGroup]
    total: int = Field(description="共几组")
    counts: UnansweredCounts
    looked_through: int = Field(description="归组的是最新的几条")
    reasons: list[shapes.ResultCode]
    dismissals: list[shapes.ResultCode]
    placeholders: list[str] = Field(description="遮住之后写成［姓名］等，方括号里可以是这些词")
    more: bool


class UnansweredExample(Given):
    id: Id
    at: Time
    reasons: list[ReasonName]
    text: str
    reply: str | None = Field(description="咨询员自己的回答，已遮住")
    not_helped_by: str | None


class NearEntry(Given):
    """An entry that the question could belong to."""

    entry: str
    title: str
    score: float


class UnansweredWhole(UnansweredGroup):
    examples: list[UnansweredExample] = Field(description=f"最多 {_EXAMPLES} 条")
    near: list[NearEntry]


class SettledItem(Given):
    """An item that was decided: no words."""

    id: Id
    at: Time
    reasons: list[ReasonName]
    category: str
    taken_into: str | None
    dismissed_why: DismissedWhy | None
    settled_by: shapes.Named | None
    settled_at: Time | None


class SettledPage(Given):
    items: list[SettledItem]
    counts: UnansweredCounts
    more: bool


class IdentifyingShown(Given):
    """A stretch that may lead to a person: `[start, end)` in UTF-16 units of the field's text, `item` its place in a list."""

    field: str
    item: int
    start: int
    end: int
    what: str
    certain: bool = Field(description="确定的不能保存；其余由编辑判断")


class TakenInto(Given):
    """The draft that took the questions up."""

    entry: str
    number: int
    version: int


# --- looking --------------------------------------------------------------------------------------------------------


@get("/unanswered", "未答问题，按意思归组", asks=UnansweredAsked, gives=UnansweredPage, needs="entries.desk")
async def unanswered_groups(call: Call, asked: UnansweredAsked) -> UnansweredPage:
    """The largest groups first; of each, one question is shown."""
    async with call.shell.storage.read() as session:
        counted = await unanswered.counts(session, call.me.desk)
        groups = await _groups(call, session)
    skip, looked = int(asked.skip), sum(map(len, groups))
    fitting = [group for group in groups if _fits(group, asked)]
    page = fitting[skip : skip + _PAGE]
    shown = {e.item.id: e for e in await _shown(call, [group[0] for group in page], "list")}
    return UnansweredPage(
        groups=[UnansweredGroup(**_group(g, shown[g[0].id])) for g in page if g[0].id in shown],
        total=len(fitting),
        counts=UnansweredCounts(**counted),
        looked_through=looked,
        reasons=[shapes.ResultCode(code=code, name=name) for code, name in unanswered.REASONS.items()],
        dismissals=[shapes.ResultCode(code=code, name=name) for code, name in unanswered.DISMISSALS.items()],
        placeholders=list(masking.PLACEHOLDERS),
        more=len(fitting) > skip + _PAGE,
    )


@get("/unanswered/settled", "处理过的未答问题", asks=SettledAsked, gives=SettledPage, needs="entries.desk")
async def settled_unanswered(call: Call, asked: SettledAsked) -> SettledPage:
    """The newest first, without words."""
    async with call.shell.storage.read() as session:
        rows = await unanswered.settled(
            session, call.me.desk, asked.state, after=asked.after, limit=_SETTLED_PAGE + 1
        )
        known = await names(session, [row.settled_by for row in rows])
        counted = await unanswered.counts(session, call.me.desk)
    return SettledPage(
        items=[_settled(row, known) for row in rows[:_SETTLED_PAGE]],
        counts=UnansweredCounts(**counted),
        more=len(rows) > _SETTLED_PAGE,
    )


@get(
    "/unanswered/{id}",
    "一组未答问题（查看会被记录）",
    gives=UnansweredWhole,
    needs="entries.desk",
    refuses=(404,),
    per_minute=60,
)
async def unanswered_group(call: Call, asked: Nothing) -> UnansweredWhole:
    """The group in which this question stands now, and the entries that are nearest to it."""
    item_id = call.id()
    async with call.shell.storage.read() as session:
        groups = await _groups(call, session)
        group = next((g for g in groups if any(item.id == item_id for item in g)), None)
        if group is None:
            raise not_found("没有这组问题，可能已经有人处理，或者原话已到期。")
        words = await unanswered.questions(session, call.shell.vault, call.me.desk)
    shown = await _shown(call, group[:_EXAMPLES], "group", replies=True)
    if not shown:
        raise not_found("没有这组问题，可能已经有人处理，或者原话已到期。")
    lead = next(question.text for question in words if question.item.id == shown[0].item.id)
    return UnansweredWhole(
        **_group(group, shown[0]),
        examples=[
            UnansweredExample(
                id=one.item.id,
                at=one.item.at,
                reasons=one.item.reasons,
                text=one.text,
                reply=one.reply,
                not_helped_by=one.item.answered_by,
            )
            for one in shown
        ],
        near=await _near(call, lead),
    )


# --- deciding -------------------------------------------------------------------------------------------------------


@post(
    "/unanswered/draft",
    "从未答问题起草条目",
    asks=DraftFromUnanswered,
    gives=TakenInto,
    needs="entries.edit",
    refuses=(404, 409),
)
async def draft_from_unanswered(call: Call, asked: DraftFromUnanswered) -> TakenInto:
    """The curator's own text becomes a draft, and the questions count as taken up, in one commit."""
    if asked.fields.category and asked.fields.category not in category_codes():
        raise invalid("fields.category", "没有这个案由")
    fields = asked.fields.stored()
    await _unidentifying(call, asked.items, fields, sure=asked.sure)
    return await _taken(call, asked.items, asked.entry, asked.version, lambda _: fields, asked.note)


@post(
    "/unanswered/attach",
    "把问法加到已有条目",
    asks=AttachUnanswered,
    gives=TakenInto,
    needs="entries.edit",
    refuses=(404, 409),
)
async def attach_unanswered(call: Call, asked: AttachUnanswered) -> TakenInto:
    """The wordings are added to a draft of the entry: to the one in work, else to one of what is said now."""
    await _unidentifying(call, asked.items, {"asks": asked.wordings}, sure=asked.sure)

    def added(fields: Mapping[str, Any]) -> dict[str, Any]:
        asks = [str(ask) for ask in fields.get("asks", ())]
        for wording in asked.wordings:
            if plain(wording) not in map(plain, asks):
                asks.append(wording)
        return {**fields, "asks": asks}

    return await _taken(
        call, asked.items, asked.entry, asked.version, added, "加入未答问题的问法", there=True
    )


@post(
    "/unanswered/dismiss",
    "不需要条目",
    asks=DismissUnanswered,
    gives=shapes.Ok,
    needs="entries.edit",
    refuses=(404, 409),
)
async def dismiss_unanswered(call: Call, asked: DismissUnanswered) -> shapes.Ok:
    me, now = call.me, call.now
    await _decided(
        call,
        lambda s: unanswered.dismiss(s, asked.items, asked.why, desk=me.desk, staff_id=me.id, now=now),
    )
    return shapes.Ok()


@post(
    "/unanswered/reopen",
    "撤回对未答问题的处理",
    asks=ReopenUnanswered,
    gives=shapes.Ok,
    needs="entries.edit",
    refuses=(404, 409),
)
async def reopen_unanswered(call: Call, asked: ReopenUnanswered) -> shapes.Ok:
    """A draft that took them up stays as it is."""
    me, now = call.me, call.now
    await _decided(call, lambda s: unanswered.reopen(s, asked.items, desk=me.desk, staff_id=me.id, now=now))
    return shapes.Ok()


# --- behind it ------------------------------------------------------------------------------------------------------


class _Known:
    """How questions were put together the last time, by their ids: what was taken out since leaves the groups as they are."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, list[list[int]]] = OrderedDict()

    def of(self, desk_id: str, ids: set[int]) -> list[list[int]] | None:
        """The groups of these questions; None where some of them are new."""
        known = self._groups.get(desk_id)
        if known is None or not ids <= {item for group in known for item in group}:
            return None
        left = [[item for item in group if item in ids] for group in known]
        return sorted((group for group in left if group), key=lambda group: -len(group))

    def keep(self, desk_id: str, groups: list[list[int]]) -> None:
        self._groups[desk_id] = groups


_known = _Known()


async def _groups(call: Call, session: AsyncSession) -> list[list[Unanswered]]:
    """The newest open questions, put together. Words are opened into memory and not kept."""
    found = await unanswered.questions(session, call.shell.vault, call.me.desk)
    by_id = {question.item.id: question.item for question in found}
    groups = _known.of(call.me.desk, set(by_id))
    if groups is None:
        texts = [question.text for question in found]
        places = await asyncio.to_thread(grouping.group, texts)
        groups = [[found[place].item.id for place in group] for group in places]
        _known.keep(call.me.desk, groups)
    return [[by_id[item] for item in group] for group in groups]


def _fits(group: Sequence[Unanswered], asked: UnansweredAsked) -> bool:
    return (asked.reason is None or any(asked.reason in item.reasons for item in group)) and (
        not asked.category or any(_under(item.category, asked.category) for item in group)
    )


def _under(category: str, wanted: str) -> bool:
    return category == wanted or category.startswith(wanted + ".")


def _group(group: Sequence[Unanswered], lead: Example) -> dict[str, Any]:
    categories = Counter(item.category for item in group if item.category)
    return {
        "id": lead.item.id,
        "items": [item.id for item in group],
        "count": len(group),
        "reasons": dict(Counter(reason for item in group for reason in item.reasons)),
        "first_at": min(item.at for item in group),
        "last_at": max(item.at for item in group),
        "category": categories.most_common(1)[0][0] if categories else "",
        "not_helped_by": sorted({item.answered_by for item in group if item.answered_by}),
        "text": lead.text,
    }


async def _shown(
    call: Call, items: Sequence[Unanswered], why: str, *, replies: bool = False
) -> list[Example]:
    """The items' words, masked; the looks are on record first."""
    me, now = call.me, call.now
    ids = [item.id for item in items]

    async def look(session: AsyncSession) -> None:
        seen = set(
            await session.scalars(
                select(Record.object_id).where(
                    Record.object == "unanswered",
                    Record.object_id.in_(ids),
                    Record.action == "look",
                    Record.staff_id == me.id,
                    Record.at > now - _ONE_LOOK,
                )
            )
        )
        for item_id in ids:
            if item_id not in seen:
                records.write(session, me.id, "look", "unanswered", item_id, now, why)

    if ids:
        await call.write(look)
    async with call.shell.storage.read() as session:
        return await unanswered.examples(session, call.shell.vault, items, replies=replies)


async def _near(call: Call, question: str) -> list[NearEntry]:
    """Entries that the question could belong to; none where the understanding processes are busy."""
    found = await call.shell.brain.look_up(question, limit=3)
    if found is None:
        return []
    return [
        NearEntry(entry=one.entry_id, title=one.title, score=one.score)
        for one in found.candidates
        if one.entry_id
    ]


async def _unidentifying(call: Call, items: Sequence[int], fields: Mapping[str, Any], *, sure: bool) -> None:
    """Raises Refused (409) with what in the text may still lead to one of the persons, unless the curator has decided."""
    known: list[str] = []
    said: list[str] = []
    async with call.shell.storage.read() as session:
        rows = await session.scalars(
            select(Unanswered).where(Unanswered.id.in_(items), Unanswered.desk == call.me.desk)
        )
        theirs = {row.person_id for row in rows if row.person_id is not None}
        for question in await unanswered.questions(session, call.shell.vault, call.me.desk):
            if question.item.id in set(items):
                said.append(question.text)
        for person_id in theirs:
            try:
                key = await people.key_of(session, call.shell.vault, person_id)
            except Unreadable:
                continue
            known += await people.known_details(session, key, person_id)
    await refuse_identifying(call, fields, known=known, said=said, sure=sure)


async def refuse_identifying(
    call: Call, fields: Mapping[str, Any], *, known: Sequence[str], said: Sequence[str], sure: bool
) -> None:
    """Raises Refused (409, `identifying`) with places, never with words, unless only guesses are left and the curator is sure."""
    found = await shown_identifying(call, fields, known=known, said=said)
    if any(one.certain for one in found) or (found and not sure):
        raise Refused(
            409,
            "identifying",
            "文字里可能还有能认出本人的内容，没有保存。请改写标出的地方；确认无关的，勾选确认后再保存。",
            found=[one.model_dump(mode="json") for one in found],
        )


async def shown_identifying(
    call: Call, fields: Mapping[str, Any], *, known: Sequence[str] = (), said: Sequence[str] = ()
) -> list[IdentifyingShown]:
    """What may lead to a person, at its places as a browser counts them."""
    public = call.shell.settings.desk.numbers.values()
    found = await asyncio.to_thread(identifying, fields, known=known, said=said, public=set(public))
    shown = []
    for one in found:
        value = fields[one.field]
        text = str(value if isinstance(value, str) else value[one.item])
        shown.append(
            IdentifyingShown(
                field=one.field,
                item=one.item,
                start=_units(text, one.start),
                end=_units(text, one.end),
                what=one.what,
                certain=one.certain,
            )
        )
    return shown


def _units(text: str, place: int) -> int:
    return place + sum(c > "\uffff" for c in text[:place])


async def _taken(
    call: Call,
    items: Sequence[int],
    entry_id: str,
    version: int,
    change: Callable[[Mapping[str, Any]], dict[str, Any]],
    note: str,
    *,
    there: bool = False,
) -> TakenInto:
    """Write the draft and take the questions up."""
    me, now = call.me, call.now

    async def take(session: AsyncSession) -> None:
        await unanswered.take(session, items, entry_id, desk=me.desk, staff_id=me.id, now=now)

    return await drafted(call, entry_id, version, change, note, take, there=there)


async def drafted(
    call: Call,
    entry_id: str,
    version: int,
    change: Callable[[Mapping[str, Any]], dict[str, Any]],
    note: str,
    also: Callable[[AsyncSession], Awaitable[None]],
    *,
    there: bool = False,
) -> TakenInto:
    """Write a draft and what belongs to it in one commit. `there`: the entry must exist, and `change` gets its fields."""
    await asyncio.to_thread(shipped)
    me, now, day = call.me, call.now, today(call.now, call.shell.settings.desk.timezone)

    async def work(session: AsyncSession) -> TakenInto:
        fields: Mapping[str, Any] = {}
        if there:
            fields = (await desk.one(session, entry_id, day)).fields
        made = await desk.draft(
            session, entry_id, change(fields), version=version, staff_id=me.id, now=now, note=note
        )
        await also(session)
        row = await desk.one(session, entry_id, day)
        return TakenInto(entry=entry_id, number=made.number, version=row.version)

    given: TakenInto = await _decided(call, work)
    call.tell("entries", key=entry_id, version=given.version)
    return given


async def _decided(call: Call, work: Callable[[AsyncSession], Awaitable[Any]]) -> Any:
    try:
        return await call.write(work)
    except NotAllowed as refused:
        if refused.code == "unknown":
            raise not_found("有的问题不在了，请刷新后再试。") from None
        told = {
            "decided": "其中有的问题同事已经处理过了，请刷新后再试。",
            "open": "其中有的问题还没有处理过。",
        }
        raise conflict(told[refused.code], error=refused.code) from None


def _settled(row: Unanswered, known: dict[int, str]) -> SettledItem:
    return SettledItem(
        id=row.id,
        at=row.at,
        reasons=row.reasons,
        category=row.category,
        taken_into=row.taken_into,
        dismissed_why=row.dismissed_why,
        settled_by=None if row.settled_by is None else named(row.settled_by, known),
        settled_at=row.settled_at,
    )
