"""Owned, timed work that is not a conversation: cannot reach somebody, an unmapped template, an erasure to decide."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, String, and_, cast, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.policy import grave
from escalation.tables import Conversation, Erasure, Person, Task
from nlu.understanding import Risk, higher

KINDS: Final[dict[str, str]] = {
    "cannot_reach": "联系不上来访者",
    "unknown_delivery": "消息是否送达不明",
    "unmapped_template": "短信模板未登记",
    "clock_warning": "时钟可能不准",
    "erasure": "删除请求待审批",
    "nuisance_review": "骚扰标记待确认",
    "ask_safe_contact": "询问安全联系方式",
    "sweep": "补救未处理的消息",
}
_DUE_IN: Final[dict[str, timedelta]] = {
    "critical": timedelta(minutes=15),
    "high": timedelta(hours=1),
    "medium": timedelta(hours=24),
    "low": timedelta(days=3),
    "none": timedelta(days=3),
}


async def open_task(
    session: AsyncSession,
    kind: str,
    *,
    now: datetime,
    conversation_id: int | None = None,
    owner_id: int | None = None,
    role: str = "counsellor",
    level: Risk = "none",
    detail: str = "",
    due_at: datetime | None = None,
) -> Task:
    """Open a task, or raise the open one of the same kind, conversation and detail: one duty is one task.

    Work on high or critical is a supervisor's (promise 7). `detail` is a code. Due by level unless `due_at` is given.
    """
    role = "supervisor" if grave(level) else role
    due_at = due_at or now + _DUE_IN[level]
    await session.flush()
    found = await session.scalar(
        select(Task)
        .where(
            Task.kind == kind,
            Task.state == "open",
            Task.detail == detail,
            Task.conversation_id.is_(None)
            if conversation_id is None
            else Task.conversation_id == conversation_id,
        )
        .limit(1)
    )
    if found is not None:
        found.level = higher(found.level, level)
        found.role = "supervisor" if grave(found.level) else found.role
        found.due_at = min(found.due_at, due_at)
        return found
    task = Task(
        kind=kind,
        conversation_id=conversation_id,
        owner_id=owner_id,
        role=role,
        level=level,
        detail=detail,
        state="open",
        created_at=now,
        due_at=due_at,
    )
    session.add(task)
    await session.flush()
    return task


async def done(session: AsyncSession, task_id: int, staff_id: int | None, now: datetime) -> Task | None:
    """Mark a task done (`staff_id` None: by itself); None when there is no such task. Done twice stays as first done."""
    task = await session.get(Task, task_id)
    if task is not None and task.state == "open":
        task.state, task.done_at, task.done_by = "done", now, staff_id
        await session.flush()
    return task


async def done_for(session: AsyncSession, kind: str, detail: str, staff_id: int, now: datetime) -> None:
    """What the open tasks of this kind and detail asked for has been done."""
    await session.flush()
    open_tasks = await session.scalars(
        select(Task).where(Task.kind == kind, Task.detail == detail, Task.state == "open")
    )
    for task in open_tasks.all():
        task.state, task.done_at, task.done_by = "done", now, staff_id


async def listed(
    session: AsyncSession, *, desk: str, state: str = "open", roles: Sequence[str] = (), limit: int = 200
) -> Sequence[Task]:
    """A desk's tasks by when they are due; only those on the lists of `roles` when given."""
    query = select(Task).where(Task.state == state, _of(desk)).order_by(Task.due_at, Task.id).limit(limit)
    if roles:
        query = query.where(Task.role.in_(roles))
    return (await session.scalars(query)).all()


async def one(session: AsyncSession, task_id: int, *, desk: str) -> Task | None:
    """A task of this desk."""
    return await session.scalar(select(Task).where(Task.id == task_id, _of(desk)))


def _of(desk: str) -> ColumnElement[bool]:
    """A task is the desk's whose conversation or erasure it is about; what is about the installation is everybody's."""
    conversations = select(Conversation.id).where(
        Conversation.id == Task.conversation_id, Conversation.desk == desk
    )
    erasures = (
        select(Erasure.id)
        .join(Person, Person.id == Erasure.person_id)
        .where(cast(Erasure.id, String) == Task.detail, Person.desk == desk)
    )
    return or_(
        conversations.exists(),
        and_(Task.kind == "erasure", erasures.exists()),
        and_(Task.conversation_id.is_(None), Task.kind != "erasure"),
    )
