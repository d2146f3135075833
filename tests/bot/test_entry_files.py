"""Files of entries from the workbench and a terminal: all rows become drafts or none, and nothing is said before two persons want it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner, Result

from bot import settings
from bot.cli import cli
from bot.entry_files import _WORDS, in_words
from bot.run import prepare
from bot.settings import ConfigProblem
from bot.storage import Storage
from bot.storage.migrations import upgrade
from escalation import staff
from knowledge import exchange
from knowledge.entries import Entry, shipped
from knowledge.exchange import Problem
from knowledge.tables import KnowledgeEntry, KnowledgeRevision
from tests.bot.web_rig import Browser, Workbench, workbench
from tests.knowledge.conftest import FIELDS, OWN
from tests.knowledge.test_exchange import csv_of, entry


@pytest.fixture
async def bench(storage: Storage) -> AsyncIterator[Workbench]:
    async with workbench(storage) as running:
        yield running


def own(**change: Any) -> Entry:
    return Entry.model_validate(FIELDS | {"id": OWN} | change)


async def bring(browser: Browser, data: bytes, format: str = "csv", status: int = 200, **more: str) -> Any:  # noqa: A002
    answer = await browser.ask(
        "POST", "/knowledge/import", data=io.BytesIO(data), params={"format": format} | more
    )
    assert answer.status == status, await answer.text()
    return await answer.json()


@pytest.mark.parametrize("format", ["xlsx", "csv", "yaml"])
async def test_what_is_said_now_goes_out_and_in_again_without_a_change(bench: Workbench, format: str) -> None:  # noqa: A002
    kong = await bench.at_work("kong", "curator")
    answer = await kong.ask("GET", "/knowledge/export", params={"format": format})
    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    assert "attachment" in answer.headers["Content-Disposition"]
    data = await answer.read()
    assert [row.entry for row in exchange.read(data, format)] == list(shipped().values())  # type: ignore[arg-type]
    done = await bring(kong, data, format)
    assert (done["new"], done["changed"], sorted(done["same"])) == ([], [], sorted(shipped()))
    assert await bench.rows(KnowledgeRevision) == []


async def test_an_export_can_be_of_one_category(bench: Workbench) -> None:
    wang = await bench.at_work("wang", "supervisor")
    answer = await wang.ask("GET", "/knowledge/export", params={"category": "legal.labour"})
    sheet = load_workbook(io.BytesIO(await answer.read())).worksheets[0]
    said = {str(row[0].value) for row in sheet.iter_rows(min_row=2)}
    assert said == {e.id for e in shipped().values() if e.category.startswith("legal.labour")}
    assert [r.why for r in await bench.acts("entry.export")] == ["xlsx"]


async def test_rows_become_drafts_of_whoever_imports(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    known = shipped()["service.human"]
    rows = [own(), known.model_copy(update={"title": "怎么找到真人老师"}), shipped()["service.booking"]]
    data = exchange.write(rows, "csv")
    tried = await bring(kong, data, trial="yes")
    assert await bench.rows(KnowledgeRevision) == []
    done = await bring(kong, data)
    assert (done["new"], done["changed"], done["same"]) == ([OWN], ["service.human"], ["service.booking"])
    assert tried == done | {"trial": True}
    made = {r.entry_id: r for r in await bench.rows(KnowledgeRevision)}
    assert {(r.state, r.number, r.note) for r in made.values()} == {("draft", 1, "从文件导入")}
    assert {r.authors[0] for r in made.values()} == {int(kong.me["id"])}
    assert {r.object_id for r in await bench.acts("entry.draft")} == {r.id for r in made.values()}
    whole = await kong.get(f"/knowledge/entries/{OWN}")
    assert (whole["state"], whole["live"], whole["text"]["title"]) == ("draft", False, FIELDS["title"])
    # The same again changes nothing; another text goes into the same draft.
    assert (await bring(kong, data))["same"] == [OWN, "service.human", "service.booking"]
    await bring(kong, exchange.write([own(title="上班可以喝水休息吗")], "csv"))
    whole = await kong.get(f"/knowledge/entries/{OWN}")
    assert (whole["text"]["title"], whole["newest"]["number"], whole["version"]) == (
        "上班可以喝水休息吗",
        1,
        2,
    )


async def test_an_imported_draft_goes_the_way_of_two_persons(bench: Workbench) -> None:
    kong, bai = await bench.at_work("kong", "curator"), await bench.at_work("bai", "curator")
    await bring(kong, exchange.write([own()], "csv"))
    path = f"/knowledge/entries/{OWN}"
    await kong.post(f"{path}/submit", {"version": 1})
    await kong.post(f"{path}/approve", {"version": 2}, 403)
    assert (await bai.post(f"{path}/approve", {"version": 2}))["state"] == "approved"
    assert (await kong.post(f"{path}/publish", {"version": 3}))["live"] is True


async def test_one_wrong_row_keeps_all_out_and_is_told_by_row_and_column(bench: Workbench) -> None:
    kong = await bench.at_work("kong", "curator")
    refused = await bring(
        kong, csv_of(lambda rows: rows[1].update({"短回答": "短", "案由": "没有"})), status=400
    )
    assert (refused["error"], refused["count"]) == ("rows", 2)
    assert {(p["row"], p["column"], p["head"], p["message"]) for p in refused["problems"]} == {
        (3, "short", "短回答", "至少 20 个字"),
        (3, "category", "案由", "格式不对"),
    }
    assert refused["message"].startswith("没有导入任何条目。第 3 行")
    assert await bench.rows(KnowledgeEntry) == []


async def test_what_a_colleague_has_in_work_is_not_written_over(bench: Workbench) -> None:
    kong, bai = await bench.at_work("kong", "curator"), await bench.at_work("bai", "curator")
    await bai.post(f"/knowledge/entries/{OWN}/draft", {"version": 0, "fields": FIELDS})
    data = exchange.write([entry(), own(title="上班可以喝水休息吗")], "csv")
    refused = await bring(kong, data, status=400)
    assert [(p["row"], p["column"]) for p in refused["problems"]] == [(3, "id")]
    assert [e.id for e in await bench.rows(KnowledgeEntry)] == [OWN]
    await bring(bai, data)
    await bai.post(f"/knowledge/entries/{OWN}/submit", {"version": 2})
    await bring(bai, exchange.write([own(title="上班可不可以喝水")], "csv"), status=400)


async def test_an_entry_changed_between_looking_and_writing_keeps_all_out(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    kong, bai = await bench.at_work("kong", "curator"), await bench.at_work("bai", "curator")
    plan = exchange.plan

    async def slow(*given: Any, **more: Any) -> exchange.Plan:
        found = await plan(*given, **more)
        await bai.post(f"/knowledge/entries/{OWN}/draft", {"version": 0, "fields": FIELDS})
        return found

    monkeypatch.setattr(exchange, "plan", slow)
    await bring(kong, exchange.write([entry(), own()], "csv"), status=400)
    (revision,) = await bench.rows(KnowledgeRevision)
    assert revision.authors == [int(bai.me["id"])]


async def test_too_many_changes_for_one_commit_are_refused(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MOST_DRAFTS", 1)
    kong = await bench.at_work("kong", "curator")
    assert "最多 1 条" in (await bring(kong, csv_of(lambda rows: None), status=400))["message"]


async def test_only_a_curator_imports_and_a_large_body_is_refused(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("counsellor", "supervisor", "administrator"):
        await bring(await bench.at_work(role, role), b"", status=403)
    kong = await bench.at_work("kong", "curator")
    # A megabyte and more, which no other operation takes.
    assert (await bring(kong, b"x" * 1_500_000, "xlsx", status=400))["problems"][0]["message"].startswith(
        "不是 XLSX"
    )
    monkeypatch.setattr(exchange, "MOST_BYTES", 1000)
    assert (await bring(kong, b"x" * 1001, status=413))["error"] == "too_large"


def test_every_kind_of_problem_has_words() -> None:
    ctx = {"megabytes": 20, "most": 1, "row": 2, "min_length": 5, "expected": "a"}
    kinds = [
        *_WORDS,
        "law_or_body",
        "law_incomplete",
        "body_only",
        "doubled_wording",
        "review_order",
        "not_text",
    ]
    kinds += ["date_from_datetime_parsing", "dict_type", "missing", "string_too_short", "literal_error"]
    told = {kind: in_words(Problem(3, "asks", kind, 2, ctx)) for kind in kinds}
    assert {words.partition("：")[0] for words in told.values()} == {"第 3 行 问法（第 2 个）"}
    assert [kind for kind, words in told.items() if words.endswith("值不对")] == []
    assert len(set(told.values())) == len(kinds)


# --- from a terminal ------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config.yml of a desk that was started once, with a curator and a counsellor."""
    path, place = tmp_path / "config.yml", tmp_path / "data"
    path.write_text(
        f"storage: {{data: {place}, url: 'sqlite:///{place}/qingting.db', master_key_file: {place}/master.key}}"
    )
    loaded = settings.load(path)
    prepare(loaded)
    asyncio.run(_made(loaded))
    return path


async def _made(loaded: settings.Settings) -> None:
    storage = Storage(loaded.storage.url)
    await upgrade(storage.engines.writing)
    await storage.start()

    async def hire(session: AsyncSession) -> None:
        for role in ("curator", "counsellor"):
            await staff.create(
                session,
                login=role,
                name=role,
                role=role,
                desk=loaded.desk.id,
                password_hash="x",
                now=datetime.now(UTC),
            )

    await storage.write(hire)
    await storage.close()


async def _rows(config: Path) -> list[KnowledgeRevision]:
    storage = Storage(settings.load(config).storage.url)
    await storage.start()
    async with storage.read() as session:
        found = list(await session.scalars(select(KnowledgeRevision)))
    await storage.close()
    return found


def knowledge(config: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["knowledge", *words, "-c", str(config)], env={"COLUMNS": "200"})


def test_entries_go_out_and_in_from_a_terminal(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.xlsx"
    done = knowledge(config, "export", str(file))
    assert done.exit_code == 0, done.output
    assert len(exchange.read(file.read_bytes(), "xlsx")) == len(shipped())
    assert "0 条新草稿，0 条修改的草稿" in knowledge(config, "import", str(file), "--as", "curator").output
    own_file = tmp_path / "own.yml"
    own_file.write_bytes(exchange.write([own()], "yaml"))
    assert "1 条新草稿" in knowledge(config, "import", str(own_file), "--as", "curator").output
    (revision,) = asyncio.run(_rows(config))
    assert (revision.entry_id, revision.state) == (OWN, "draft")


def test_a_terminal_refuses_what_it_must_and_writes_nothing(config: Path, tmp_path: Path) -> None:
    bad, good, old = tmp_path / "bad.csv", tmp_path / "good.csv", tmp_path / "old.xls"
    bad.write_bytes(csv_of(lambda rows: rows[1].update({"短回答": "短"})))
    good.write_bytes(csv_of(lambda rows: None))
    for words, told in (
        (("import", str(bad), "--as", "curator"), "第 3 行 短回答：至少 20 个字"),
        (("import", str(good), "--as", "counsellor"), "只有知识编辑"),
        (("import", str(good), "--as", "nobody"), "没有这个在用的账号"),
        (("import", str(old), "--as", "curator"), ".xlsx"),
        (("import", str(tmp_path / "none.csv"), "--as", "curator"), "读不了"),
        (("export", str(good)), "已经有这个文件"),
        (("export", str(old)), ".xlsx"),
    ):
        refused = knowledge(config, *words)
        assert isinstance(refused.exception, ConfigProblem), words
        assert told in str(refused.exception)
    assert asyncio.run(_rows(config)) == []
