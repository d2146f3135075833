"""The running service: listens, welcomes the operator, serves until it is told to stop. See run.py for what comes before."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys
from collections.abc import Sequence

import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from bot.app import Service, make_app
from bot.brain import Brain
from bot.policy import weaker_than_promised
from bot.settings import ConfigProblem, Settings, reason
from escalation import staff

log = structlog.get_logger(__name__)


async def until_told(settings: Settings, roles: Sequence[str], brain: Brain, *, first: bool) -> None:
    """Serve until SIGTERM or SIGINT. `brain` may have begun. Raises ConfigProblem, BrainProblem."""
    service = Service(settings, roles=roles, brain=brain)
    app = make_app(service)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=10)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await runner.setup()
    try:
        host, port = settings.server.host, settings.server.port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigProblem(f"server.port：{host}:{port} 已被别的程序占用") from None
            raise ConfigProblem(
                f"server.host、server.port：不能在 {host}:{port} 上监听（{reason(error)}）"
            ) from None
        await _welcome(service, settings, first=first)
        gc.collect()
        gc.freeze()
        gc.enable()
        await ended.wait()
        log.info("service.stopping")
    finally:
        await runner.cleanup()


def _warn(settings: Settings) -> list[str]:
    """What an operator must know of their settings, in the log and on the screen."""
    weaker = weaker_than_promised(settings)
    for setting in weaker:
        log.warning("settings.weaker_than_promised", setting=setting)
    return [f"  注意，低于承诺  {setting}" for setting in weaker]


async def _welcome(service: Service, settings: Settings, *, first: bool) -> None:
    base = settings.server.public_url or f"http://{settings.server.host}:{settings.server.port}"
    lines = [f"{settings.desk.name} · 倾听已启动"]
    if "gateway" in service.roles:
        lines += [
            f"  来访者聊天页  {base}/chat",
            f"  工作台        {base}/desk/",
            f"  接口文档      {base}/api/docs",
        ]
        password = await _first_administrator(service)
        if password is not None:
            lines += [
                "",
                "  第一位管理员：admin",
                f"  一次性密码：  {password}",
                "  首次登录必须改密码；这个密码只显示这一次。",
            ]
    if first:
        lines += [
            "",
            f"  新的主密钥：{settings.storage.master_key_file}（请另存备份：丢了它，存下的内容谁也读不出来）",
        ]
    lines += _warn(settings)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


async def _first_administrator(service: Service) -> str | None:
    """The one-time password of the administrator made just now; None where there is staff already."""
    async with service.shell.storage.read() as session:
        if await staff.anybody(session):
            return None
    password = staff.one_time_password()
    hashed = await asyncio.to_thread(staff.hash_password, password)

    async def work(session: AsyncSession) -> str | None:
        if await staff.anybody(session):
            return None
        await staff.create(
            session,
            login="admin",
            name="管理员",
            role="administrator",
            desk=service.settings.desk.id,
            password_hash=hashed,
            now=service.shell.clock(),
        )
        return password

    return await service.shell.storage.write(work)
