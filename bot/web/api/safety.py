"""Alerts, rescue records, safe contact and nuisance marks: what is done when somebody may be in danger.

Rules are escalation's; nothing here tells anybody outside by itself (a guardian is never informed by default).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.desk_view import DeskNow
from bot.outbox import Draft
from bot.web.api import shapes, views
from bot.web.api.conversations import POLICY, found, key_of, shown
from bot.web.api.fields import Asked, Code, Flag, MomentIn, Nothing, Number, OptionalText, Text
from bot.web.api.operations import Call, get, post
from bot.web.api.templates import in_force
from bot.web.problems import Refused, invalid, not_found
from escalation import alerts, conversations, desk, nuisance, rescue, safe_contact
from escalation.tables import Alert, Conversation, Nuisance, Person, Rescue


class Decision(Asked):
    decision: Code
    note: OptionalText = ""


class SafeContactSaid(Asked):
    """What the person said; at least one of `how` and `words` says something."""

    how: OptionalText = Field(default="")
    when: OptionalText = ""
    may_say_who: Flag = False
    words: OptionalText = ""


class NuisanceProposal(Asked):
    reason: Text


class NuisanceYes(Asked):
    days: Number = Field(ge=1, le=7)


class NewRescue(Asked):
    place: OptionalText = ""
    identity: OptionalText = ""
    legal_basis: Text
    guardian_may_harm: Flag | None = Field(default=None, description="不填则按危险的种类推断")


class Told(Asked):
    told: Literal["police_110", "ambulance_120", "fire_119", "guardian", "school", "other"]
    detail: OptionalText = ""
    at: MomentIn | None = None


class Reason(Asked):
    reason: Text


class RescueResult(Asked):
    result: Text


async def _must_be_ours(call: Call, desk_of: Select[str]) -> None:
    """Another desk's rows are not there. Raises Refused (404)."""
    async with call.shell.storage.read() as session:
        if await session.scalar(desk_of) != call.me.desk:
            raise not_found()


def _desk_of_rescue(rescue_id: int) -> Select[str]:
    of = Rescue.conversation_id == Conversation.id
    return select(Conversation.desk).join(Rescue, of).where(Rescue.id == rescue_id)


def _desk_of_mark(mark_id: int) -> Select[str]:
    return select(Person.desk).join(Nuisance, Nuisance.person_id == Person.id).where(Nuisance.id == mark_id)


# --- alerts ---------------------------------------------------------------------------------------------------------


@get("/alerts", "进行中的警报", gives=list[shapes.AlertShown], needs="alerts.read")
async def alert_list(call: Call, asked: Nothing) -> list[shapes.AlertShown]:
    """Critical first, then the oldest."""
    async with call.shell.storage.read() as session:
        rows = list(
            await session.scalars(
                select(Alert)
                .where(Alert.desk == call.me.desk, Alert.state != "ended")
                .order_by(Alert.level != "critical", Alert.id)
                .limit(200)
            )
        )
        return await views.alerts(session, rows)


@post(
    "/alerts/{id}/acknowledge",
    "知道了（暂停响铃）",
    gives=shapes.AlertShown,
    needs="acknowledge",
    refuses=(404,),
)
async def acknowledge(call: Call, asked: Nothing) -> shapes.AlertShown:
    """Pauses the ladder for 2 or 5 minutes; only words to the person or a decision end it."""
    alert_id, me_id, now, policy = call.id(), call.me.id, call.now, call.request.config_dict[POLICY]
    await _must_be_ours(call, select(Alert.desk).where(Alert.id == alert_id))

    async def work(session: AsyncSession) -> Alert:
        return await alerts.acknowledge(session, alert_id, me_id, now, policy)

    return await _told(call, await call.write(work, urgent=True))


@post(
    "/alerts/{id}/decide",
    "记录决定并结束警报",
    asks=Decision,
    gives=shapes.AlertShown,
    needs="decide",
    refuses=(404,),
)
async def decide(call: Call, asked: Decision) -> shapes.AlertShown:
    """`decision` is one of `decisions` of GET /api/desk."""
    if asked.decision not in alerts.DECISIONS:
        raise invalid("decision", "没有这个决定代码")
    alert_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault
    await _must_be_ours(call, select(Alert.desk).where(Alert.id == alert_id))

    async def work(session: AsyncSession) -> Alert:
        return await alerts.decide(
            session, vault, alert_id, staff_id=me_id, decision=asked.decision, note=asked.note, now=now
        )

    return await _told(call, await call.write(work, urgent=True))


async def _told(call: Call, alert: Alert) -> shapes.AlertShown:
    call.tell("alert", alert.conversation_id, alert_id=str(alert.id), state=alert.state, level=alert.level)
    async with call.shell.storage.read() as session:
        return (await views.alerts(session, [alert]))[0]


# --- safe contact ---------------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/safe-contact",
    "记录安全联系方式",
    asks=SafeContactSaid,
    gives=shapes.ConversationShown,
    needs="safe_contact",
    refuses=(404, 409),
)
async def record_safe_contact(call: Call, asked: SafeContactSaid) -> shapes.ConversationShown:
    row = await found(call, call.id())
    if not asked.how and not asked.words:
        raise invalid("how", "不能为空")
    said = safe_contact.SafeContact(asked.how, asked.when, asked.may_say_who, asked.words)
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> None:
        await safe_contact.record(session, vault, row.person_id, said, staff_id=me_id, now=now)

    await call.write(work)
    call.tell("conversation", row.id)
    return await shown(call, row.id)


@post(
    "/conversations/{id}/ask-safe-contact",
    "发送“怎样联系才安全”的问题",
    gives=shapes.MessageShown,
    needs="safe_contact",
    refuses=(404, 409),
)
async def ask_safe_contact(call: Call, asked: Nothing) -> shapes.MessageShown:
    """Sends the approved question as the counsellor's words. Once in five minutes at most."""
    row = await found(call, call.id())
    shell, me_id, now = call.shell, call.me.id, call.now
    dedupe = f"safe_contact:{int(now.timestamp()) // 300}"

    async def work(session: AsyncSession) -> int:
        locked = await conversations.locked(session, row.id)
        await desk.reply_written(session, locked, me_id, now)
        view = await DeskNow(shell.settings.desk).view(session, now)
        text = (await in_force(session)).fill("safe_contact.ask", view)
        draft = Draft(text.text, template=text.source, dedupe=dedupe)
        written = await outbox.write(
            session, shell.vault, locked, [draft], lane=outbox.HUMAN, now=now, author="staff", staff_id=me_id
        )
        if not written:
            raise Refused(409, "asked", "这个问题刚刚已经问过了。")
        return written[0].id

    message_id = await call.write(work)
    shell.outbox.ring(row.id)
    call.tell("alert", row.id)
    async with shell.storage.read() as session:
        return await views.one_message(session, await key_of(call, session, row.person_id), message_id)


# --- nuisance -------------------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/nuisance",
    "提议骚扰标记",
    asks=NuisanceProposal,
    gives=shapes.NuisanceShown,
    needs="nuisance.propose",
    refuses=(404, 409),
)
async def propose_nuisance(call: Call, asked: NuisanceProposal) -> shapes.NuisanceShown:
    """Without effect until a supervisor confirms it."""
    row = await found(call, call.id())
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> Nuisance:
        return await nuisance.propose(session, vault, row.id, staff_id=me_id, reason=asked.reason, now=now)

    mark = await call.write(work)
    call.tell("task")
    return await _mark(call, mark, row.id)


@post(
    "/nuisance/{id}/confirm",
    "确认骚扰标记",
    asks=NuisanceYes,
    gives=shapes.NuisanceShown,
    needs="nuisance.confirm",
    refuses=(404, 409),
)
async def confirm_nuisance(call: Call, asked: NuisanceYes) -> shapes.NuisanceShown:
    mark_id, me_id, now = call.id(), call.me.id, call.now
    await _must_be_ours(call, _desk_of_mark(mark_id))

    async def work(session: AsyncSession) -> Nuisance:
        return await nuisance.confirm(session, mark_id, staff_id=me_id, days=asked.days, now=now)

    return await _mark(call, await call.write(work))


@post(
    "/nuisance/{id}/end",
    "结束骚扰标记，或不同意提议",
    gives=shapes.NuisanceShown,
    needs="nuisance.confirm",
    refuses=(404, 409),
)
async def end_nuisance(call: Call, asked: Nothing) -> shapes.NuisanceShown:
    mark_id, me_id, now = call.id(), call.me.id, call.now
    await _must_be_ours(call, _desk_of_mark(mark_id))

    async def work(session: AsyncSession) -> Nuisance:
        return await nuisance.end(session, mark_id, staff_id=me_id, now=now)

    return await _mark(call, await call.write(work))


async def _mark(call: Call, mark: Nuisance, conversation_id: int = 0) -> shapes.NuisanceShown:
    call.tell("conversation", conversation_id)
    async with call.shell.storage.read() as session:
        return await views.nuisance(session, await key_of(call, session, mark.person_id), mark)


# --- rescue ---------------------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/rescues",
    "开始紧急救援记录",
    asks=NewRescue,
    gives=shapes.RescueShown,
    needs="rescue.open",
    refuses=(404, 409),
)
async def open_rescue(call: Call, asked: NewRescue) -> shapes.RescueShown:
    row = await found(call, call.id())
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> Rescue:
        return await rescue.open_rescue(
            session,
            vault,
            row.id,
            staff_id=me_id,
            place=asked.place,
            identity=asked.identity,
            legal_basis=asked.legal_basis,
            guardian_may_harm=asked.guardian_may_harm,
            now=now,
        )

    return await _rescue(call, (await call.write(work, urgent=True)).id)


@post(
    "/rescues/{id}/told",
    "登记告知了谁",
    asks=Told,
    gives=shapes.RescueShown,
    needs="rescue.tell",
    refuses=(404, 409),
)
async def rescue_told(call: Call, asked: Told) -> shapes.RescueShown:
    rescue_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault
    await _must_be_ours(call, _desk_of_rescue(rescue_id))

    async def work(session: AsyncSession) -> None:
        await rescue.told(
            session,
            vault,
            rescue_id,
            staff_id=me_id,
            whom=asked.told,
            detail=asked.detail,
            at=asked.at,
            now=now,
        )

    await call.write(work)
    return await _rescue(call, rescue_id)


@post(
    "/rescues/{id}/approve",
    "第二人同意",
    gives=shapes.RescueShown,
    needs="rescue.approve",
    refuses=(404, 409),
)
async def approve_rescue(call: Call, asked: Nothing) -> shapes.RescueShown:
    rescue_id, me_id, now = call.id(), call.me.id, call.now
    await _must_be_ours(call, _desk_of_rescue(rescue_id))

    async def work(session: AsyncSession) -> None:
        await rescue.approve(session, rescue_id, staff_id=me_id, now=now)

    await call.write(work, urgent=True)
    return await _rescue(call, rescue_id)


@post(
    "/rescues/{id}/not-awaited",
    "写明为什么不等第二人",
    asks=Reason,
    gives=shapes.RescueShown,
    needs="rescue.open",
    refuses=(404, 409),
)
async def rescue_not_awaited(call: Call, asked: Reason) -> shapes.RescueShown:
    rescue_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault
    await _must_be_ours(call, _desk_of_rescue(rescue_id))

    async def work(session: AsyncSession) -> None:
        await rescue.not_awaited(session, vault, rescue_id, staff_id=me_id, reason=asked.reason, now=now)

    await call.write(work)
    return await _rescue(call, rescue_id)


@post(
    "/rescues/{id}/close",
    "结束紧急救援",
    asks=RescueResult,
    gives=shapes.RescueShown,
    needs="rescue.close",
    refuses=(404, 409),
)
async def close_rescue(call: Call, asked: RescueResult) -> shapes.RescueShown:
    rescue_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault
    await _must_be_ours(call, _desk_of_rescue(rescue_id))

    async def work(session: AsyncSession) -> None:
        await rescue.close(session, vault, rescue_id, staff_id=me_id, result=asked.result, now=now)

    await call.write(work)
    return await _rescue(call, rescue_id)


async def _rescue(call: Call, rescue_id: int) -> shapes.RescueShown:
    async with call.shell.storage.read() as session:
        row = await session.get_one(Rescue, rescue_id)
        person = await session.scalar(
            select(Conversation.person_id).where(Conversation.id == row.conversation_id)
        )
        assert person is not None
        key = await key_of(call, session, person)
        shown_now = await views.rescues(session, key, row.conversation_id)
    call.tell("conversation", row.conversation_id)
    return next(r for r in shown_now if r.id == rescue_id)


@post(
    "/conversations/{id}/network-address",
    "查看网络地址（仅在救援中，记录在案）",
    asks=Reason,
    gives=shapes.NetworkAddress,
    needs="network_address",
    refuses=(404, 409),
    per_minute=5,
)
async def network_address(call: Call, asked: Reason) -> shapes.NetworkAddress:
    row = await found(call, call.id())
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> str | None:
        return await rescue.network_address(
            session, vault, row.id, staff_id=me_id, reason=asked.reason, now=now
        )

    return shapes.NetworkAddress(address=await call.write(work))
