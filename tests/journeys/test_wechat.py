"""Whole conversations by WeChat, through the running service, with a WeChat platform beside it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import Desk, open_desk
from tests.simulators.wechat import UNAVAILABLE, WechatPlatform


async def opened(folder: Path, stack: AsyncExitStack, **more: Any) -> tuple[Desk, WechatPlatform]:
    platform = WechatPlatform()
    base = await platform.start()
    stack.push_async_callback(platform.close)
    account = {
        "app_id": platform.app_id,
        "token": platform.token,
        "encoding_aes_key": platform.aes_key,
        "app_secret": platform.app_secret,
        "api_base": base,
        **more,
    }
    desk = await open_desk(
        folder, stack, {"wechat": [account], "server": {"public_url": "http://desk.example"}}
    )
    platform.webhook = f"{desk.base}/wechat/default"
    return desk, platform


async def until(condition: Any, *, within: float = 15) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.05)


async def test_one_encrypted_message_delivered_three_times_has_one_effect(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    desk, platform = await opened(tmp_path, stack)
    person = platform.person()
    fields = {
        "ToUserName": platform.account_name,
        "FromUserName": person.openid,
        "CreateTime": str(int(platform.clock())),
        "MsgType": "text",
        "Content": "我在天台，不想活了",
        "MsgId": "4711",
    }
    replies = [(await platform.deliver(fields)).reply for _ in range(3)]
    assert replies[0] is not None
    assert "120" in replies[0]
    assert replies == [replies[0]] * 3
    counsellor = await desk.hire("lin", rung=0)
    queue = await counsellor.get("/conversations", view="queue")
    (card,) = queue["items"]
    assert card["risk"] == "critical"
    thread = (await counsellor.get(f"/conversations/{card['id']}"))["messages"]
    assert [m["text"] for m in thread if m["direction"] == "in"] == ["我在天台，不想活了"]
    assert len(await counsellor.get("/alerts")) == 1


async def test_a_counsellor_talks_both_ways_and_sees_what_quota_is_left(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    desk, platform = await opened(tmp_path, stack)
    counsellor = await desk.hire("lin", rung=0)
    person = platform.person()
    await person.says("人工")
    (card,) = (await counsellor.get("/conversations", view="queue"))["items"]
    conversation = await counsellor.post(f"/conversations/{card['id']}/claim")
    assert conversation["quota"]["left"] == 5
    await counsellor.post(
        f"/conversations/{card['id']}/reply", text="我是咨询员，在的。", client_id="reply-0001"
    )
    await until(lambda: person.texts("custom") == ["我是咨询员，在的。"])
    shown = await counsellor.get(f"/conversations/{card['id']}")
    assert shown["quota"]["left"] == 4
    seen = len(person.seen)
    push = await person.says("谢谢你")
    assert push.accepted
    assert len(person.seen) == seen  # the bot is silent


async def test_on_an_unverified_account_the_counsellors_words_ride_on_the_next_message(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    desk, platform = await opened(tmp_path, stack, verified=False)
    counsellor = await desk.hire("lin", rung=0)
    person = platform.person()
    await person.says("人工")
    assert "http://desk.example/chat#link=" in person.texts()[-1]
    (card,) = (await counsellor.get("/conversations", view="queue"))["items"]
    await counsellor.post(f"/conversations/{card['id']}/claim")
    await counsellor.post(f"/conversations/{card['id']}/reply", text="我在，慢慢说。", client_id="reply-0001")
    await person.says("好")
    assert person.texts()[-1] == "我在，慢慢说。"
    assert UNAVAILABLE not in person.texts()


@pytest.mark.parametrize("kind", ["image", "voice"])
async def test_what_no_machine_can_read_goes_to_a_human(
    tmp_path: Path, stack: AsyncExitStack, kind: str
) -> None:
    desk, platform = await opened(tmp_path, stack)
    counsellor = await desk.hire("lin", rung=0)
    person = platform.person()
    await person.sends(kind, MediaId="m1", PicUrl="http://example.invalid/p")
    assert "110" in person.texts()[-1]
    (card,) = (await counsellor.get("/conversations", view="queue"))["items"]
    assert card["risk"] == "medium"
