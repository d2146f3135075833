"""From a curator's draft to what the next young person is told, in running services and without a restart."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.journeys.conftest import QUICK, Desk, Member, open_desk, sign_in, visitor, write
from tests.knowledge.conftest import FIELDS, OWN
from tests.service import RunningService, merged

PATH = f"/knowledge/entries/{OWN}"
ASKED = "老板不让喝水"
# A busy machine builds slowly; what counts is that nobody restarts anything.
SECONDS = 120
PATIENT = merged(QUICK, {"understanding": {"limit_seconds": 10}})


@pytest.fixture
async def desk(tmp_path: Path, stack: AsyncExitStack) -> Desk:
    return await open_desk(tmp_path, stack, PATIENT)


async def step(who: Member, name: str, **body: Any) -> Any:
    if "version" not in body:
        body["version"] = (await who.get(PATH))["version"]
    return await who.post(f"{PATH}/{name}", **body)


async def published(desk: Desk, *, short: str = FIELDS["short"], version: int | None = None) -> None:
    """One writes, another approves."""
    curator = desk.members.get("kong") or await desk.hire("kong", "curator")
    supervisor = desk.members.get("wang") or await desk.hire("wang", "supervisor")
    known = {} if version is None else {"version": version}
    await step(curator, "draft", fields=FIELDS | {"short": short}, **known)
    await step(curator, "submit")
    await step(supervisor, "approve")
    await step(curator, "publish")


async def said_to(who: Member, short: str, *, may_be_busy: bool = False) -> None:
    """Wait until the processes behind this service answer so, several times running. They answer all the while, unless they
    `may_be_busy` starting."""
    headers = {"X-CSRF-Token": who.csrf}
    async with asyncio.timeout(SECONDS):
        in_a_row = 0
        while in_a_row < 4:
            async with who.http.post(
                "/api/knowledge/try", json={"question": ASKED}, headers=headers
            ) as answer:
                said = await answer.json()
            assert answer.status == 200 or (may_be_busy and answer.status == 503), said
            in_a_row = in_a_row + 1 if short in said.get("text", "") else 0
            await asyncio.sleep(1.1)  # the try panel allows sixty a minute


def children(pid: int) -> set[int]:
    """The understanding processes of a service (Linux)."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(parent) == pid and b"bot.brain_child" in command:
                found.add(int(folder.name))
    return found


@pytest.mark.browser
async def test_what_two_persons_published_is_told_to_the_next_who_asks(desk: Desk, browser: Browser) -> None:
    page = await visitor(browser, desk)
    await write(page, "今天能查快递吗")
    assert desk.service.process is not None
    before = children(desk.service.process.pid)
    await published(desk, version=0)
    await said_to(desk.members["kong"], FIELDS["short"])
    other = await visitor(browser, desk)
    await write(other, ASKED)
    await expect(other.locator("#log")).to_contain_text(FIELDS["short"], timeout=10_000)
    await expect(other.locator("#log")).to_contain_text("依据：12333人社服务热线")
    same = before & children(desk.service.process.pid)
    assert same  # one that was still starting may have been given up on a busy machine
    for pid in same:
        os.kill(pid, signal.SIGKILL)
    await said_to(desk.members["kong"], FIELDS["short"], may_be_busy=True)


async def test_after_a_restart_the_desks_own_text_is_there_from_the_first_answer(desk: Desk) -> None:
    await published(desk, version=0)
    await desk.service.kill()
    await desk.service.start()
    said = await desk.members["kong"].post("/knowledge/try", question=ASKED)
    assert said["text"].startswith(FIELDS["short"])


@pytest.mark.postgres
async def test_two_services_on_one_database_both_follow(
    tmp_path: Path, stack: AsyncExitStack, empty_postgres_url: str
) -> None:
    """Each has a bus of its own here: the second learns of it from the database alone."""
    settings = merged(PATIENT, {"storage": {"url": empty_postgres_url}})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    desk = await open_desk(tmp_path / "one", stack, settings)
    shutil.copy(tmp_path / "one" / "master.key", tmp_path / "two" / "master.key")
    second = RunningService(tmp_path / "two", settings)
    await second.start(within=SECONDS)
    stack.push_async_callback(second.stop)
    root = await desk.admin.post("/staff", login="meng", name="孟", role="curator")
    there = await sign_in(None, "meng", root["one_time_password"], base=second.base, stack=stack)
    for short in (FIELDS["short"], "可以喝水。上班时喝水、去厕所都不能扣钱。说不通就打12333。"):
        await published(desk, short=short, version=0 if short == FIELDS["short"] else None)
        await asyncio.gather(said_to(desk.members["kong"], short), said_to(there, short))
