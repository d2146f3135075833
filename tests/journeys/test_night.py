"""Nobody on duty at three in the morning; an owner who vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from tests.journeys.conftest import QUICK, Desk, bench, open_desk, visitor, write
from tests.service import merged


async def until(condition: Callable[[], Awaitable[Any]], within: float = 20.0) -> Any:
    """Wait until `condition` gives something."""
    async with asyncio.timeout(within):
        while not (found := await condition()):
            await asyncio.sleep(0.1)
        return found


class Robot:
    """A group robot and a telephone provider on this machine: keeps what was posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []

    async def start(self) -> str:
        app = web.Application()
        app.router.add_post("/{name}", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _take(self, request: web.Request) -> web.Response:
        self.posted.append((request.match_info["name"], await request.json()))
        return web.json_response({"errcode": 0, "StatusCode": 0, "code": 0})

    async def close(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    made = Robot()
    yield made
    await made.close()


@pytest.mark.browser
async def test_at_three_with_nobody_on_duty_the_person_is_told_so_and_the_ladder_climbs_to_the_telephone(
    tmp_path: Path, stack: AsyncExitStack, robot: Robot, browser: Browser
) -> None:
    url = await robot.start()
    now = datetime.now(UTC)
    night = {
        # "Three in the morning" is now: the desk's night is laid around this moment.
        "desk": {
            "timezone": "UTC",
            "night_from": (now - timedelta(hours=2)).strftime("%H:%M"),
            "night_to": (now + timedelta(hours=2)).strftime("%H:%M"),
        },
        "escalation": {
            "webhooks": [{"name": "group", "kind": "wecom", "url": f"{url}/group", "rungs": [2]}],
            "fallback_telephone": {"url": f"{url}/telephone", "number": "000-000"},
        },
    }
    desk = await open_desk(tmp_path, stack, merged(QUICK, night))
    await desk.hire("boss", "supervisor")
    page = await visitor(browser, desk)
    await write(page, "我在天台，不想活了")
    log = page.locator("#log")
    await expect(log).to_contain_text("离开那个危险的地方", timeout=5_000)
    await expect(log).to_contain_text("现在没有咨询员在线")
    await expect(log).to_contain_text("12356")

    async def both() -> bool:
        names = {name for name, _ in robot.posted}
        return names >= {"group", "telephone"}

    await until(both, within=30)
    for _, posted in robot.posted:
        assert "天台" not in str(posted), "an alert carries case number, level and link, never words"
    (alert,) = await desk.members["boss"].get("/alerts")
    assert alert["state"] == "ringing"
    whats = {e["what"] for e in alert["events"]}
    assert whats >= {"started", "rung", "skipped"}
    before = len(robot.posted)

    async def again() -> bool:
        return len(robot.posted) > before

    await until(again, within=30)  # and again, until a human acts


@pytest.mark.browser
async def test_the_owners_browser_closes_in_mid_conversation_and_the_person_is_not_left_alone(
    desk: Desk, browser: Browser
) -> None:
    first = await desk.hire("first", rung=0)
    second = await desk.hire("second", rung=1)
    screen = await bench(browser, desk, first)
    page = await visitor(browser, desk)
    log = page.locator("#log")
    await write(page, "我吃了药，不想活了")
    await expect(log).to_contain_text("120", timeout=10_000)
    (card,) = (await first.get("/conversations", view="queue"))["items"]
    await first.post(f"/conversations/{card['id']}/claim")
    await first.post(
        f"/conversations/{card['id']}/reply", text="我是咨询员，我在。", client_id="first-reply-1"
    )
    await expect(log).to_contain_text("我是咨询员，我在。", timeout=10_000)
    await write(page, "我有点困")
    await screen.context.close()

    async def back() -> Any:
        items = (await second.get("/conversations", view="queue"))["items"]
        return [c for c in items if c["id"] == card["id"]]

    (waiting,) = await until(back, within=30)
    assert waiting["state"] == "queued"
    await expect(log).to_contain_text("正在请别的咨询员来接着聊", timeout=10_000)

    async def rings() -> Any:
        return [a for a in await second.get("/alerts") if a["state"] == "ringing"]

    assert await until(rings, within=20)
