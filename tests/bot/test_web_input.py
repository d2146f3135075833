"""Bad input at the workbench: precise statuses in Chinese, and never an echo of what was written."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from bot import logs
from bot.channels import StorageUnavailable
from escalation.tables import Message
from tests.bot.web_rig import Browser, Workbench, workbench

WORDS = "没有人知道的心里话"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with workbench(tmp_path) as running:
        yield running


@pytest.fixture
async def talk(bench: Workbench) -> int:
    return await bench.contact("在吗")


@pytest.fixture
async def owner(bench: Workbench, talk: int) -> Browser:
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    return browser


async def send(browser: Browser, talk: int, data: bytes, **headers: str) -> tuple[int, dict[str, Any], str]:
    answer = await browser.ask(
        "POST",
        f"/conversations/{talk}/reply",
        data=data,
        headers={"Content-Type": "application/json"} | headers,
    )
    return answer.status, await answer.json(), await answer.text()


@pytest.mark.parametrize(
    ("data", "status", "error"),
    [
        (b'{"text": "' + WORDS.encode() + b'", "client_id": "1"', 400, "not_json"),
        (b'{"text": NaN, "client_id": "1"}', 400, "not_json"),
        ('{"text": "很'.encode("gbk"), 400, "not_utf8"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"text":' + b'{"a":' * 30 + b"1" + b"}" * 30 + b"}", 400, "too_deep"),
        (b"[]", 400, "invalid"),
        (b'"text"', 400, "invalid"),
        (b"null", 400, "invalid"),
        (b"{}", 400, "invalid"),
        (b"", 400, "invalid"),
    ],
)
async def test_what_is_no_proper_json_object_is_refused_without_repeating_it(
    owner: Browser, talk: int, data: bytes, status: int, error: str
) -> None:
    got, said, raw = await send(owner, talk, data)
    assert (got, said["error"]) == (status, error)
    assert WORDS not in raw


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"text": WORDS, "client_id": "1", "colour": WORDS}, "colour", "没有这个字段"),
        ({"text": WORDS, "client_id": "1", WORDS: 1}, "（未知字段）", "没有这个字段"),
        ({"text": WORDS}, "client_id", "缺少这个字段"),
        ({"text": WORDS + "\x00", "client_id": "1"}, "text", "含有不能保存的字符（NUL 或不成对的代理字符）"),
        (
            {"text": WORDS + "\ud83d", "client_id": "1"},
            "text",
            "含有不能保存的字符（NUL 或不成对的代理字符）",
        ),
        ({"text": "", "client_id": "1"}, "text", "不能为空"),
        ({"text": " \n ", "client_id": "1"}, "text", "不能为空"),
        ({"text": WORDS * 1000, "client_id": "1"}, "text", "最多 4000 个字"),
        ({"text": 7, "client_id": "1"}, "text", "应为文字"),
        ({"text": WORDS, "client_id": WORDS}, "client_id", "格式不对"),
    ],
)
async def test_a_wrong_field_is_named_in_chinese_and_its_value_never_repeated(
    bench: Workbench, owner: Browser, talk: int, body: dict[str, Any], field: str, message: str
) -> None:
    got, said, raw = await send(owner, talk, json.dumps(body).encode())
    assert (got, said["error"]) == (400, "invalid")
    assert {"field": field, "message": message} in said["fields"]
    assert WORDS not in raw
    assert WORDS not in json.loads(raw)["message"]
    assert [m for m in await bench.rows(Message) if m.direction == "out"] == []


async def test_a_body_of_ten_megabytes_is_refused_with_413_announced_or_not(
    owner: Browser, talk: int
) -> None:
    big = b'{"text": "' + b"a" * 10_000_000 + b'", "client_id": "1"}'
    answer = await owner.ask(
        "POST",
        f"/conversations/{talk}/reply",
        data=io.BytesIO(big),
        headers={"Content-Type": "application/json", "Connection": "close"},
    )
    assert (answer.status, (await answer.json())["error"]) == (413, "too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 500_000):
            yield big[start : start + 500_000]

    answer = await owner.ask(
        "POST",
        f"/conversations/{talk}/reply",
        data=chunks(),
        headers={"Content-Type": "application/json", "Connection": "close"},
    )
    assert answer.status == 413


async def test_a_body_that_is_not_json_is_415(owner: Browser, talk: int) -> None:
    answer = await owner.ask("POST", f"/conversations/{talk}/reply", data={"text": WORDS})
    assert answer.status == 415
    assert WORDS not in await answer.text()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/conversations/abc", 404),
        ("/conversations/99999999999999999999999", 404),
        ("/conversations/9223372036854775807", 404),
        ("/conversations/1%00", 404),
        ("/conversations?view=secret", 400),
        ("/conversations?limit=0", 400),
        ("/conversations?limit=1e9", 400),
        ("/conversations?after=-1", 400),
        ("/conversations?view=queue&view=mine", 400),
        ("/conversations?colour=red", 400),
        ("/nothing", 404),
        ("/alerts/1/acknowledge", 405),
        ("/records?id=1%27--", 400),
    ],
)
async def test_wrong_addresses_and_queries_get_a_precise_status(
    bench: Workbench, path: str, status: int
) -> None:
    browser = await bench.at_work("wang", "supervisor")
    said = await browser.get(path, status)
    assert said["message"]


async def test_when_the_database_is_away_it_says_so_and_that_nothing_was_kept(
    bench: Workbench, owner: Browser, talk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise StorageUnavailable("OperationalError")

    with monkeypatch.context() as broken:
        broken.setattr(bench.shell.storage._writer, "write", away)
        got, said, raw = await send(owner, talk, json.dumps({"text": WORDS, "client_id": "1"}).encode())
        assert (got, said["error"]) == (503, "storage")
        assert WORDS not in raw

    def locked(**_: Any) -> Any:
        raise OperationalError("SELECT 1", {"text": WORDS}, Exception("database is locked"))

    monkeypatch.setattr(bench.shell.storage.engines, "read", locked)
    got, said, raw = await send(owner, talk, json.dumps({"text": WORDS, "client_id": "1"}).encode())
    assert (got, said["error"]) == (503, "storage")
    assert WORDS not in raw


async def test_a_fault_of_ours_is_500_and_leaves_no_words_in_answer_or_log(
    bench: Workbench,
    owner: Browser,
    talk: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bot.web.api import conversations

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"cannot handle {WORDS}")

    monkeypatch.setattr(conversations.desk, "reply_written", broken)
    got, said, raw = await send(owner, talk, json.dumps({"text": WORDS, "client_id": "1"}).encode())
    assert (got, said["error"]) == (500, "failed")
    logged = capsys.readouterr()
    assert "api.failed" in logged.out + logged.err
    assert WORDS not in raw + logged.out + logged.err


async def test_too_many_requests_wait_a_minute(bench: Workbench, talk: int) -> None:
    browser = await bench.at_work("li")
    body = {"reason": "核实所在地"}
    answers = [await browser.ask("POST", f"/conversations/{talk}/network-address", body) for _ in range(6)]
    assert [a.status for a in answers[:5]] == [400] * 5
    assert answers[5].status == 429
    assert answers[5].headers["Retry-After"] == "60"


async def test_every_answer_forbids_inline_script_framing_and_caching_of_data(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    for path in ("/me", "/nothing"):
        answer = await browser.ask("GET", path)
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Server" not in answer.headers


async def test_a_request_that_cannot_even_be_read_leaves_neither_address_nor_words_in_the_log(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    server = logging.getLogger("aiohttp.server")
    server.addFilter(logs._no_visitor)
    try:
        browser = await bench.browser()
        answer = await browser.ask("GET", "/conversations?why=" + "w" * 10_000)
    finally:
        server.removeFilter(logs._no_visitor)
    assert answer.status == 400
    (record,) = [r for r in caplog.records if r.name == "aiohttp.server"]
    assert record.getMessage() == "request not served: LineTooLong"
