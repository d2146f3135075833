"""The texts the service says: drafted by one person, approved by another (promise 9)."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api import shapes
from bot.web.api.fields import Asked, Nothing, Words
from bot.web.api.operations import Call, get, post
from bot.web.api.views import named, names
from bot.web.problems import Refused, conflict, not_found
from escalation import records
from escalation.tables import TemplateText
from handlers.templates import Edited, Templates, check, shipped


class NewText(Asked):
    text: Words


async def in_force(session: AsyncSession) -> Templates:
    """The texts as the service says them now."""
    return Templates({key: Edited(row.version, row.text) for key, row in (await _approved(session)).items()})


async def _approved(session: AsyncSession) -> dict[str, TemplateText]:
    rows = await session.scalars(
        select(TemplateText).where(TemplateText.state == "approved").order_by(TemplateText.version)
    )
    return {row.key: row for row in rows}


@get("/templates", "全部模板与待审批的修改", gives=list[shapes.TemplateShown], needs="templates.read")
async def templates(call: Call, asked: Nothing) -> list[shapes.TemplateShown]:
    async with call.shell.storage.read() as session:
        return await _shown(session, list(shipped()))


@post(
    "/templates/{key}/drafts",
    "起草修改",
    asks=NewText,
    gives=shapes.TemplateShown,
    needs="templates.draft",
    refuses=(404, 409),
)
async def draft(call: Call, asked: NewText) -> shapes.TemplateShown:
    key = call.request.match_info["key"]
    if key not in shipped():
        raise not_found("没有这个模板。")
    problems = check(key, asked.text)
    if problems:
        raise Refused(400, "template", "；".join(problems), problems=problems)
    me_id, now = call.me.id, call.now

    async def work(session: AsyncSession) -> shapes.TemplateShown:
        waiting = await _draft_of(session, key)
        if waiting is not None and waiting.author_id != me_id:
            raise conflict(
                "同事已起草了这条模板的修改，请先处理那一份。",
                (await _shown(session, [key]))[0].model_dump(mode="json"),
            )
        if waiting is not None:
            waiting.state = "retired"  # a new id, so that nobody approves a text other than the one they read
        last = await session.scalar(select(func.max(TemplateText.version)).where(TemplateText.key == key))
        session.add(
            TemplateText(
                key=key,
                version=(last or 0) + 1,
                text=asked.text,
                state="draft",
                author_id=me_id,
                drafted_at=now,
                approved_by=None,
                approved_at=None,
            )
        )
        await session.flush()
        row = await _draft_of(session, key)
        assert row is not None
        records.write(session, me_id, "template.draft", "template", row.id, now, key)
        return (await _shown(session, [key]))[0]

    shown = await call.write(work)
    call.tell("template", key=key)
    return shown


@post(
    "/templates/drafts/{id}/approve",
    "批准同事的修改",
    gives=shapes.TemplateShown,
    needs="templates.approve",
    refuses=(404, 409),
)
async def approve(call: Call, asked: Nothing) -> shapes.TemplateShown:
    draft_id, me_id, now = call.id(), call.me.id, call.now

    async def work(session: AsyncSession) -> shapes.TemplateShown:
        row = await _waiting(session, draft_id)
        if row.author_id == me_id:
            raise Refused(403, "own", "不能批准自己的修改，请另一位同事来批准。")
        problems = check(row.key, row.text)
        if problems:
            raise Refused(400, "template", "；".join(problems), problems=problems)
        for old in await session.scalars(
            select(TemplateText).where(TemplateText.key == row.key, TemplateText.state == "approved")
        ):
            old.state = "retired"
        row.state, row.approved_by, row.approved_at = "approved", me_id, now
        await session.flush()
        records.write(session, me_id, "template.approve", "template", row.id, now, row.key)
        return (await _shown(session, [row.key]))[0]

    shown = await call.write(work)
    call.tell("template", key=shown.key, version=shown.version)
    return shown


@post(
    "/templates/drafts/{id}/discard",
    "放弃修改",
    gives=shapes.TemplateShown,
    needs="templates.draft",
    refuses=(404, 409),
)
async def discard(call: Call, asked: Nothing) -> shapes.TemplateShown:
    draft_id, me_id, now = call.id(), call.me.id, call.now

    async def work(session: AsyncSession) -> shapes.TemplateShown:
        row = await _waiting(session, draft_id)
        row.state = "retired"
        await session.flush()
        records.write(session, me_id, "template.discard", "template", row.id, now, row.key)
        return (await _shown(session, [row.key]))[0]

    shown = await call.write(work)
    call.tell("template", key=shown.key)
    return shown


async def _waiting(session: AsyncSession, draft_id: int) -> TemplateText:
    row = await session.get(TemplateText, draft_id, with_for_update=True)
    if row is None:
        raise not_found("没有这份修改。")
    if row.state != "draft":
        shown = (await _shown(session, [row.key]))[0]
        raise conflict("这份修改已经有人处理过了。", shown.model_dump(mode="json"))
    return row


async def _draft_of(session: AsyncSession, key: str) -> TemplateText | None:
    return await session.scalar(
        select(TemplateText)
        .where(TemplateText.key == key, TemplateText.state == "draft")
        .order_by(TemplateText.id.desc())
        .limit(1)
    )


async def _shown(session: AsyncSession, keys: list[str]) -> list[shapes.TemplateShown]:
    approved = await _approved(session)
    drafts = {
        row.key: row
        for row in await session.scalars(
            select(TemplateText).where(TemplateText.state == "draft").order_by(TemplateText.id)
        )
    }
    known = await names(session, [d.author_id for d in drafts.values()])
    return [_template(key, approved.get(key), drafts.get(key), known) for key in keys]


def _template(
    key: str, edited: TemplateText | None, waiting: TemplateText | None, known: dict[int, str]
) -> shapes.TemplateShown:
    original = shipped()[key]
    # A changed text that no longer fits (a placeholder was dropped in an update) is not said: the shipped one is.
    broken = edited is not None and bool(check(key, edited.text))
    in_use = None if broken else edited
    return shapes.TemplateShown(
        key=key,
        title=original.title,
        text=in_use.text if in_use is not None else original.text,
        version=in_use.version if in_use is not None else 0,
        state="broken" if broken else "approved" if in_use is not None else "shipped",
        draft=None
        if waiting is None
        else shapes.DraftShown(id=waiting.id, text=waiting.text, author=named(waiting.author_id, known)),
        shipped_text=original.text,
        placeholders=list(original.placeholders),
    )
