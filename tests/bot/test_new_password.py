"""A desk whose only administrator forgot the password gets back in, by the hand that runs the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bot import settings
from bot.new_password import give
from bot.settings import ConfigProblem
from tests.service import RunningService


async def test_a_locked_out_administrator_gets_a_one_time_password_while_the_service_is_stopped(
    tmp_path: Path,
) -> None:
    service = RunningService(tmp_path)
    await service.start()
    first = await service.first_password()
    config = settings.load(service.config)
    with pytest.raises(ConfigProblem, match="已经有一个 qingting 在运行"):
        await give(config, "admin")
    await service.stop()
    with pytest.raises(ConfigProblem, match="没有账号"):
        await give(config, "nobody")
    password = await give(config, "Admin")
    await service.start()
    async with aiohttp.ClientSession(service.base) as http:
        async with http.post("/api/login", json={"login": "admin", "password": first}) as answer:
            assert answer.status == 401
        async with http.post("/api/login", json={"login": "admin", "password": password}) as answer:
            assert answer.status == 200
            assert (await answer.json())["must_change_password"]
    await service.stop()


def test_where_nothing_was_ever_started_no_database_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigProblem, match="还没有数据"):
        asyncio.run(give(settings.Settings(), "admin"))
    assert list(tmp_path.iterdir()) == []
