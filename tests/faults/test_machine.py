"""The machine misbehaves: a locked or full database, a wrong key, a port in use. A precise message, and nobody's words lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from bot.simulate.sms import SmsCentre
from tests.service import RunningService, free_port


async def run_once(config: Path) -> tuple[int, str]:
    """`qingting run` that should end by itself: its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.cli", "run", "--config", str(config),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert process.stdout is not None
    said = (await asyncio.wait_for(process.stdout.read(), 60)).decode()
    return await process.wait(), said


async def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("server: {prot: 8080}\n")
    status, said = await run_once(tmp_path / "config.yml")
    assert status == 2
    assert "server.prot：没有这个键" in said
    assert "Traceback" not in said


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    other = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", service.port)
    status, said = await run_once(service.config)
    other.close()
    assert status == 2
    assert f"server.port：127.0.0.1:{service.port} 已被别的程序占用" in said
    assert "Traceback" not in said


async def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    await service.start()
    text = service.config.read_text().replace(str(service.port), str(free_port()))
    (tmp_path / "second.yml").write_text(text)
    status, said = await run_once(tmp_path / "second.yml")
    await service.stop()
    assert status == 2
    assert "已经有一个 qingting 在运行" in said


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda key: key.unlink(), "主密钥不见了"),
        (lambda key: key.write_text("11" * 32), "不是这个数据库用的那一把"),
        (lambda key: key.write_text("not a key"), "应为 64 个十六进制数字"),
        (lambda key: key.chmod(0o644), "别人也能读这把密钥"),
    ],
    ids=["missing", "wrong", "malformed", "readable by others"],
)
async def test_a_missing_or_wrong_key_stops_the_start_with_what_to_do(
    tmp_path: Path, damage, message: str
) -> None:  # type: ignore[no-untyped-def]
    service = RunningService(tmp_path)
    await service.start()
    await service.stop()
    damage(tmp_path / "master.key")
    status, said = await run_once(service.config)
    assert status == 2
    assert message in said
    assert "Traceback" not in said


async def test_a_locked_database_is_not_acknowledged_and_the_message_counts_once_afterwards(
    tmp_path: Path,
) -> None:
    centre = SmsCentre()
    send_url = await centre.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(centre.close)
        service = RunningService(tmp_path, {"sms": [{"secret": centre.secret, "send_url": send_url}]})
        await service.start()
        stack.push_async_callback(service.stop)
        centre.webhook = f"{service.base}/sms/default"
        telephone = centre.telephone()
        assert await telephone.says("你好") == [200]
        thief = sqlite3.connect(tmp_path / "qingting.db", isolation_level=None, timeout=10)
        thief.execute("BEGIN IMMEDIATE")
        body = {"id": "locked-1", "from": telephone.number, "text": "老板不发工资怎么办"}
        statuses = await centre.push("", body, tries=1)
        assert statuses == [503]
        thief.execute("ROLLBACK")
        thief.close()
        assert (await centre.push("", body, tries=3))[-1] == 200
        assert await centre.push("", body, tries=1) == [200]
        async with asyncio.timeout(20):
            while len(centre.taken) < 2:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert len(centre.taken) == 2


async def test_a_full_disk_is_not_acknowledged_and_the_page_shows_numbers_to_call(tmp_path: Path) -> None:
    """The file may grow no further (RLIMIT_FSIZE): SQLite sees what it would see on a full disk."""
    import resource

    service = RunningService(tmp_path)
    await service.start()
    assert service.process is not None
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{service.base}/chat/api/session", json={}) as answer:
            token = (await answer.json())["token"]
        headers = {"Authorization": f"Bearer {token}"}
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1024, 1024 * 1024 * 1024))
        async with http.post(
            f"{service.base}/chat/api/send", json={"id": "full-disk-1", "text": "我不想活了"}, headers=headers
        ) as answer:
            assert answer.status == 503
            assert "110" in await answer.text()
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1024 * 1024 * 1024, 1024 * 1024 * 1024))
        async with http.post(
            f"{service.base}/chat/api/send", json={"id": "full-disk-1", "text": "我不想活了"}, headers=headers
        ) as answer:
            assert answer.status == 200
    await service.stop()
