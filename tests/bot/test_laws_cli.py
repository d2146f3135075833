"""`qingting laws`: from a file to the library, all files or none, and back out again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot import settings
from bot.cli import cli
from bot.run import prepare
from bot.settings import ConfigProblem
from bot.storage.engine import Engines
from bot.storage.migrations import upgrade
from tests.knowledge.law_texts import NEW, OLD, docx, text


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A desk that was started once; its config.yml."""
    config = tmp_path / "config.yml"
    place = tmp_path / "data"
    config.write_text(
        f"storage: {{data: {place}, url: 'sqlite:///{place}/qingting.db', master_key_file: {place}/master.key}}"
    )
    loaded = settings.load(config)
    prepare(loaded)
    asyncio.run(_made(loaded.storage.url))
    return config


async def _made(url: str) -> None:
    engines = Engines(url)
    await upgrade(engines.writing)
    await engines.close()


def laws(config: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["laws", *words, "-c", str(config)], env={"COLUMNS": "200"})


def test_files_are_imported_listed_and_taken_out(desk: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.docx", tmp_path / "new.txt"
    old.write_bytes(docx(OLD))
    new.write_bytes(text(NEW))
    done = laws(desk, "import", str(new), str(old))
    assert done.exit_code == 0, done.output
    assert "2026-02-03" in done.output
    assert "库里有更新的版本" in done.output
    assert "没有变化" in laws(desk, "import", str(new)).output
    listed = laws(desk, "list").output
    assert all(words in listed for words in ("夜间自习法", "2026-02-03", "2019-03-01", "《未成年人保护法》"))
    assert laws(desk, "remove", "夜间自习法", "2026-02-03").exit_code == 0
    assert "2026-02-03" not in laws(desk, "list").output
    missing = laws(desk, "remove", "夜间自习法", "2026-02-03")
    assert isinstance(missing.exception, ConfigProblem)


def test_one_bad_file_and_nothing_is_imported(desk: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(text(OLD))
    bad.write_text("一份通知")
    done = laws(desk, "import", str(good), str(bad), str(tmp_path / "none.txt"))
    assert isinstance(done.exception, ConfigProblem)
    told = str(done.exception)
    assert "bad.txt" in told
    assert "none.txt" in told
    assert "good.txt" not in told
    assert "2019-03-01" not in laws(desk, "list").output


def test_a_newer_law_names_the_entries_to_check(desk: Path, tmp_path: Path) -> None:
    """The shipped entries cite 未成年人保护法; an invented newer one has only its first article."""
    path = tmp_path / "law.txt"
    path.write_bytes(text(["未成年人保护法", "第一条　为了保护未成年人，制定本法。"]))
    undated = laws(desk, "import", str(path))
    assert "--version" in str(undated.exception)
    done = laws(desk, "import", str(path), "--version", "2030-01-02")
    assert "待核对" in done.output
    assert "0 条的条文没有变" in done.output


def test_a_desk_that_was_never_started_is_told_to_start(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"storage: {{data: {tmp_path}/none, url: 'sqlite:///{tmp_path}/none/q.db', "
        f"master_key_file: {tmp_path}/none/master.key}}"
    )
    assert "启动一次" in str(laws(config, "list").exception)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "q.db").touch()
    assert "启动一次" in str(laws(config, "list").exception)
