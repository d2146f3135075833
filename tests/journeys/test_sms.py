"""Whole conversations by SMS, through the running service: a provider's HTTP interface, and a real Kannel."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import open_desk
from tests.simulators.kannel import PERSON, Kannel
from tests.simulators.sms import SmsCentre


async def until(condition: Any, *, within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.05)


async def test_danger_beside_an_opt_out_rings_and_a_counsellor_answers(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    centre = SmsCentre()
    url = await centre.start()
    stack.push_async_callback(centre.close)
    account = {"secret": centre.secret, "send_url": url, "signature": "倾听"}
    desk = await open_desk(tmp_path, stack, {"sms": [account]})
    centre.webhook = f"{desk.base}/sms/default"
    counsellor = await desk.hire("lin", rung=0)
    telephone = centre.telephone()
    assert await telephone.says("退订，我在天台，不想活了") == [200]
    await until(lambda: any("120" in text for text in telephone.texts))
    (alert,) = await counsellor.get("/alerts")
    (card,) = (await counsellor.get("/conversations", view="queue"))["items"]
    assert (card["risk"], alert["level"]) == ("critical", "critical")
    await counsellor.post(f"/conversations/{card['id']}/claim")
    await counsellor.post(
        f"/conversations/{card['id']}/reply", text="我在，先离开那里。", client_id="reply-0001"
    )
    await until(lambda: "【倾听】我在，先离开那里。" in telephone.texts)


@pytest.mark.kannel
async def test_a_question_by_sms_through_kannel_is_answered_with_its_source(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    kannel = Kannel(tmp_path, stack)
    desk = await open_desk(tmp_path, stack, {"sms": [kannel.account]})
    await kannel.start(desk.service.port)
    counsellor = await desk.hire("lin", rung=0)
    await kannel.person_says("老板拖欠我工资怎么办")
    await until(lambda: "依据" in "".join(kannel.got))
    assert "".join(kannel.got).startswith("【倾听】")
    (card,) = (await counsellor.get("/conversations", view="all"))["items"]

    async def delivered() -> bool:
        thread = (await counsellor.get(f"/conversations/{card['id']}", why="earlier"))["messages"]
        return all(m["delivery"]["state"] == "delivered" for m in thread if m["direction"] == "out")

    async with asyncio.timeout(15):
        while not await delivered():
            await asyncio.sleep(0.2)
    service_log = desk.service.log.read_text() + "".join(desk.service.output)
    for secret in (PERSON, "拖欠", "kannels-secret", "desks-password"):
        assert secret not in service_log
