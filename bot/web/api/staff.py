"""Who works here and when: staff, one-time passwords, colleagues to hand over to, the roster."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api import shapes
from bot.web.api.fields import Asked, Flag, IdIn, Line, MomentIn, Nothing, Number, OptionalLine, Role
from bot.web.api.operations import Call, delete, get, patch, post
from bot.web.api.views import named, names
from bot.web.problems import Refused, conflict, not_found
from bot.web.sessions import end_sessions
from escalation import records, roster, staff
from escalation.roster import Duty
from escalation.tables import Conversation, Shift, Staff

_ROSTER_BACK = timedelta(days=1)
_ROSTER_AHEAD = timedelta(days=60)


class NewStaff(Asked):
    login: str = Field(min_length=2, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
    name: Line
    role: Role
    telephone: OptionalLine = ""


class StaffChange(Asked):
    """Only what is given changes."""

    name: Line | None = None
    role: Role | None = None
    active: Flag | None = None
    telephone: OptionalLine | None = None


class NewShift(Asked):
    staff_id: IdIn
    rung: Number = Field(ge=0, le=2, description="0 值班，1 备班，2 督导")
    starts_at: MomentIn
    ends_at: MomentIn


class RosterAsked(Asked):
    since: MomentIn | None = None
    until: MomentIn | None = None


# --- staff ----------------------------------------------------------------------------------------------------------


@get("/staff", "人员", gives=list[shapes.StaffShown], needs="staff.read")
async def staff_list(call: Call, asked: Nothing) -> list[shapes.StaffShown]:
    async with call.shell.storage.read() as session:
        rows = await session.scalars(select(Staff).where(Staff.desk == call.me.desk).order_by(Staff.id))
        duty = await roster.on_duty(session, call.now)
        return [_member(row, duty) for row in rows]


@get("/colleagues", "可以接手会话的同事", gives=list[shapes.Colleague], needs="transfer")
async def colleagues(call: Call, asked: Nothing) -> list[shapes.Colleague]:
    async with call.shell.storage.read() as session:
        rows = await session.scalars(
            select(Staff)
            .where(
                Staff.desk == call.me.desk,
                Staff.active,
                Staff.role.in_(("counsellor", "supervisor")),
                Staff.id != call.me.id,
            )
            .order_by(Staff.name, Staff.id)
        )
        duty = await roster.on_duty(session, call.now)
        return [
            shapes.Colleague(
                id=row.id,
                name=row.name,
                role=row.role,
                on_duty=row.id in duty.on_shift,
                screen_open=row.id in duty.live,
            )
            for row in rows
        ]


@post(
    "/staff",
    "新增人员",
    asks=NewStaff,
    gives=shapes.StaffCreated,
    needs="staff.manage",
    status=201,
    refuses=(409,),
)
async def add_staff(call: Call, asked: NewStaff) -> shapes.StaffCreated:
    """The one-time password is shown here once and must be changed at the first sign-in."""
    password = staff.one_time_password()
    hashed = await asyncio.to_thread(staff.hash_password, password)
    now, me = call.now, call.me

    async def work(session: AsyncSession) -> Staff:
        member = await staff.create(
            session,
            login=asked.login,
            name=asked.name,
            role=asked.role,
            desk=me.desk,
            password_hash=hashed,
            now=now,
            demonstration=me.demonstration,
        )
        if asked.telephone:
            member.telephone_sealed = call.shell.vault.desk.seal(asked.telephone, "staff.telephone")
        records.write(session, me.id, "staff.add", "staff", member.id, now, asked.role)
        return member

    try:
        member = await call.write(work)
    except staff.LoginTaken:
        raise conflict("这个账号名已有人使用。", error="login_taken") from None
    return shapes.StaffCreated(**_member(member, Duty()).model_dump(), one_time_password=password)


@patch(
    "/staff/{id}",
    "修改人员：姓名、角色、停用",
    asks=StaffChange,
    gives=shapes.StaffShown,
    needs="staff.manage",
    refuses=(404, 409),
)
async def change_staff(call: Call, asked: StaffChange) -> shapes.StaffShown:
    staff_id, now, me = call.id(), call.now, call.me

    async def work(session: AsyncSession) -> tuple[Staff, Duty]:
        member = await _member_row(session, staff_id, me.desk)
        losing = asked.active is False or (asked.role is not None and asked.role != member.role)
        if losing and member.role == "administrator":
            await _another_administrator(session, member)
        if losing:
            await _has_no_conversations(session, member)
            await end_sessions(session, member.id, now)
        for name in ("name", "role", "active"):
            value = getattr(asked, name)
            if value is not None and value != getattr(member, name):
                setattr(member, name, value)
                records.write(session, me.id, f"staff.{name}", "staff", member.id, now)
        if asked.telephone is not None:
            sealed = (
                call.shell.vault.desk.seal(asked.telephone, "staff.telephone") if asked.telephone else None
            )
            member.telephone_sealed = sealed
            records.write(session, me.id, "staff.telephone", "staff", member.id, now)
        await session.flush()
        return member, await roster.on_duty(session, now)

    return _member(*await call.write(work))


@post(
    "/staff/{id}/reset-password",
    "重设一次性密码",
    gives=shapes.OneTimePassword,
    needs="staff.manage",
    refuses=(404,),
    per_minute=20,
)
async def reset_password(call: Call, asked: Nothing) -> shapes.OneTimePassword:
    """Ends the member's sessions. The password is shown here once."""
    staff_id, now, me = call.id(), call.now, call.me
    password = staff.one_time_password()
    hashed = await asyncio.to_thread(staff.hash_password, password)

    async def work(session: AsyncSession) -> None:
        member = await _member_row(session, staff_id, me.desk)
        member.password_hash = hashed
        member.must_change_password = True
        await end_sessions(session, member.id, now)
        records.write(session, me.id, "staff.reset_password", "staff", member.id, now)

    await call.write(work)
    return shapes.OneTimePassword(one_time_password=password)


async def _member_row(session: AsyncSession, staff_id: int, desk_id: str) -> Staff:
    member = await session.get(Staff, staff_id, with_for_update=True)
    if member is None or member.desk != desk_id:
        raise not_found("没有这位人员。")
    return member


async def _another_administrator(session: AsyncSession, member: Staff) -> None:
    others = await session.scalar(
        select(func.count())
        .select_from(Staff)
        .where(Staff.role == "administrator", Staff.active, Staff.id != member.id)
    )
    if not others:
        raise conflict("这是最后一位管理员，不能停用或改换角色。", error="last_administrator")


async def _has_no_conversations(session: AsyncSession, member: Staff) -> None:
    held = await session.scalar(
        select(func.count())
        .select_from(Conversation)
        .where(Conversation.owner_id == member.id, Conversation.state == "human")
    )
    if held:
        raise conflict(f"这位人员手上还有 {held} 个会话，请先转交或交回队列。", error="has_conversations")


def _member(row: Staff, duty: Duty) -> shapes.StaffShown:
    return shapes.StaffShown(
        id=row.id,
        login=row.login,
        name=row.name,
        role=row.role,
        active=row.active,
        must_change_password=row.must_change_password,
        demonstration=row.demonstration,
        has_telephone=row.telephone_sealed is not None,
        on_duty=row.id in duty.on_shift,
        created_at=row.created_at,
    )


# --- roster ---------------------------------------------------------------------------------------------------------


@get("/shifts", "排班", asks=RosterAsked, gives=list[shapes.ShiftShown], needs="shifts.read")
async def shifts(call: Call, asked: RosterAsked) -> list[shapes.ShiftShown]:
    """From yesterday to two months ahead unless asked otherwise."""
    since = asked.since or call.now - _ROSTER_BACK
    until = asked.until or call.now + _ROSTER_AHEAD
    async with call.shell.storage.read() as session:
        rows = list(await roster.shifts(session, since, until))
        known = await names(session, [r.staff_id for r in rows])
    return [_shift(row, known) for row in rows]


@post(
    "/shifts",
    "排一个班",
    asks=NewShift,
    gives=shapes.ShiftShown,
    needs="shifts.manage",
    status=201,
    refuses=(404,),
)
async def add_shift(call: Call, asked: NewShift) -> shapes.ShiftShown:
    now, me = call.now, call.me

    async def work(session: AsyncSession) -> tuple[Shift, str]:
        member = await _member_row(session, asked.staff_id, me.desk)
        if not member.active or member.role not in ("counsellor", "supervisor"):
            raise Refused(400, "not_here", "只有在岗的咨询员和督导可以排班。")
        if asked.rung == 2 and member.role != "supervisor":
            raise Refused(400, "not_supervisor", "督导班只能排督导。")
        if asked.ends_at <= now:
            raise Refused(400, "past", "班次已经过去。")
        shift = await roster.add_shift(
            session, staff_id=member.id, rung=asked.rung, starts_at=asked.starts_at, ends_at=asked.ends_at
        )
        records.write(session, me.id, "shift.add", "staff", member.id, now)
        return shift, member.name

    shift, name = await call.write(work)
    return _shift(shift, {shift.staff_id: name})


@delete("/shifts/{id}", "删除一个班", gives=shapes.Ok, needs="shifts.manage", refuses=(404,))
async def remove_shift(call: Call, asked: Nothing) -> shapes.Ok:
    shift_id, now, me = call.id(), call.now, call.me

    async def work(session: AsyncSession) -> None:
        shift = await session.get(Shift, shift_id)
        if shift is None:
            raise not_found("没有这个班次。")
        await _member_row(session, shift.staff_id, me.desk)
        records.write(session, me.id, "shift.remove", "staff", shift.staff_id, now)
        await roster.remove_shift(session, shift_id)

    await call.write(work)
    return shapes.Ok()


def _shift(row: Shift, known: dict[int, str]) -> shapes.ShiftShown:
    return shapes.ShiftShown(
        id=row.id,
        staff=named(row.staff_id, known),
        rung=row.rung,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )
