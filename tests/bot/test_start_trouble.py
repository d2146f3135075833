"""A database that cannot be used says at start which and why, in Chinese; another desk's database is refused, and can be moved."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from bot import desk_id
from bot.cli import cli
from bot.settings import ConfigProblem, Desk, Settings, StorageSection
from bot.storage import Storage, trouble
from bot.storage.engine import Engines
from bot.storage.migrations import upgrade
from escalation import staff
from escalation.tables import Conversation, Record, Staff
from tests.bot.core import Core


async def said_of(url: str) -> str:
    engines = Engines(url)
    try:
        await upgrade(engines.writing)
    except Exception as error:
        return trouble.explained(error, url) or f"{type(error).__name__}: {error}"
    finally:
        await engines.close()
    return "nothing was wrong"


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    said = await said_of(f"sqlite:///{tmp_path}/q.db")
    assert f"{tmp_path}/q.db 不是数据库文件" in said


async def test_a_database_of_a_later_version(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/q.db"
    engines = Engines(url)
    await upgrade(engines.writing)
    await engines.close()
    with sqlite3.connect(tmp_path / "q.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "更新版本的程序" in await said_of(url)


async def test_a_server_that_does_not_listen() -> None:
    said = await said_of("postgresql://desk:geheim@127.0.0.1:1/qingting")
    assert "127.0.0.1:1" in said
    assert "连不上（对方没有在听" in said
    assert "geheim" not in said


@pytest.mark.postgres
async def test_a_server_without_the_database(postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="no_such_database")
    assert "没有这个库" in await said_of(url.render_as_string(hide_password=False))


@pytest.fixture
async def peopled(desk_core: Core) -> Core:
    """A desk with somebody who works there and somebody who writes."""
    await desk_core.says("你好")
    await desk_core.shell.storage.write(
        lambda s: staff.create(
            s,
            login="wang",
            name="王老师",
            role="counsellor",
            desk="000000",
            password_hash="x",
            now=desk_core.now,
        )
    )
    return desk_core


async def test_another_desks_database_is_refused_with_the_cure(peopled: Core) -> None:
    async with peopled.shell.storage.read() as session:
        await desk_id.check(session, "000000")
        with pytest.raises(ConfigProblem) as refused:
            await desk_id.check(session, "440100")
    assert 'desk.id 改回 "000000"' in str(refused.value)
    assert "qingting move-desk 000000" in str(refused.value)


async def test_only_those_who_left_and_what_is_closed_hold_nobody_back(peopled: Core) -> None:
    async def close(session) -> None:  # type: ignore[no-untyped-def]
        for member in await session.scalars(select(Staff)):
            member.active = False
        for conversation in await session.scalars(select(Conversation)):
            conversation.state = "closed"

    await peopled.shell.storage.write(close)
    async with peopled.shell.storage.read() as session:
        await desk_id.check(session, "440100")


def test_a_desk_is_moved_by_command_and_then_starts(tmp_path: Path) -> None:
    settings = Settings(
        desk=Desk(id="440100"),
        storage=StorageSection(url=f"sqlite:///{tmp_path}/q.db", data=tmp_path),
    )

    async def fill() -> None:
        storage = Storage(settings.storage.url)
        await upgrade(storage.engines.writing)
        await storage.start()
        await storage.write(
            lambda s: staff.create(
                s,
                login="wang",
                name="王老师",
                role="counsellor",
                desk="000000",
                password_hash="x",
                now=Core.now,
            )
        )
        await storage.close()

    async def look() -> tuple[list[str], list[str]]:
        storage = Storage(settings.storage.url)
        async with storage.read() as session:
            await desk_id.check(session, "440100")
            desks = list(await session.scalars(select(Staff.desk)))
            acts = list(await session.scalars(select(Record.action)))
        await storage.close()
        return desks, acts

    asyncio.run(fill())
    config = tmp_path / "config.yml"
    config.write_text(
        f'desk: {{id: "440100"}}\nstorage: {{url: "sqlite:///{tmp_path}/q.db", data: {tmp_path}}}\n'
    )
    assert isinstance(
        CliRunner().invoke(cli, ["move-desk", "111111", "-c", str(config)]).exception, ConfigProblem
    )
    outcome = CliRunner().invoke(cli, ["move-desk", "000000", "-c", str(config)])
    assert outcome.exit_code == 0, outcome.output
    assert "从 000000 归到 440100" in outcome.output
    assert asyncio.run(look()) == (["440100"], ["desk.move"])
