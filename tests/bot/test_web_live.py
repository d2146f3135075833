"""The live socket: presence that the ladder can ring, news without words, and an end with the session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from bot.events import MemoryBus, News
from bot.web.api import live
from escalation import roster
from escalation.tables import Screen
from tests.bot.web_rig import Workbench, workbench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    async with workbench(tmp_path) as running:
        yield running


async def on_screen(bench: Workbench) -> frozenset[int]:
    async with bench.shell.storage.read() as session:
        return (await roster.on_duty(session, bench.now())).live


async def heard(socket: ClientWebSocketResponse, what: str, within: float = 5) -> dict[str, Any]:
    """The next news of this kind."""
    async with asyncio.timeout(within):
        while True:
            news: dict[str, Any] = await socket.receive_json()
            if news["what"] == what and news["conversation_id"] != "0":
                return news


async def test_an_open_workbench_can_be_rung_and_a_closed_one_cannot(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    me = int(browser.me["id"])
    assert await on_screen(bench) == frozenset()
    socket = await browser.live()
    await bench.until(lambda: _has(bench, me))
    await socket.close()
    await bench.until(lambda: _has(bench, me, gone=True))


async def _has(bench: Workbench, staff_id: int, *, gone: bool = False) -> bool:
    return (staff_id in await on_screen(bench)) is not gone


async def _listens(bus: MemoryBus, count: int) -> bool:
    return len(bus._listeners) == count


async def test_a_screen_lives_while_it_says_so_and_is_gone_after_a_silent_minute(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    socket = await browser.live()
    await bench.until(lambda: _has(bench, int(browser.me["id"])))
    bench.later += timedelta(seconds=61)
    assert await on_screen(bench) == frozenset()
    await socket.send_json({"seen": True})
    await bench.until(lambda: _has(bench, int(browser.me["id"])))
    await socket.close()


async def test_a_curators_screen_is_no_place_to_ring(bench: Workbench) -> None:
    browser, bus = await bench.at_work("kong", "curator"), bench.shell.bus
    assert isinstance(bus, MemoryBus)
    before = len(bus._listeners)
    socket = await browser.live()
    await bench.until(lambda: _listens(bus, before + 1))
    bench.shell.bus.publish(News("message", 12))
    bench.shell.bus.publish(News("template", 0, {"key": "safety.suicide"}))
    async with asyncio.timeout(5):
        news = await socket.receive_json()
    assert news == {"what": "template", "conversation_id": "0", "extra": {"key": "safety.suicide"}}
    assert await bench.rows(Screen) == []
    await socket.close()


async def test_news_of_a_reply_reaches_the_colleagues_screen_without_its_words(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    zhang, li = await bench.at_work("zhang"), await bench.at_work("li")
    socket = await li.live()
    await bench.until(lambda: _has(bench, int(li.me["id"])))
    await zhang.post(f"/conversations/{talk}/claim")
    news = await heard(socket, "conversation")
    assert news["conversation_id"] == str(talk)
    assert news["extra"] == {"state": "human", "owner_id": zhang.me["id"]}
    await zhang.post(f"/conversations/{talk}/reply", {"text": "悄悄话一句", "client_id": "1"})
    news = await heard(socket, "message")
    assert "悄悄话" not in json.dumps(news, ensure_ascii=False)
    await socket.close()


async def test_whatever_a_sender_puts_into_news_only_ids_and_states_reach_a_screen() -> None:
    shown = live.shown(
        News("alert", 2**60, {"alert_id": 2**60, "level": "high", "text": "她写的话", "staff_ids": [7]})
    )
    assert shown == {
        "what": "alert",
        "conversation_id": str(2**60),
        "extra": {"alert_id": str(2**60), "level": "high", "staff_ids": ["7"]},
    }


async def test_typing_is_told_to_the_persons_page(bench: Workbench) -> None:
    talk = await bench.contact("在吗")
    browser = await bench.at_work("zhang")
    await browser.post(f"/conversations/{talk}/claim")
    socket = await browser.live()
    async with bench.shell.bus.listen() as queue:
        await socket.send_json({"typing": str(talk)})
        async with asyncio.timeout(5):
            while (news := await queue.get()).what != "typing":
                pass
    assert (news.conversation_id, news.extra) == (talk, {"by": "staff"})
    await socket.close()


async def test_what_cannot_be_read_on_the_socket_is_passed_over(bench: Workbench) -> None:
    browser = await bench.at_work("zhang")
    socket = await browser.live()
    for junk in ("", "nul", "[1]", '{"typing": {}}', '{"typing": "x"}', '{"seen": "yes"}', "[" * 900):
        await socket.send_str(junk)
    await bench.until(lambda: _has(bench, int(browser.me["id"])))
    bench.shell.bus.publish(News("message", 12))
    assert (await heard(socket, "message"))["conversation_id"] == "12"
    await socket.close()


async def test_the_socket_closes_with_4401_when_the_session_ends(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_CHECK_EVERY", 0.05)
    browser = await bench.at_work("zhang")
    socket = await browser.live()
    await browser.post("/logout")
    async with asyncio.timeout(5):
        while (message := await socket.receive()).type is WSMsgType.TEXT:
            pass
    assert message.type is WSMsgType.CLOSE
    assert socket.close_code == 4401


async def test_without_a_session_or_from_another_site_there_is_no_socket(bench: Workbench) -> None:
    stranger = await bench.browser()
    with pytest.raises(WSServerHandshakeError) as refused:
        await stranger.live()
    assert refused.value.status == 401
    browser = await bench.at_work("zhang")
    with pytest.raises(WSServerHandshakeError) as refused:
        await browser.http.ws_connect(f"{bench.base}/api/live", origin="https://elsewhere.example")
    assert refused.value.status == 403
