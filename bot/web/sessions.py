"""Who sits at the screen: sign-in, first password, sessions in the database, delays after wrong passwords.

A session's token is only in the browser's cookie; the database has its keyed hash. A session lasts 12 hours, and 2 hours in
which nobody does anything. Somebody on duty whose screen is open stays signed in for the 12 hours: an alert must find it.

Delays: a try is counted before the password is looked at, so that many tries at once are not free. The login's and the
network address's name are kept as keyed hashes. After a few tries the wait grows to one minute and no further, so that
nobody can lock a desk out by typing wrong passwords.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.shell import Shell
from bot.tables import LoginDelay, LoginSession
from bot.web.problems import Refused
from escalation import records, roster, staff
from escalation.tables import Staff

LASTS = timedelta(hours=12)
IDLE = timedelta(hours=2)
COOKIE = "qingting_session"
LONGEST_WAIT = timedelta(seconds=60)
_FORGET = timedelta(minutes=15)  # so long after the last wait ended, counting starts anew
_FREE_PER_LOGIN = 3
_FREE_PER_ADDRESS = 15  # a whole desk may sit behind one address
_TOUCH = timedelta(seconds=60)  # how exactly the last request is kept


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A staff member at a signed-in browser."""

    session_id: int
    csrf_token: str
    id: int
    login: str
    name: str
    role: str
    desk: str
    must_change_password: bool
    demonstration: bool
    created_at: datetime
    seen_at: datetime


class Sessions:
    """Signs in and out, and says who a cookie belongs to. One per process."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        # argon2id takes tens of MiB a try: a flood of tries must not take all the memory.
        self._hashing = asyncio.Semaphore(2)

    async def sign_in(self, login: str, password: str, address: str) -> tuple[str, SignedIn]:
        """The new cookie's token and who it is. Raises Refused: 429 while a delay runs, 401 for wrong login or password,
        which look and last the same."""
        names = self._names(login, address)
        await self._count_try(names)
        async with self._shell.storage.read() as session:
            member = await staff.by_login(session, login)
        if member is not None and not member.active:
            member = None
        fits = await self._fits(member.password_hash if member is not None else None, password)
        if member is None or not fits:
            raise Refused(401, "wrong", "账号或密码不对。")
        token = secrets.token_urlsafe(32)
        now = self._shell.clock()
        row = LoginSession(
            token_hash=self._hash(token),
            csrf_token=secrets.token_urlsafe(24),
            staff_id=member.id,
            created_at=now,
            seen_at=now,
            ended_at=None,
        )

        async def work(session: AsyncSession) -> None:
            session.add(row)
            await session.flush()
            await self._uncount_try(session, names)
            records.write(session, member.id, "sign_in", "staff", member.id, now)

        await self._shell.storage.write(work)
        return token, _signed_in(row, member)

    async def current(self, token: str | None) -> SignedIn | None:
        """Whose cookie this is; None when it is unknown, ended, too old, or the staff member was closed."""
        if not token:
            return None
        now = self._shell.clock()
        async with self._shell.storage.read() as session:
            found = (
                await session.execute(
                    select(LoginSession, Staff)
                    .join(Staff, Staff.id == LoginSession.staff_id)
                    .where(LoginSession.token_hash == self._hash(token))
                )
            ).first()
            if found is None:
                return None
            row, member = found
            if row.ended_at is not None or not member.active or now - row.created_at >= LASTS:
                return None
            if now - row.seen_at >= IDLE and not await _watches(session, member.id, now):
                return None
        return _signed_in(row, member)

    async def touch(self, me: SignedIn) -> None:
        """Remember that a request came, to the minute."""
        now = self._shell.clock()
        if now - me.seen_at < _TOUCH:
            return

        async def work(session: AsyncSession) -> None:
            await session.execute(
                update(LoginSession).where(LoginSession.id == me.session_id).values(seen_at=now)
            )

        await self._shell.storage.write(work)

    async def end(self, me: SignedIn) -> None:
        """Sign out this browser."""
        now = self._shell.clock()

        async def work(session: AsyncSession) -> None:
            await session.execute(
                update(LoginSession).where(LoginSession.id == me.session_id).values(ended_at=now)
            )
            records.write(session, me.id, "sign_out", "staff", me.id, now)

        await self._shell.storage.write(work)

    async def change_password(self, me: SignedIn, old: str, new: str, address: str) -> SignedIn:
        """Set a new password; the staff member's other sessions end. Raises Refused."""
        problem = weak(new, old=old, login=me.login)
        if problem:
            raise Refused(400, "weak", problem)
        names = self._names(me.login, address)
        await self._count_try(names)
        async with self._shell.storage.read() as session:
            member = await session.get_one(Staff, me.id)
        if not await self._fits(member.password_hash, old):
            raise Refused(400, "wrong", "原密码不对。")
        async with self._hashing:
            hashed = await asyncio.to_thread(staff.hash_password, new)
        now = self._shell.clock()

        async def work(session: AsyncSession) -> None:
            row = await session.get_one(Staff, me.id)
            row.password_hash = hashed
            row.must_change_password = False
            await end_sessions(session, me.id, now, but=me.session_id)
            await self._uncount_try(session, names)
            records.write(session, me.id, "password.change", "staff", me.id, now)

        await self._shell.storage.write(work)
        return replace(me, must_change_password=False)

    async def _fits(self, hashed: str | None, password: str) -> bool:
        """Whether the password is right. For nobody's login (None) it takes as long."""
        async with self._hashing:
            return await asyncio.to_thread(staff.verify_password, hashed, password)

    def _hash(self, token: str) -> bytes:
        return self._shell.vault.fingerprint("login_session", token)

    def _names(self, login: str, address: str) -> tuple[tuple[bytes, int], ...]:
        fingerprint = self._shell.vault.fingerprint
        return (
            (fingerprint("login_delay", "login", login.strip().lower()), _FREE_PER_LOGIN),
            (fingerprint("login_delay", "address", address), _FREE_PER_ADDRESS),
        )

    async def _count_try(self, names: tuple[tuple[bytes, int], ...]) -> None:
        now = self._shell.clock()

        async def work(session: AsyncSession) -> timedelta:
            rows = {name: await session.get(LoginDelay, name, with_for_update=True) for name, _ in names}
            wait = max((row.until - now for row in rows.values() if row is not None), default=timedelta(0))
            if wait > timedelta(0):
                return wait  # not looked at, not counted: hammering does not make it longer
            for name, free in names:
                row = rows[name]
                if row is None:
                    row = LoginDelay(name_hash=name, failures=0, until=now)
                    session.add(row)
                elif now - row.until > _FORGET:
                    row.failures = 0
                row.failures += 1
                row.until = now + delay_after(row.failures, free)
            return timedelta(0)

        wait = await self._shell.storage.write(work)
        if wait > timedelta(0):
            seconds = math.ceil(wait.total_seconds())
            raise Refused(429, "wait", f"尝试次数太多，请等 {seconds} 秒再试。", seconds=seconds)

    async def _uncount_try(self, session: AsyncSession, names: tuple[tuple[bytes, int], ...]) -> None:
        """The password was right: the login starts anew, the address loses only this one try."""
        now = self._shell.clock()
        (login, _), (address, _) = names
        row = await session.get(LoginDelay, login)
        if row is not None:
            await session.delete(row)
        row = await session.get(LoginDelay, address)
        if row is not None:
            row.failures = max(0, row.failures - 1)
            row.until = now


def delay_after(failures: int, free: int) -> timedelta:
    """How long the next try has to wait after so many: nothing for the first few, then 1 s, 2 s, 4 s … one minute."""
    if failures < free:
        return timedelta(0)
    return min(LONGEST_WAIT, timedelta(seconds=2 ** min(failures - free, 10)))


def weak(new: str, *, old: str, login: str) -> str:
    """Why this cannot be a password, in Chinese; "" when it can."""
    if len(new) < staff.MIN_PASSWORD:
        return f"新密码至少要有 {staff.MIN_PASSWORD} 个字符。"
    if len(set(new)) < 5:
        return "新密码太简单，请多用几种不同的字符。"
    if new == old:
        return "新密码不能和原密码相同。"
    if login.lower() in new.lower():
        return "新密码里不能含有账号名。"
    return ""


async def end_sessions(
    session: AsyncSession, staff_id: int, now: datetime, *, but: int | None = None
) -> None:
    """End a staff member's sessions (all, or all `but` one)."""
    ending = update(LoginSession).where(LoginSession.staff_id == staff_id, LoginSession.ended_at.is_(None))
    if but is not None:
        ending = ending.where(LoginSession.id != but)
    await session.execute(ending.values(ended_at=now))


async def _watches(session: AsyncSession, staff_id: int, now: datetime) -> bool:
    """On the roster now, with a live screen."""
    duty = await roster.on_duty(session, now)
    return staff_id in duty.on_shift and staff_id in duty.live


def _signed_in(row: LoginSession, member: Staff) -> SignedIn:
    return SignedIn(
        session_id=row.id,
        csrf_token=row.csrf_token,
        id=member.id,
        login=member.login,
        name=member.name,
        role=member.role,
        desk=member.desk,
        must_change_password=member.must_change_password,
        demonstration=member.demonstration,
        created_at=row.created_at,
        seen_at=row.seen_at,
    )
