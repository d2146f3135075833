"""`qingting run`: first-start work, then the understanding process and the rest of the program, both loading at the same time.

Only light modules are imported here: half of a start is reading code, and the models need not wait for it (serving.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import uvloop

from bot import logs
from bot.brain import BrainProblem, brain_of
from bot.settings import ConfigProblem, Settings, reason


def serve(settings: Settings, *, roles: Sequence[str]) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigProblem with a text for the operator."""
    logs.set_up(as_json=settings.log_json)
    gc.disable()  # what is loaded now stays: `serving` freezes it and lets the collector look at what comes after
    os.umask(0o077)
    first = prepare(settings)
    lock = only_one(settings)
    try:
        uvloop.run(_serve(settings, roles, first=first))
    except BrainProblem as problem:
        raise ConfigProblem(
            f"理解模块不能启动：{problem}\n"
            "  多半是模型文件缺失或内存不够：运行 make setup 重装，understanding.memory_mb 不要低于 1024"
        ) from None
    finally:
        if lock is not None:
            lock.close()


def prepare(settings: Settings) -> bool:
    """Make the data folder and, on the very first start, the master key. True when the key is new."""
    storage = settings.storage
    try:
        storage.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigProblem(f"storage.data：建不了目录 {storage.data}（{reason(error)}）") from None
    if storage.master_key is not None or storage.master_key_file.exists():
        return False
    if not is_new(settings):
        raise ConfigProblem(
            f"{storage.master_key_file}：主密钥不见了，数据库却在。请从备份恢复密钥；新做一把读不出存下的内容。"
        )
    from bot import keys

    try:
        return keys.make(storage.master_key_file)
    except OSError as error:
        raise ConfigProblem(
            f"storage.master_key_file：写不了 {storage.master_key_file}（{reason(error)}）"
        ) from None


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
    try:
        lock = path.open("w")
    except OSError as error:
        raise ConfigProblem(f"storage.data：写不了 {path}（{reason(error)}）") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ConfigProblem(f"storage.data：{settings.storage.data} 上已经有一个 qingting 在运行") from None
    return lock


def _database_file(settings: Settings) -> Path | None:
    prefix = "sqlite:///"
    return (
        Path(settings.storage.url.removeprefix(prefix)) if settings.storage.url.startswith(prefix) else None
    )


async def _serve(settings: Settings, roles: Sequence[str], *, first: bool) -> None:
    brain = brain_of(settings, waits_for_entries=True)
    brain.begin()
    try:
        serving = await asyncio.to_thread(importlib.import_module, "bot.serving")
        await serving.until_told(settings, roles, brain, first=first)
    finally:
        await brain.close()
