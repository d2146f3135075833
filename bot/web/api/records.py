"""The desk's other work: tasks, who did what, erasing a person, and whether the sums agree."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import erasing
from bot.audit import audit as count_all
from bot.web.api import shapes
from bot.web.api.fields import Asked, Flag, IdIn, Nothing, Text
from bot.web.api.operations import Call, get, post
from bot.web.api.views import named, names
from bot.web.problems import conflict, not_found
from escalation import erasure, records, tasks
from escalation.tables import Case, Conversation, Erasure, Person, Record, ReviewItem, Staff, Task, Unanswered


class TasksAsked(Asked):
    state: Literal["open", "done"] = "open"


class RecordsAsked(Asked):
    object: Literal["conversation", "person", "staff", "template", "case", "review_item", "unanswered"] = (
        "conversation"
    )
    id: IdIn


class ErasureRequest(Asked):
    verified_how: Literal["return_code", "same_channel", "in_person", "telephone_back"]


class LegalHold(Asked):
    on: Flag
    reason: Text


# --- tasks ----------------------------------------------------------------------------------------------------------


@get("/tasks", "任务", asks=TasksAsked, gives=list[shapes.TaskShown], needs="tasks.read")
async def task_list(call: Call, asked: TasksAsked) -> list[shapes.TaskShown]:
    """By due time. A supervisor also sees the counsellors' tasks."""
    roles = {"supervisor": ("supervisor", "counsellor")}.get(call.me.role, (call.me.role,))
    async with call.shell.storage.read() as session:
        rows = list(await tasks.listed(session, desk=call.me.desk, state=asked.state, roles=roles))
        known = await names(session, [t.owner_id for t in rows])
    return [_task(t, known) for t in rows]


@post("/tasks/{id}/done", "完成任务", gives=shapes.TaskShown, needs="tasks.done", refuses=(404, 409))
async def task_done(call: Call, asked: Nothing) -> shapes.TaskShown:
    task_id, me, now = call.id(), call.me, call.now

    async def work(session: AsyncSession) -> tuple[Task, dict[int, str]]:
        before = await tasks.one(session, task_id, desk=me.desk)
        if before is None:
            raise not_found("没有这个任务。")
        if before.role == "supervisor" and me.role == "counsellor":
            raise not_found("没有这个任务。")
        if before.state == "done" and before.done_by != me.id:
            by = await names(session, [before.done_by])
            raise conflict("这个任务已由同事完成。", _task(before, by).model_dump(mode="json"))
        task = await tasks.done(session, task_id, me.id, now)
        assert task is not None
        records.write(session, me.id, "task.done", "task", task.id, now, task.kind)
        return task, await names(session, [task.owner_id])

    task, known = await call.write(work)
    call.tell("task", task.conversation_id or 0, task_id=str(task.id), state=task.state)
    return _task(task, known)


def _task(row: Task, known: dict[int, str]) -> shapes.TaskShown:
    return shapes.TaskShown(
        id=row.id,
        kind=row.kind,
        conversation_id=row.conversation_id,
        owner=None if row.owner_id is None else named(row.owner_id, known),
        role=row.role,
        level=row.level,
        detail=row.detail,
        state=row.state,
        created_at=row.created_at,
        due_at=row.due_at,
        done_at=row.done_at,
    )


# --- records and sums -----------------------------------------------------------------------------------------------


@get(
    "/records",
    "谁在什么时候做了什么",
    asks=RecordsAsked,
    gives=list[shapes.RecordShown],
    needs="records.read",
)
async def record_list(call: Call, asked: RecordsAsked) -> list[shapes.RecordShown]:
    """Newest first, at most 200."""
    async with call.shell.storage.read() as session:
        await _must_be_ours(call, session, asked)
        rows = list(await records.of(session, asked.object, asked.id))
        known = await names(session, [r.staff_id for r in rows])
    return [_record(call, row, known) for row in rows]


async def _must_be_ours(call: Call, session: AsyncSession, asked: RecordsAsked) -> None:
    """What another desk did is not there. Raises Refused (404). Of what is gone (its time was over) nobody can tell."""
    table = _DESKS.get(asked.object)
    if table is None:
        return  # templates are everybody's
    desk = await session.scalar(select(table.desk).where(table.id == asked.id))
    if desk not in (None, call.me.desk):
        raise not_found()


_DESKS: dict[str, type[Conversation | Person | Staff | Case | ReviewItem | Unanswered]] = {
    "conversation": Conversation,
    "person": Person,
    "staff": Staff,
    "case": Case,
    "review_item": ReviewItem,
    "unanswered": Unanswered,
}


def _record(call: Call, row: Record, known: dict[int, str]) -> shapes.RecordShown:
    why = row.why
    if row.why_sealed is not None:
        why = call.shell.vault.desk.open(row.why_sealed, "record.why")
    return shapes.RecordShown(
        id=row.id,
        at=row.at,
        staff=None if row.staff_id is None else named(row.staff_id, known),
        action=row.action,
        object=row.object,
        object_id=row.object_id,
        why=why,
    )


@get("/audit", "收发核对", gives=dict[str, Any], needs="audit.read", per_minute=6)
async def audit(call: Call, asked: Nothing) -> dict[str, Any]:
    """Messages by how they ended, sends by state, and whether the sums agree."""
    async with call.shell.storage.read(patient=True) as session:
        found = await count_all(session)
    return {
        "inbound": found.inbound,
        "outbound": found.outbound,
        "total_in": found.total_in,
        "total_out": found.total_out,
        "agree": found.agree,
    }


# --- erasing --------------------------------------------------------------------------------------------------------


@get("/erasures", "待处理的删除请求", gives=list[shapes.ErasureShown], needs="erasure.approve")
async def erasures(call: Call, asked: Nothing) -> list[shapes.ErasureShown]:
    async with call.shell.storage.read() as session:
        rows = await erasure.waiting(session, desk=call.me.desk)
        known = await names(session, [r.requested_by for r, _ in rows])
    return [_erasure(row, known, held) for row, held in rows]


async def _our_person(call: Call, session: AsyncSession, person_id: int) -> Person:
    """Raises Refused (404) for another desk's."""
    person = await session.get(Person, person_id)
    if person is None or person.desk != call.me.desk:
        raise not_found("没有这位来访者。")
    return person


async def _our_request(call: Call, session: AsyncSession, erasure_id: int) -> Person:
    """Whom a request is about. Raises Refused (404) for another desk's."""
    person_id = await session.scalar(select(Erasure.person_id).where(Erasure.id == erasure_id))
    return await _our_person(call, session, person_id or 0)


@post(
    "/persons/{id}/erasure",
    "登记删除请求",
    asks=ErasureRequest,
    gives=shapes.ErasureShown,
    needs="erasure.request",
    refuses=(404, 409),
)
async def request_erasure(call: Call, asked: ErasureRequest) -> shapes.ErasureShown:
    person_id, me, now = call.id(), call.me, call.now

    async def work(session: AsyncSession) -> shapes.ErasureShown:
        person = await _our_person(call, session, person_id)
        row = await erasure.request(
            session, person_id=person_id, staff_id=me.id, verified_how=asked.verified_how, now=now
        )
        return _erasure(row, await names(session, [row.requested_by]), person.legal_hold)

    shown = await call.write(work)
    call.tell("task")
    return shown


@post(
    "/persons/{id}/legal-hold",
    "依法保留：设置或解除",
    asks=LegalHold,
    gives=shapes.LegalHoldShown,
    needs="legal_hold",
    refuses=(404,),
)
async def legal_hold(call: Call, asked: LegalHold) -> shapes.LegalHoldShown:
    """Keeps a person's record from being erased, for a proceeding; on record with the reason."""
    person_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> None:
        await _our_person(call, session, person_id)
        await erasure.set_legal_hold(
            session, vault, person_id, on=asked.on, staff_id=me_id, reason=asked.reason, now=now
        )

    await call.write(work)
    call.tell("task")
    return shapes.LegalHoldShown(person_id=person_id, legal_hold=asked.on)


@post(
    "/erasures/{id}/approve",
    "批准删除",
    gives=shapes.ErasureShown,
    needs="erasure.approve",
    refuses=(404, 409),
)
async def approve_erasure(call: Call, asked: Nothing) -> shapes.ErasureShown:
    """Carried out at once, or held back with the reason in `held_by`."""
    erasure_id, me_id, now, vault = call.id(), call.me.id, call.now, call.shell.vault

    async def work(session: AsyncSession) -> shapes.ErasureShown:
        person = await _our_request(call, session, erasure_id)
        row = await erasing.approve(session, vault, erasure_id, staff_id=me_id, now=now)
        return _erasure(row, await names(session, [row.requested_by]), person.legal_hold)

    shown = await call.write(work)
    if shown.state == "done":
        await call.shell.storage.drop_old_pages()
    call.tell("task")
    return shown


@post(
    "/erasures/{id}/refuse",
    "不批准删除",
    gives=shapes.ErasureShown,
    needs="erasure.approve",
    refuses=(404, 409),
)
async def refuse_erasure(call: Call, asked: Nothing) -> shapes.ErasureShown:
    erasure_id, me_id, now = call.id(), call.me.id, call.now

    async def work(session: AsyncSession) -> shapes.ErasureShown:
        person = await _our_request(call, session, erasure_id)
        row = await erasure.refuse(session, erasure_id, staff_id=me_id, now=now)
        return _erasure(row, await names(session, [row.requested_by]), person.legal_hold)

    shown = await call.write(work)
    call.tell("task")
    return shown


def _erasure(row: Erasure, known: dict[int, str], legal_hold: bool) -> shapes.ErasureShown:
    return shapes.ErasureShown(
        id=row.id,
        person_id=row.person_id,
        state=row.state,
        held_by=row.held_by,
        legal_hold=legal_hold,
        requested_by=named(row.requested_by, known),
        requested_at=row.requested_at,
        verified_how=row.verified_how,
    )
