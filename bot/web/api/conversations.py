"""Conversations on the workbench: lists, the thread, and everything a counsellor does in one.

Rules are escalation's; here a request becomes a call of them in one transaction, then news for the screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from aiohttp import web
from pydantic import Field
from sqlalchemy import Select, and_, func, or_, select, union_all
from sqlalchemy import case as when
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.channels import Button
from bot.desk_view import DeskNow
from bot.events import News
from bot.outbox import Draft
from bot.web.api import shapes, views
from bot.web.api.desk import category_codes, suggestions
from bot.web.api.fields import (
    Asked,
    Code,
    Flag,
    IdIn,
    Nothing,
    Number,
    OptionalCode,
    OptionalLine,
    OptionalText,
    RiskName,
    Text,
    Words,
)
from bot.web.api.looks import Looks, reason
from bot.web.api.operations import Call, get, post
from bot.web.api.templates import in_force
from bot.web.problems import conflict, invalid, not_found
from escalation import cases, conversations, desk, episodes, records, satisfaction, unanswered
from escalation.policy import Policy, grave
from escalation.privacy import DataKey
from escalation.tables import Alert, Conversation, Message, Note, Person, Transfer

LOOKS: web.AppKey[Looks] = web.AppKey("looks", Looks)
POLICY: web.AppKey[Policy] = web.AppKey("policy", Policy)
View = Literal["queue", "mine", "all", "closed"]


# --- what is asked --------------------------------------------------------------------------------------------------


class ListAsked(Asked):
    """Which list, how many, and the last card of the page before. `mine` also holds what a colleague offers me."""

    view: View = "queue"
    limit: int = Field(default=50, ge=1, le=100)
    after: IdIn | None = None


class LookAsked(Asked):
    why: OptionalCode = ""


class MessagesAsked(Asked):
    before: IdIn | None = None
    limit: int = Field(default=50, ge=1, le=200)


class Reply(Asked):
    """`client_id` is the writer's own key of this reply: the same one twice is one reply."""

    text: Words
    client_id: Code


class NewNote(Asked):
    text: Text


class HandBack(Asked):
    reason: OptionalLine = ""
    to: Literal["queue", "bot"] = "queue"


class Offer(Asked):
    to: IdIn
    reason: OptionalLine = ""


class Assessment(Asked):
    level: RiskName
    note: OptionalText = ""


class Closing(Asked):
    version: Number = Field(ge=0, description="工单版本；没有工单时为 0")
    category: OptionalCode
    risk: RiskName
    result: Code
    note: OptionalText = ""
    ask_satisfaction: Flag


# --- lists ----------------------------------------------------------------------------------------------------------


@get("/conversations", "会话列表", asks=ListAsked, gives=shapes.Cards, needs="look")
async def conversation_list(call: Call, asked: ListAsked) -> shapes.Cards:
    me, vault = call.me, call.shell.vault
    async with call.shell.storage.read() as session:
        after = None if asked.after is None else await session.get(Conversation, asked.after)
        rows = list(await session.scalars(_listed(asked.view, me.desk, me.id, after, asked.limit)))
        return shapes.Cards(
            items=await views.cards(
                session,
                vault,
                rows,
                reader_id=me.id,
                now=call.now,
                policy=call.request.config_dict[POLICY],
                previews=asked.view in ("queue", "mine"),
            ),
            counts=await _counts(session, me.desk, me.id),
        )


def _listed(
    view: View, desk_id: str, me_id: int, after: Conversation | None, limit: int
) -> Select[Conversation]:
    c = Conversation
    match view:
        case "queue":
            return _in_queue(select(c).where(c.desk == desk_id, c.state == "queued"), after).limit(limit)
        case "mine":
            offered = select(Transfer.conversation_id).where(
                Transfer.to_id == me_id, Transfer.state == "offered"
            )
            mine = or_(c.owner_id == me_id, and_(c.desk == desk_id, c.id.in_(offered)))
            return _mine(select(c).where(mine, c.state == "human"), after).limit(limit)
        case "all":
            return _by_age(desk_id, ("bot", "queued", "human"), after, limit)
        case "closed":
            return _by_age(desk_id, ("closed",), after, limit)


def _by_age(
    desk_id: str, states: Sequence[str], after: Conversation | None, limit: int
) -> Select[Conversation]:
    """Newest first. A page of each state, then the newest of those: each is read off ix_conversation_state in order."""
    c = Conversation
    pages = []
    for state in states:
        page = select(c.id).where(c.desk == desk_id, c.state == state)
        if after is not None:
            page = page.where(c.id < after.id)
        pages.append(select(page.order_by(c.id.desc()).limit(limit).subquery()))
    return select(c).where(c.id.in_(union_all(*pages))).order_by(c.id.desc()).limit(limit)


def _in_queue(chosen: Select[Conversation], after: Conversation | None) -> Select[Conversation]:
    """By place in the queue, then by waiting time: the order of ix_conversation_queue, so that a page costs a page.
    Whoever is queued waits."""
    c = Conversation
    if after is not None:
        same = and_(c.queue_rank == after.queue_rank, c.waiting_since == after.waiting_since, c.id > after.id)
        later = and_(c.queue_rank == after.queue_rank, c.waiting_since > after.waiting_since)
        chosen = chosen.where(or_(c.queue_rank > after.queue_rank, later, same))
    return chosen.order_by(c.queue_rank, c.waiting_since, c.id)


def _mine(chosen: Select[Conversation], after: Conversation | None) -> Select[Conversation]:
    """Whoever waits for an answer first, the longest wait first; then the others."""
    c = Conversation
    if after is not None:
        if after.waiting_since is None:
            chosen = chosen.where(c.waiting_since.is_(None), c.id > after.id)
        else:
            later = or_(c.waiting_since > after.waiting_since, c.waiting_since.is_(None))
            chosen = chosen.where(or_(later, and_(c.waiting_since == after.waiting_since, c.id > after.id)))
    return chosen.order_by(c.waiting_since.is_(None), c.waiting_since, c.id)


async def _counts(session: AsyncSession, desk_id: str, me_id: int) -> shapes.Counts:
    """How many wait, are mine, are in danger."""
    mine = func.sum(when((Conversation.owner_id == me_id, 1), else_=0))
    rows = await session.execute(
        select(Conversation.state, Conversation.risk, func.count(), mine)
        .where(Conversation.desk == desk_id, Conversation.state.in_(("queued", "human")))
        .group_by(Conversation.state, Conversation.risk)
    )
    counted = {"queue": 0, "mine": 0, "critical": 0, "high": 0}
    for state, risk, count, own in rows:
        if state == "queued":
            counted["queue"] += count
        else:
            counted["mine"] += int(own)
        if risk in ("critical", "high"):
            counted[risk] += count
    return shapes.Counts(**counted)


# --- one conversation -----------------------------------------------------------------------------------------------


@get(
    "/conversations/{id}",
    "打开会话（查看会被记录）",
    asks=LookAsked,
    gives=shapes.ConversationShown,
    needs="look",
    refuses=(404,),
    per_minute=240,
)
async def conversation(call: Call, asked: LookAsked) -> shapes.ConversationShown:
    row = await found(call, call.id())
    await _look(call, row, asked.why)
    return await shown(call, row.id)


@get(
    "/conversations/{id}/messages",
    "消息（查看会被记录）",
    asks=MessagesAsked,
    gives=list[shapes.MessageShown],
    needs="look",
    refuses=(404,),
    per_minute=240,
)
async def messages(call: Call, asked: MessagesAsked) -> list[shapes.MessageShown]:
    row = await found(call, call.id())
    await _look(call, row, "refresh")
    async with call.shell.storage.read() as session:
        key = await key_of(call, session, row.person_id)
        return await views.thread(session, key, row.id, before=asked.before, limit=asked.limit)


async def found(call: Call, conversation_id: int) -> Conversation:
    async with call.shell.storage.read() as session:
        row = await session.get(Conversation, conversation_id)
    if row is None or row.desk != call.me.desk:
        raise not_found("没有这个会话。")
    return row


async def _look(call: Call, row: Conversation, said: str) -> None:
    async with call.shell.storage.read() as session:
        offered = await session.scalar(
            select(Transfer.id)
            .where(
                Transfer.conversation_id == row.id, Transfer.to_id == call.me.id, Transfer.state == "offered"
            )
            .limit(1)
        )
        ringing = await session.scalar(
            select(Alert.id).where(Alert.conversation_id == row.id, Alert.state != "ended").limit(1)
        )
    why = reason(call, row, said, offered=offered is not None, ringing=ringing is not None)
    await call.request.config_dict[LOOKS].record(call, row.id, why)


async def key_of(call: Call, session: AsyncSession, person_id: int) -> DataKey | None:
    wrapped = await session.scalar(select(Person.data_key).where(Person.id == person_id))
    return views.person_key(call.shell.vault, wrapped)


async def shown(call: Call, conversation_id: int) -> shapes.ConversationShown:
    """Everything about one conversation, as this reader may use it. The look is on record already."""
    vault, now = call.shell.vault, call.now
    async with call.shell.storage.read() as session:
        row = await session.get_one(Conversation, conversation_id)
        key = await key_of(call, session, row.person_id)
        policy = call.request.config_dict[POLICY]
        parts = await views.card_parts(session, vault, row, reader_id=call.me.id, now=now, policy=policy)
        thread = await views.thread(session, key, row.id)
        person = await session.get_one(Person, row.person_id)
        beside: dict[str, Any] = {
            "person_id": row.person_id,
            "messages": thread,
            "notes": await views.notes(session, key, row.id),
            "episode": await views.episode(session, row),
            "alert": await views.alert_of(session, row.id),
            "case": await views.case_of(session, row),
            "safe_contact": views.safe_contact(key, person),
            "rescue": await views.rescues(session, key, row.id),
            "nuisance_mark": await views.nuisance_of(session, key, row.person_id, now),
            "earlier": await views.earlier(session, row),
            "quota": await views.quota(session, row, now, call.shell.settings),
            "transfer": await views.transfer_of(session, vault, key, row.id),
        }
        crisis = await satisfaction.had_crisis(session, row)
    last_words = next((m.text for m in reversed(thread) if m.direction == "in" and m.text), "")
    return shapes.ConversationShown(
        **parts,
        **beside,
        suggestions=await suggestions(call.shell, last_words, row.category),
        permissions=_allowed(call, row, beside),
        # After a crisis no satisfaction question goes out without the counsellor's yes.
        reassure=shapes.Reassure(can_ask_satisfaction_default=not crisis),
    )


def _allowed(call: Call, row: Conversation, beside: dict[str, Any]) -> shapes.Allowed:
    may, open_ = call.may, row.state != "closed"
    mine = row.state == "human" and row.owner_id == call.me.id
    mark: shapes.NuisanceShown | None = beside["nuisance_mark"]
    danger = grave(row.risk) or row.episode_id is not None
    return shapes.Allowed(
        can_claim=open_ and row.state != "human" and may("claim"),
        can_reply=mine and may("reply"),
        can_note=may("note"),
        can_hand_back=mine and may("hand_back"),
        can_transfer=mine and may("transfer"),
        can_assess=open_ and may("assess") and (mine or call.me.role == "supervisor"),
        can_close=open_ and may("close") and (mine or call.me.role == "supervisor"),
        can_rescue=may("rescue.open") and (danger or bool(beside["rescue"])),
        can_approve_rescue=may("rescue.approve")
        and any(
            r.state == "open"
            and r.approved_by is None
            and r.opened_by is not None
            and r.opened_by.id != call.me.id
            for r in beside["rescue"]
        ),
        can_show_network_address=may("network_address")
        and row.channel == "webchat"
        and any(r.state == "open" for r in beside["rescue"]),
        can_mark_nuisance=may("nuisance.propose") and mark is None,
        can_confirm_nuisance=may("nuisance.confirm")
        and mark is not None
        and mark.confirmed_by is None
        and mark.proposed_by is not None
        and mark.proposed_by.id != call.me.id,
        can_ask_safe_contact=mine and may("safe_contact"),
        can_erase=may("erasure.request"),
    )


# --- taking and answering -------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/claim", "认领会话", gives=shapes.ConversationShown, needs="claim", refuses=(404, 409)
)
async def claim(call: Call, asked: Nothing) -> shapes.ConversationShown:
    row = await found(call, call.id())
    me_id, now, policy = call.me.id, call.now, call.request.config_dict[POLICY]

    async def work(session: AsyncSession) -> None:
        await desk.claim(session, row.id, me_id, now, policy)

    try:
        await call.write(work, urgent=True)
    except desk.AlreadyTaken as taken:
        async with call.shell.storage.read() as session:
            known = await views.names(session, [taken.owner_id])
        owner = views.named(taken.owner_id, known).model_dump()
        raise conflict(
            f"这个会话已由{owner['name']}接手。", {"owner": owner}, error="taken", owner=owner
        ) from None
    call.tell("conversation", row.id, state="human", owner_id=str(me_id))
    call.tell("alert", row.id)
    await call.request.config_dict[LOOKS].record(call, row.id, "own")
    return await shown(call, row.id)


@post(
    "/conversations/{id}/reply",
    "回复来访者",
    asks=Reply,
    gives=shapes.MessageShown,
    needs="reply",
    refuses=(404, 409),
    per_minute=60,
)
async def reply(call: Call, asked: Reply) -> shapes.MessageShown:
    row = await found(call, call.id())
    shell, me_id, now = call.shell, call.me.id, call.now
    if not asked.text.strip():
        raise invalid("text", "不能为空")
    dedupe = f"{me_id}:{asked.client_id}"
    fingerprint = shell.vault.fingerprint("reply", str(row.id), dedupe)

    async def work(session: AsyncSession) -> tuple[Message, bool]:
        locked = await conversations.locked(
            session, row.id
        )  # of two with one client_id, the second waits here
        before = await session.scalar(select(Message).where(Message.dedupe_hash == fingerprint))
        if before is not None:
            return before, False
        await desk.reply_written(session, locked, me_id, now)
        draft = Draft(asked.text, dedupe=dedupe)
        written = await outbox.write(
            session, shell.vault, locked, [draft], lane=outbox.HUMAN, now=now, author="staff", staff_id=me_id
        )
        await session.flush()
        await unanswered.human_answered(session, shell.vault, locked, written[0])
        return written[0], True

    message, new = await call.write(work, urgent=True)
    if new:
        shell.outbox.ring(row.id)
        call.tell("alert", row.id)
    async with shell.storage.read() as session:
        key = await key_of(call, session, row.person_id)
        return (await views.shown_messages(session, key, [message]))[0]


@post(
    "/conversations/{id}/typing", "告诉来访者咨询员正在输入", gives=shapes.Ok, needs="reply", refuses=(404,)
)
async def typing(call: Call, asked: Nothing) -> shapes.Ok:
    row = await found(call, call.id())
    if row.owner_id == call.me.id:
        call.shell.bus.publish(News("typing", row.id, {"by": "staff"}))
        call.shell.outbox.types(row.id, call.me.id)
    return shapes.Ok()


@post(
    "/conversations/{id}/notes",
    "写内部记录（不发给来访者）",
    asks=NewNote,
    gives=shapes.NoteShown,
    needs="note",
    refuses=(404,),
)
async def note(call: Call, asked: NewNote) -> shapes.NoteShown:
    row = await found(call, call.id())
    me_id, now = call.me.id, call.now

    async def work(session: AsyncSession) -> int:
        return await write_note(call, session, row, asked.text)

    note_id = await call.write(work)
    call.tell("conversation", row.id)
    author = shapes.Named(id=me_id, name=call.me.name)
    return shapes.NoteShown(id=note_id, staff=author, at=now, text=asked.text)


async def write_note(call: Call, session: AsyncSession, row: Conversation, text: str) -> int:
    """Keep an internal note in the caller's transaction; returns its id. Raises Refused (409) for an erased person."""
    key = await key_of(call, session, row.person_id)
    if key is None:
        raise conflict("来访者的资料已按要求删除，不能再写记录。")
    kept = Note(
        conversation_id=row.id, staff_id=call.me.id, at=call.now, text_sealed=key.seal(text, "note.text")
    )
    session.add(kept)
    await session.flush()
    records.write(session, call.me.id, "note", "conversation", row.id, call.now)
    return kept.id


# --- handing on -----------------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/hand-back",
    "交回队列",
    asks=HandBack,
    gives=shapes.Ok,
    needs="hand_back",
    refuses=(404, 409),
)
async def hand_back(call: Call, asked: HandBack) -> shapes.Ok:
    row = await found(call, call.id())
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> str:
        back = await desk.hand_back(
            session, row.id, me_id, now, vault=vault, reason=asked.reason, to=asked.to
        )
        return back.state

    state = await call.write(work)
    call.tell("conversation", row.id, state=state)
    call.tell("alert", row.id)
    return shapes.Ok()


@post(
    "/conversations/{id}/transfer",
    "转给同事",
    asks=Offer,
    gives=shapes.TransferShown,
    needs="transfer",
    refuses=(404, 409),
)
async def transfer(call: Call, asked: Offer) -> shapes.TransferShown:
    row = await found(call, call.id())
    me_id, now, vault = call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> None:
        await desk.transfer_offer(
            session, vault, row.id, staff_id=me_id, to=asked.to, reason=asked.reason, now=now
        )

    await call.write(work)
    call.tell("conversation", row.id, offered_to=str(asked.to))
    async with call.shell.storage.read() as session:
        offer = await views.transfer_of(session, vault, await key_of(call, session, row.person_id), row.id)
    assert offer is not None
    return offer


@post(
    "/transfers/{id}/accept",
    "接受同事转来的会话",
    gives=shapes.ConversationShown,
    needs="transfer",
    refuses=(404, 409),
)
async def accept_transfer(call: Call, asked: Nothing) -> shapes.ConversationShown:
    transfer_id, me_id, now = call.id(), call.me.id, call.now

    async def work(session: AsyncSession) -> int:
        return (await desk.transfer_accept(session, transfer_id, me_id, now)).id

    conversation_id = await call.write(work)
    call.tell("conversation", conversation_id, state="human", owner_id=str(me_id))
    await call.request.config_dict[LOOKS].record(call, conversation_id, "own")
    return await shown(call, conversation_id)


@post(
    "/transfers/{id}/decline", "不接受同事转来的会话", gives=shapes.Ok, needs="transfer", refuses=(404, 409)
)
async def decline_transfer(call: Call, asked: Nothing) -> shapes.Ok:
    transfer_id, me_id, now = call.id(), call.me.id, call.now

    async def work(session: AsyncSession) -> int:
        return (await desk.transfer_decline(session, transfer_id, me_id, now)).conversation_id

    call.tell("conversation", await call.write(work))
    return shapes.Ok()


# --- judging and closing --------------------------------------------------------------------------------------------


@post(
    "/conversations/{id}/risk",
    "评估风险",
    asks=Assessment,
    gives=shapes.ConversationShown,
    needs="assess",
    refuses=(404, 409),
)
async def assess(call: Call, asked: Assessment) -> shapes.ConversationShown:
    row = await found(call, call.id())
    me_id, now, policy = call.me.id, call.now, call.request.config_dict[POLICY]

    async def work(session: AsyncSession) -> None:
        locked = await conversations.locked(session, row.id)
        _must_be_mine_or_supervised(call, locked)
        await episodes.assess(session, locked, staff_id=me_id, level=asked.level, now=now, policy=policy)
        if asked.note:
            await write_note(call, session, locked, asked.note)

    await call.write(work, urgent=True)
    call.tell("conversation", row.id, risk=asked.level)
    call.tell("alert", row.id)
    return await shown(call, row.id)


def _must_be_mine_or_supervised(call: Call, row: Conversation) -> None:
    if row.state == "closed":
        raise desk.NotAllowed("closed")
    if row.owner_id != call.me.id and call.me.role != "supervisor":
        raise desk.NotAllowed("not_yours")


@post(
    "/conversations/{id}/close", "结束会话", asks=Closing, gives=shapes.Ok, needs="close", refuses=(404, 409)
)
async def close(call: Call, asked: Closing) -> shapes.Ok:
    """The case gets its result; the question about satisfaction goes out where it may."""
    row = await found(call, call.id())
    if asked.result not in cases.RESULTS:
        raise invalid("result", "没有这个结果代码")
    if asked.category and asked.category not in category_codes():
        raise invalid("category", "没有这个案由")
    shell, me_id, now = call.shell, call.me.id, call.now

    async def work(session: AsyncSession) -> bool:
        closed = await cases.close(
            session,
            shell.vault,
            row.id,
            staff=me_id,
            category=asked.category,
            risk=asked.risk,
            result=asked.result,
            note=asked.note,
            ask_satisfaction=asked.ask_satisfaction,
            version=asked.version,
            now=now,
        )
        if closed.ask_satisfaction:
            text = (await in_force(session)).fill(
                "satisfaction.ask", await DeskNow(shell.settings.desk).view(session, now)
            )
            buttons = [Button(str(score), f"/rate {row.id} {score}") for score in range(1, 6)]
            draft = Draft(text.text, buttons, text.source, dedupe="satisfaction")
            await outbox.write(
                session,
                shell.vault,
                closed.conversation,
                [draft],
                lane=outbox.PROACTIVE,
                now=now,
                author="system",
            )
        return closed.ask_satisfaction

    try:
        asking = await call.write(work)
    except cases.VersionConflict as changed:
        async with shell.storage.read() as session:
            current = await views.case_of(session, row)
        shown_now = None if current is None else current.model_dump(mode="json")
        raise conflict(
            "这个工单刚刚被别人改过，请看过新的内容再结束。",
            shown_now,
            error="version",
            version=changed.current,
        ) from None
    if asking:
        shell.outbox.ring(row.id)
    call.tell("conversation", row.id, state="closed")
    call.tell("alert", row.id)
    return shapes.Ok()
