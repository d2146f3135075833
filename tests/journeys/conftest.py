"""A running desk with staff, and a real browser to visit it: what the journeys stand on."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.service import RunningService

CHROMIUM = (
    os.environ.get("QINGTING_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
PASSWORD = "journey-1-password"
# Promise durations, shortened: a journey must not take the minutes that a ladder takes.
QUICK = {
    "escalation": {
        "rung_critical": 2, "rung_high": 2, "acknowledged_critical": 3, "acknowledged_high": 3,
        "silence_critical": 4, "silence_high": 4, "silence_other": 8, "owner_gone": 2, "risen_grace": 2,
        "unread_rings_after": 5,
    },
}  # fmt: skip


@dataclass
class Member:
    """A member of staff with a signed-in API client."""

    login: str
    id: str
    http: aiohttp.ClientSession
    csrf: str
    password: str = PASSWORD

    async def get(self, path: str, **query: str) -> Any:
        async with self.http.get(f"/api{path}", params=query) as answer:
            assert answer.status == 200, (path, answer.status, await answer.text())
            return await answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        async with self.http.post(f"/api{path}", json=body, headers={"X-CSRF-Token": self.csrf}) as answer:
            assert answer.status in (200, 201), (path, answer.status, await answer.text())
            return await answer.json()


@dataclass
class Desk:
    """The running service and who works there."""

    service: RunningService
    stack: AsyncExitStack
    admin: Member
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return self.service.base

    async def hire(self, login: str, role: str = "counsellor", *, rung: int | None = None) -> Member:
        """A new member of staff who has changed the first password; on duty from now with `rung`."""
        made = await self.admin.post("/staff", login=login, name=f"测试{login}", role=role)
        member = await sign_in(self, login, made["one_time_password"])
        self.members[login] = member
        if rung is not None:
            now = datetime.now(UTC)
            await self.admin.post(
                "/shifts",
                staff_id=member.id,
                rung=rung,
                starts_at=(now - timedelta(minutes=1)).isoformat(),
                ends_at=(now + timedelta(hours=8)).isoformat(),
            )
        return member


async def sign_in(
    desk: Desk | None, login: str, first: str, *, base: str = "", stack: AsyncExitStack | None = None
) -> Member:
    """Sign in with a one-time password and change it, as everybody must."""
    base = desk.base if desk else base
    stack = desk.stack if desk else stack
    assert stack is not None
    http = await stack.enter_async_context(
        aiohttp.ClientSession(
            base, cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(20)
        )
    )
    async with http.post("/api/login", json={"login": login, "password": first}) as answer:
        assert answer.status == 200, await answer.text()
        me = await answer.json()
    assert me["must_change_password"]
    headers = {"X-CSRF-Token": me["csrf_token"]}
    async with http.post("/api/me/password", json={"old": first, "new": PASSWORD}, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        me = await answer.json()
    return Member(login, me["id"], http, me["csrf_token"])


async def open_desk(folder: Path, stack: AsyncExitStack, settings: dict[str, Any] | None = None) -> Desk:
    """Start a service in `folder` and sign the first administrator in."""
    service = RunningService(folder, settings or QUICK)
    await service.start()
    stack.push_async_callback(service.stop)
    admin = await sign_in(None, "admin", await service.first_password(), base=service.base, stack=stack)
    return Desk(service, stack, admin)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


@pytest.fixture
async def desk(tmp_path: Path, stack: AsyncExitStack) -> Desk:
    return await open_desk(tmp_path, stack)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        yield opened
        await opened.close()


async def visitor(browser: Browser, desk: Desk, *, phone: bool = True) -> Page:
    """A young person's browser on the chat page."""
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 800}
    context = await browser.new_context(viewport=size, locale="zh-CN")  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(f"{desk.base}/chat")
    return page


async def write(page: Page, text: str) -> None:
    """Type and send, as a person does."""
    await page.fill("#text", text)
    await page.click("#send")


async def bench(browser: Browser, desk: Desk, member: Member) -> Page:
    """A counsellor's browser, signed in at the workbench."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
    page = await context.new_page()
    await page.goto(f"{desk.base}/desk/")
    await page.fill("#login", member.login)
    await page.fill("#password", member.password)
    await page.click("button[type=submit]")
    await page.wait_for_selector("text=待接")
    return page
