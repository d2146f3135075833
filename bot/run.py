"""`qingting run`: first-start work, the service, and a clean end."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import structlog
import uvloop
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from bot import keys, logs
from bot.app import Service, make_app
from bot.brain import BrainProblem
from bot.settings import ConfigProblem, Settings
from escalation import staff

log = structlog.get_logger(__name__)


def serve(settings: Settings, *, roles: Sequence[str]) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigProblem with a text for the operator."""
    logs.set_up(as_json=settings.log_json)
    os.umask(0o077)
    first = prepare(settings)
    lock = only_one(settings)
    try:
        uvloop.run(_serve(settings, roles, first=first))
    except BrainProblem as problem:
        raise ConfigProblem(f"理解模块不能启动：{problem}") from None
    finally:
        if lock is not None:
            lock.close()


def prepare(settings: Settings) -> bool:
    """Make the data folder and, on the very first start, the master key. True when the key is new."""
    storage = settings.storage
    storage.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if storage.master_key is not None or storage.master_key_file.exists():
        return False
    if not is_new(settings):
        raise ConfigProblem(
            f"{storage.master_key_file}: the master key is missing but there is a database. "
            "Restore the key from its backup; a new key could not read what is stored."
        )
    return keys.make(storage.master_key_file)


def is_new(settings: Settings) -> bool:
    """Neither a key nor a database file yet: the first start will make both. (A server's database is asked at its start.)"""
    storage, database = settings.storage, _database_file(settings)
    if storage.master_key is not None or storage.master_key_file.exists():
        return False
    return database is None or not database.exists()


def only_one(settings: Settings) -> IO[str] | None:
    """On SQLite one process at a time: two writers would each believe that they send alone."""
    if not settings.storage.url.startswith("sqlite"):
        return None
    path = settings.storage.data / "qingting.lock"
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigProblem(
            f"{settings.storage.data}: another qingting runs on this data folder already"
        ) from None
    return lock


def _database_file(settings: Settings) -> Path | None:
    prefix = "sqlite:///"
    return (
        Path(settings.storage.url.removeprefix(prefix)) if settings.storage.url.startswith(prefix) else None
    )


async def _serve(settings: Settings, roles: Sequence[str], *, first: bool) -> None:
    service = Service(settings, roles=roles)
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
                raise ConfigProblem(f"server.port: {host}:{port} is in use by another program") from None
            raise ConfigProblem(
                f"server.host/port: cannot listen on {host}:{port} ({error.strerror})"
            ) from None
        await _welcome(service, settings, first=first)
        gc.collect()
        gc.freeze()
        await ended.wait()
        log.info("service.stopping")
    finally:
        await runner.cleanup()


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
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


async def _first_administrator(service: Service) -> str | None:
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
