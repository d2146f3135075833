"""`qingting password LOGIN`: a new one-time password for whoever runs the machine, where no administrator can give one any more."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from bot.run import is_new, only_one
from bot.settings import ConfigProblem, Settings
from bot.shell import utc_now
from bot.storage import Storage
from bot.web.sessions import end_sessions
from escalation import records, staff


async def give(settings: Settings, login: str) -> str:
    """The new password of `login`, whose sessions end; it must be changed at the next login. Raises ConfigProblem.

    On SQLite the service must be stopped first: one process at a time.
    """
    if is_new(settings):
        raise ConfigProblem(f"{settings.storage.data}: 这里还没有数据；第一次启动时会显示管理员的密码")
    password = staff.one_time_password()
    hashed = await asyncio.to_thread(staff.hash_password, password)

    async def work(session: AsyncSession) -> None:
        member = await staff.by_login(session, login)
        if member is None:
            raise ConfigProblem(f"没有账号 {login}")
        now = utc_now()
        member.password_hash = hashed
        member.must_change_password = True
        await end_sessions(session, member.id, now)
        records.write(session, None, "staff.reset_password", "staff", member.id, now)

    lock = only_one(settings)
    storage = Storage(settings.storage.url)
    try:
        await storage.start()
        await storage.write(work)
    finally:
        await storage.close()
        if lock is not None:
            lock.close()
    return password
