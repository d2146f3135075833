"""From a closed case to an entry: a curator writes what others can use, and what may still lead to the person is told before it is saved.

The curator sees the case's number, category and closing day, and none of its words. The text is their own; the service compares it
with what the person wrote and what the desk knows of them, and answers with places. A second person approves, as with every entry.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api.desk import category_codes
from bot.web.api.fields import Asked, Given, OptionalCode, OptionalLine, Time
from bot.web.api.knowledge import EntryFields, EntryId, Version
from bot.web.api.operations import Call, get, post
from bot.web.api.unanswered import (
    IdentifyingShown,
    Sure,
    TakenInto,
    drafted,
    refuse_identifying,
    shown_identifying,
)
from bot.web.problems import conflict, invalid, not_found
from escalation import conversations, people, records
from escalation.privacy import Unreadable
from escalation.tables import Case, Message

_PAGE = 100
_MESSAGES = 500  # of the person, newest first, that a text is compared with


class CasesAsked(Asked):
    category: OptionalCode = Field(default="", description="案由代码，或它的上级")
    after: OptionalCode = Field(default="", description="上一页最后的工单号")


class CaseText(Asked):
    fields: EntryFields


class DraftFromCase(Asked):
    entry: EntryId
    version: Version = 0
    fields: EntryFields
    note: OptionalLine = ""
    sure: Sure = False


class ClosedCase(Given):
    """A closed case, without a word of it."""

    number: str
    category: str
    closed_at: Time


class ClosedCases(Given):
    items: list[ClosedCase]
    more: bool


@get("/knowledge/cases", "已结的工单（没有内容）", asks=CasesAsked, gives=ClosedCases, needs="entries.edit")
async def closed_cases(call: Call, asked: CasesAsked) -> ClosedCases:
    """The newest first."""
    query = select(Case).where(Case.desk == call.me.desk, Case.state == "closed", Case.closed_at.is_not(None))
    if asked.category:
        query = query.where(
            or_(
                Case.category == asked.category,
                Case.category.startswith(f"{asked.category}.", autoescape=True),
            )
        )
    if asked.after:
        query = query.where(Case.number < asked.after)
    async with call.shell.storage.read() as session:
        rows = (await session.scalars(query.order_by(Case.number.desc()).limit(_PAGE + 1))).all()
    return ClosedCases(
        items=[
            ClosedCase(number=row.number, category=row.category, closed_at=row.closed_at)
            for row in rows[:_PAGE]
            if row.closed_at is not None
        ],
        more=len(rows) > _PAGE,
    )


@post(
    "/knowledge/cases/{number}/check",
    "检查文字里有没有能认出本人的内容",
    asks=CaseText,
    gives=list[IdentifyingShown],
    needs="entries.edit",
    refuses=(404, 409),
)
async def check_case_text(call: Call, asked: CaseText) -> list[IdentifyingShown]:
    """Places in the curator's own text; nothing of the case is shown."""
    case = await _closed(call)
    known, said = await _of_the_person(call, case)
    return await shown_identifying(call, asked.fields.stored(), known=known, said=said)


@post(
    "/knowledge/cases/{number}/draft",
    "从已结工单起草去掉身份信息的条目",
    asks=DraftFromCase,
    gives=TakenInto,
    needs="entries.edit",
    refuses=(404, 409),
)
async def draft_from_case(call: Call, asked: DraftFromCase) -> TakenInto:
    """The entry has the case's category where the curator gives none. Its revision says that it comes from a case."""
    case = await _closed(call)
    fields = asked.fields.stored()
    fields["category"] = fields.get("category") or case.category
    if fields["category"] not in category_codes():
        raise invalid("fields.category", "没有这个案由")
    known, said = await _of_the_person(call, case)
    await refuse_identifying(call, fields, known=known, said=said, sure=asked.sure)
    me_id, now, case_id = call.me.id, call.now, case.id

    async def note(session: AsyncSession) -> None:
        records.write(session, me_id, "entry.from_case", "case", case_id, now, asked.entry)

    told = "；".join(part for part in ("来自已结工单，请核对有没有能认出本人的内容", asked.note) if part)
    return await drafted(call, asked.entry, asked.version, lambda _: fields, told, note)


async def _closed(call: Call) -> Case:
    number = call.request.match_info["number"]
    async with call.shell.storage.read() as session:
        case = await session.scalar(
            select(Case).where(Case.number == number[:40], Case.desk == call.me.desk, Case.state == "closed")
        )
    if case is None:
        raise not_found("没有这个已结的工单。")
    return case


async def _of_the_person(call: Call, case: Case) -> tuple[Sequence[str], Sequence[str]]:
    """What the desk knows of the person, and what they wrote: into memory, to compare with. Raises Refused (409)."""
    vault = call.shell.vault
    async with call.shell.storage.read() as session:
        try:
            key = await people.key_of(session, vault, case.person_id)
        except Unreadable:
            raise conflict("来访者的资料已按要求删除，不能再据此起草。", error="erased") from None
        known = await people.known_details(session, key, case.person_id)
        sealed = await session.scalars(
            select(Message.text_sealed)
            .where(
                Message.conversation_id == case.conversation_id,
                Message.direction == "in",
                Message.text_sealed.is_not(None),
            )
            .order_by(Message.id.desc())
            .limit(_MESSAGES)
        )
        opened = [conversations.opened(key, text, "message.text") for text in sealed]
    return known, [text for text in opened if text]
