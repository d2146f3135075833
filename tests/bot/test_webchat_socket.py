"""The chat page's socket against real inbox, outbox and database: stored before told, nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from bot.channels import InboundMessage, StorageUnavailable, Stored
from bot.channels.webchat import socket as socket_module
from bot.channels.webchat.channel import WebChat
from bot.outbox import Button, Draft
from bot.tables import Delivery
from escalation.tables import Contact, Conversation, Message
from tests.bot.rig import Answer, Heard, Rig, build
from tests.bot.webchat import Page, make, new_id, settings

MOST = 200


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield await build(stack, tmp_path, make, settings=settings(max_text=MOST))


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def texts(rig: Rig, direction: str) -> list[str]:
    key = rig.shell.vault.person_key
    async with rig.shell.storage.read() as session:
        from sqlalchemy import select

        from escalation.tables import Person

        rows = await session.execute(
            select(Message.text_sealed, Person.data_key)
            .join(Conversation, Conversation.id == Message.conversation_id)
            .join(Person, Person.id == Conversation.person_id)
            .where(Message.direction == direction)
            .order_by(Message.id)
        )
        return [key(wrapped).open(sealed, "message.text") for sealed, wrapped in rows]


async def test_a_message_is_in_the_database_before_the_page_hears_that_it_is_stored(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    assert await rig.rows(Contact) == []  # a visitor who only looks leaves nothing
    told = await page.send("宿舍的人总孤立我")
    (message,) = [m for m in await rig.rows(Message) if m.direction == "in"]
    assert str(message.id) == told["message_id"]
    (contact,) = await rig.rows(Contact)
    assert contact.channel == "webchat"
    assert await page.replies(1) == ["收到：宿舍的人总孤立我"]
    await rig.settled("delivered")
    assert [d.via for d in await rig.rows(Delivery)] == ["pull"]


async def test_a_repeat_of_the_same_message_is_stored_once_and_told_the_same(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    again = new_id()
    first = await page.send("在吗", id_=again)
    assert await page.send("在吗", id_=again) == first
    await page.drop()
    await page.connect()
    assert await page.send("在吗", id_=again) == first
    assert await texts(rig, "in") == ["在吗"]
    await page.replies(1)
    assert len(await texts(rig, "out")) == 1


async def test_what_was_said_while_the_line_was_down_comes_once_and_in_order(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("一")
    await page.replies(1)
    await page.drop()
    for words in ("我在", "你慢慢说", "不急"):
        await rig.say(words)
    await page.connect()
    assert await page.replies(4) == ["收到：一", "我在", "你慢慢说", "不急"]
    await rig.say("还在吗")
    assert (await page.replies(5))[-1] == "还在吗"
    await rig.settled(*["delivered"] * 5)


async def test_replies_that_were_never_confirmed_come_again_and_confirmed_ones_do_not(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("一")
    await page.replies(1, receipt=False)
    assert await rig.delivery_states() == ["pending"]
    await page.drop()
    reloaded = Page(http, rig.url)  # the tab was reloaded: it knows its token and nothing else
    reloaded.token = page.token
    await reloaded.connect()
    assert await reloaded.replies(1) == ["收到：一"]
    await rig.settled("delivered")


async def test_a_reply_committed_late_with_a_smaller_id_is_not_lost(rig: Rig, http: ClientSession) -> None:
    """Ids are made before the commit: a page whose cursor is already beyond must still get the straggler."""
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("一")
    await page.replies(1)
    (inbound,) = [m for m in await rig.rows(Message) if m.direction == "in"]
    page.cursor = str(inbound.id + (30_000 << 22))  # as if a message half a minute newer had come first
    await page.drop()
    page.have.remove(next(i for i in page.have if i != str(inbound.id)))
    page.seen.clear()
    await page.connect()
    assert await page.replies(1) == ["收到：一"]


async def test_buttons_come_with_the_reply_and_go_back_as_a_command(rig: Rig, http: ClientSession) -> None:
    def ask(heard: Heard) -> Answer:
        return Answer([Draft("是哪一种？", buttons=[Button("找人工", "/human")])])

    rig.answers = ask
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("有事想问")
    frame = await page.hear("messages")
    while not any("buttons" in m for m in frame["messages"]):
        frame = await page.hear("messages")
    assert [m["buttons"] for m in frame["messages"] if "buttons" in m] == [
        [{"label": "找人工", "value": "/human"}]
    ]
    await page.send("找人工", command="/human")
    await rig.until(lambda: len(rig.heard) == 2)
    assert rig.heard[1].text == "找人工"
    assert rig.heard[1].meta["command"] == "/human"


async def test_the_page_is_told_who_answers_and_that_the_counsellor_types(
    rig: Rig, http: ClientSession
) -> None:
    from bot.events import News

    rig.answers = lambda heard: Answer(state="human" if heard.text == "转人工" else "")
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("你好")
    assert (await page.hear("state"))["state"] == "bot"
    stored = await page.send("转人工")
    assert (await page.hear("state"))["state"] == "human"
    (conversation,) = await rig.rows(Conversation)
    async with rig.shell.bus.listen() as news:
        rig.shell.bus.publish(News("typing", conversation.id, {"by": "staff"}))
        await page.hear("typing")
        await page.tell(type="typing")
        async with asyncio.timeout(2):
            while (item := await news.get()).extra != {"by": "person"}:
                pass
        assert item.conversation_id == conversation.id
    assert stored["type"] == "stored"


@pytest.mark.parametrize(
    "words",
    [
        "\x00在\x00",
        "\ud83d",
        "😭",
        "😭" * MOST,
        "👨‍👩‍👧‍👦🏳️‍🌈",
        "字" * MOST,
        "\u200b死\u200b",
        "a\u0301" * 10,
        "\u202e倒",
    ],
)
async def test_strange_characters_are_words_like_any_other(rig: Rig, http: ClientSession, words: str) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    assert page.ws is not None
    await page.ws.send_str(json.dumps({"type": "send", "id": new_id(), "text": words}, ensure_ascii=True))
    await page.hear("stored")
    assert await texts(rig, "in") == [words]
    assert await page.replies(1) == [f"收到：{words}"]


@pytest.mark.parametrize(
    ("text", "error", "count"),
    [
        ("", "empty", None),
        (" \n\t　", "empty", None),
        ("字" * (MOST + 1), "too_long", MOST + 1),
    ],
)
async def test_what_cannot_be_taken_is_refused_precisely_with_the_emergency_numbers(
    rig: Rig, http: ClientSession, text: str, error: str, count: int | None
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    mine = new_id()
    await page.tell(type="send", id=mine, text=text)
    told = await page.hear("refused")
    assert (told["id"], told["error"], told.get("count")) == (mine, error, count)
    assert [n["number"] for n in told["numbers"]] == ["110", "120", "12356"]
    assert await rig.rows(Message) == []
    await page.send("短一点")  # the line goes on


async def test_twenty_thousand_characters_are_refused_by_the_count_and_the_line_goes_on(
    tmp_path: Path, http: ClientSession
) -> None:
    async with AsyncExitStack() as stack:
        rig = await build(stack, tmp_path, make, settings=settings(max_text=4000))
        page = await Page(http, rig.url).begin()
        await page.connect()
        await page.tell(type="send", id=new_id(), text="长" * 20_000)
        told = await page.hear("refused")
        assert (told["error"], told["count"], told["max"]) == ("too_long", 20_000, 4_000)
        await page.send("好")


BAD_FRAMES = [
    "不是 JSON",
    "[1,2]",
    "null",
    '"x"',
    "[" * 3_000,
    "{}",
    '{"type":"fly"}',
    '{"type":"send"}',
    '{"type":"send","id":7,"text":"x"}',
    '{"type":"send","id":"short","text":"x"}',
    '{"type":"send","id":"0123456789abcdef","text":["x"]}',
    '{"type":"send","id":"0123456789abcdef","text":"x","command":"human"}',
    '{"type":"send","id":"0123456789abcdef","text":"x","command":"/\\ud800"}',
    '{"type":"got","ids":"all"}',
    '{"type":"got","ids":["99999999999999999999"]}',
    '{"type":"got","ids":[1]}',
    '{"type":"typing","x":' + "9" * 2_000 + "}",
]


async def test_nonsense_is_answered_each_time_and_harms_nobody(rig: Rig, http: ClientSession) -> None:
    good = await Page(http, rig.url).begin()
    await good.connect()
    for raw in BAD_FRAMES[:-1]:
        page = await Page(http, rig.url).begin()
        ws = await page.connect()
        await ws.send_str(raw)
        told = await page.hear("refused")
        assert told["error"] in ("bad_json", "bad_frame", "bad_id", "bad_command"), raw[:40]
        await page.send("之后还能说话")
        await ws.close()
    await good.send("我的话照样收下")
    assert "我的话照样收下" in await texts(rig, "in")


async def test_after_much_nonsense_the_socket_is_closed(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    ws = await page.connect()
    for _ in range(10):
        await ws.send_str("x")
    assert await page.closed() == 1008


async def test_a_ten_megabyte_frame_closes_its_own_socket_only(rig: Rig, http: ClientSession) -> None:
    good, bad = await Page(http, rig.url).begin(), await Page(http, rig.url).begin()
    await good.connect()
    ws = await bad.connect()
    with contextlib.suppress(ConnectionError):  # the server may hang up before all of it is out
        await ws.send_str("x" * 10_000_000)
    assert await bad.closed() in (1006, 1009)
    await good.send("还在")
    assert await texts(rig, "in") == ["还在"]


async def test_a_binary_frame_is_refused(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    ws = await page.connect()
    await ws.send_bytes(b"\x00\xff")
    assert (await page.hear("refused"))["error"] == "bad_frame"


@pytest.mark.parametrize("token", ["", "wrong", "\x00", "长" * 3_000])
async def test_an_unknown_token_is_told_that_the_chat_ended(
    rig: Rig, http: ClientSession, token: str
) -> None:
    page = Page(http, rig.url)
    page.token = token
    await page.connect(ready=False)
    assert (await page.hear("refused"))["error"] == "ended"
    assert await page.closed() == 4401


async def test_a_socket_that_does_not_say_who_it_is_is_closed(
    rig: Rig, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "_HELLO_WITHIN", 0.05)
    ws = await http.ws_connect(f"{rig.url}/chat/ws")
    async with asyncio.timeout(2):
        await ws.receive()
    assert ws.close_code == 1008


async def test_when_nothing_can_be_stored_the_page_hears_so_and_is_never_told_stored(
    rig: Rig, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    real = rig.shell.inbox.receive

    async def full(message: InboundMessage) -> Stored:
        raise StorageUnavailable("OperationalError")

    monkeypatch.setattr(rig.shell.inbox, "receive", full)
    mine = new_id()
    await page.tell(type="send", id=mine, text="我好怕")
    told = await page.hear("refused")
    assert (told["id"], told["error"]) == (mine, "unavailable")
    assert told["numbers"]
    monkeypatch.setattr(rig.shell.inbox, "receive", real)
    await page.send("我好怕", id_=mine)
    assert await texts(rig, "in") == ["我好怕"]


async def test_two_visitors_never_see_each_other(rig: Rig, http: ClientSession) -> None:
    one, two = await Page(http, rig.url).begin(), await Page(http, rig.url).begin()
    await one.connect()
    await two.connect()
    same = new_id()  # the same provider id from two senders is two messages
    await one.send("我是甲", id_=same)
    await two.send("我是乙", id_=same)
    assert await one.replies(1) == ["收到：我是甲"]
    assert await two.replies(1) == ["收到：我是乙"]
    assert len(await rig.rows(Contact)) == 2
    # Nor can one confirm the other's replies.
    await rig.say("给甲")
    await one.replies(2, receipt=False)
    await two.tell(type="got", ids=one.have)
    await two.tell(type="ping")
    await two.hear("pong")
    states = {d.message_id: d.state for d in await rig.rows(Delivery)}
    assert states[int(one.have[-1])] == "pending"


async def test_no_words_and_no_token_reach_the_log(
    rig: Rig, http: ClientSession, caplog: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    page = await Page(http, rig.url).begin()
    ws = await page.connect()
    await page.send("秘密一号")
    await page.tell(type="send", id=new_id(), text="秘密二号" * MOST)
    await page.hear("refused")
    await ws.send_str("秘密三号")
    await page.hear("refused")
    await page.post("send", {"id": new_id(), "text": "秘密四号" * MOST})
    await page.post("return", {"code": "秘密五号"})
    said = caplog.text + "".join(capfd.readouterr())
    assert "webchat.refused" in said
    assert "秘密" not in said
    assert "\\u79d8" not in said
    assert page.token not in said


async def test_stopping_the_service_closes_sockets_so_that_pages_come_back(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    assert isinstance(rig.channel, WebChat)
    await asyncio.gather(rig.channel.hang_up(), page.closed())
    assert page.ws is not None
    assert page.ws.close_code == 1001
