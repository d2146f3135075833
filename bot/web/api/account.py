"""Signing in and out, the first password, and being on duty."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from bot.web.api.fields import Asked, Flag, Nothing, Number, Secret
from bot.web.api.operations import Call, get, post
from bot.web.api.shapes import Me, Ok
from bot.web.problems import forbidden
from bot.web.sessions import COOKIE, SignedIn
from escalation import records, roster, staff
from escalation.policy import DUTY, SUPERVISOR


class Login(Asked):
    login: Secret
    password: Secret


class NewPassword(Asked):
    old: Secret
    new: Secret


class Duty(Asked):
    """Start or end one's own shift now. `rung`: 0 值班, 1 备班, 2 督导."""

    on_duty: Flag
    rung: Number | None = Field(default=None, ge=0, le=2)


@post("/login", "登录", asks=Login, gives=Me, public=True, refuses=(401, 429))
async def login(call: Call, asked: Login) -> Me:
    token, me = await call.sessions.sign_in(asked.login, asked.password, call.address())
    call.cookies.append((COOKIE, token))
    return await _me(call, me)


@post("/logout", "退出登录", gives=Ok, first=True)
async def logout(call: Call, asked: Nothing) -> Ok:
    await call.sessions.end(call.me)
    call.cookies.append((COOKIE, None))
    return Ok()


@get("/me", "我是谁，能做什么", gives=Me, first=True)
async def me(call: Call, asked: Nothing) -> Me:
    return await _me(call, call.me)


@post("/me/password", "修改自己的密码", asks=NewPassword, gives=Me, first=True, refuses=(429,))
async def change_password(call: Call, asked: NewPassword) -> Me:
    changed = await call.sessions.change_password(call.me, asked.old, asked.new, call.address())
    return await _me(call, changed)


@post("/me/duty", "开始或结束自己的值班", asks=Duty, gives=Me, needs="duty")
async def duty(call: Call, asked: Duty) -> Me:
    supervisor = call.me.role == "supervisor"
    rung = asked.rung if asked.rung is not None else (SUPERVISOR if supervisor else DUTY)
    if rung == SUPERVISOR and not supervisor:
        raise forbidden("只有督导能值督导班。")
    now, me_id = call.now, call.me.id

    async def work(session: AsyncSession) -> None:
        if asked.on_duty:
            await roster.go_on_duty(session, me_id, rung=rung, now=now)
        else:
            await roster.go_off_duty(session, me_id, now=now)
        records.write(session, me_id, "duty.start" if asked.on_duty else "duty.end", "staff", me_id, now)

    await call.write(work)
    call.tell("alert", duty=True)
    return await _me(call, call.me)


async def _me(call: Call, me: SignedIn) -> Me:
    async with call.shell.storage.read() as session:
        duty_now = me.id in (await roster.on_duty(session, call.now)).on_shift
    return Me(
        id=me.id,
        login=me.login,
        name=me.name,
        role=me.role,
        must_change_password=me.must_change_password,
        csrf_token=me.csrf_token,
        on_duty=duty_now,
        permissions=sorted(staff.PERMISSIONS.get(me.role, ())),
        demonstration=me.demonstration,
    )
