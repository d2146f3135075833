"""Pages: the workbench's files, framing only where it is allowed, and refusals that show whom to call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from bot.web import pages, security
from tests.bot.web_rig import Browser, Workbench, workbench


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "static"
    (root / "console" / "assets").mkdir(parents=True)
    (root / "console" / "index.html").write_text("<!doctype html><title>工作台</title>", encoding="utf-8")
    (root / "console" / "assets" / "index-3f2a.js").write_text("export {}", encoding="utf-8")
    (root / "secret.txt").write_text("不给看", encoding="utf-8")
    monkeypatch.setattr(pages, "STATIC", root)
    return root


@pytest.fixture
async def bench(tmp_path: Path, static: Path) -> AsyncIterator[Workbench]:
    async with workbench(
        tmp_path, desk={"numbers": {"police": "110", "psychological": "0571-12356"}}
    ) as running:
        yield running


async def page(
    browser: Browser, path: str, accept: str = "text/html", method: str = "GET"
) -> tuple[int, str, dict[str, str]]:
    async with browser.http.request(
        method, browser.base + path, headers={"Accept": accept}, allow_redirects=False
    ) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_the_workbench_is_served_with_its_addresses_and_cached_by_content(bench: Workbench) -> None:
    browser = await bench.browser()
    assert (await page(browser, "/"))[2]["Location"] == "/chat"
    assert (await page(browser, "/desk"))[2]["Location"] == "/desk/"
    for path in ("/desk/", "/desk/conversations/123"):
        status, text, headers = await page(browser, path)
        assert (status, "工作台" in text, headers["Cache-Control"]) == (200, True, "no-cache")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    status, _, headers = await page(browser, "/desk/assets/index-3f2a.js")
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    assert "javascript" in headers["Content-Type"]
    assert (await page(browser, "/desk/assets/index-0000.js"))[0] == 404


@pytest.mark.parametrize(
    "path", ["/desk/..%2Fsecret.txt", "/desk/%2e%2e/secret.txt", "/desk/..%5csecret.txt", "/desk/%00.txt"]
)
async def test_no_address_leads_out_of_the_folder(bench: Workbench, path: str) -> None:
    status, text, _ = await page(await bench.browser(), path)
    assert "不给看" not in text
    assert status in (200, 404)


async def test_a_refusal_shows_whom_to_call(bench: Workbench) -> None:
    status, text, headers = await page(await bench.browser(), "/no-such-page")
    assert status == 404
    for number in ("110", "120", "0571-12356", "12355"):
        assert f'href="tel:{number}"' in text
    assert headers["Content-Security-Policy"]
    assert "<script" not in text


async def test_programs_get_their_status_without_a_page(bench: Workbench) -> None:
    status, text, _ = await page(await bench.browser(), "/no-such-page", accept="*/*")
    assert (status, "<html" in text) == (404, False)


async def test_too_large_too_many_and_broken_are_pages_with_numbers_and_no_words(
    tmp_path: Path, static: Path
) -> None:
    async def raises(request: web.Request) -> web.Response:
        match request.match_info["what"]:
            case "413":
                raise web.HTTPRequestEntityTooLarge(max_size=1, actual_size=2)
            case "429":
                raise web.HTTPTooManyRequests
        raise RuntimeError("她写的话")

    def add(app: web.Application) -> None:
        app.router.add_get("/break/{what}", raises)

    async with workbench(tmp_path, more=add) as bench:
        browser = await bench.browser()
        for status in (413, 429, 500):
            got, text, _ = await page(browser, f"/break/{status}")
            assert got == status
            assert 'href="tel:110"' in text
            assert "她写的话" not in text


async def test_only_a_page_that_asks_for_it_can_be_framed_and_only_where_allowed(
    tmp_path: Path, static: Path
) -> None:
    async def chat(request: web.Request) -> web.Response:
        answer = web.Response(text="聊天")
        security.allow_framing(answer, ["https://school.example", "evil; script-src *"])
        return answer

    def add(app: web.Application) -> None:
        app.router.add_get("/chat-like", chat)

    async with workbench(tmp_path, more=add) as bench:
        _, _, headers = await page(await bench.browser(), "/chat-like")
        policy = headers["Content-Security-Policy"]
        assert policy.endswith("frame-ancestors 'self' https://school.example")
        assert "script-src 'self';" in policy
        assert "X-Frame-Options" not in headers


async def test_a_proxys_word_about_the_address_counts_only_as_far_as_it_is_trusted(
    tmp_path: Path, static: Path
) -> None:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text="|".join(security.peer(request, trusted) for trusted in (0, 1, 2)))

    def add(app: web.Application) -> None:
        app.router.add_get("/who", who)

    async with workbench(tmp_path, more=add) as bench:
        browser = await bench.browser()
        headers = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7, 203.0.113.1"}
        async with browser.http.get(bench.base + "/who", headers=headers) as answer:
            assert await answer.text() == "127.0.0.1|203.0.113.1|198.51.100.7"
