"""Web chat by requests: long poll equals socket, quick exit, return codes and one-time links, bodies that cannot be taken."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from sqlalchemy import update

from bot import one_time_links
from bot.channels import InboundMessage, StorageUnavailable, Stored
from bot.channels.webchat import channel as channel_module
from bot.channels.webchat import return_codes
from bot.channels.webchat.channel import WebChat
from bot.tables import ChatSession, ReturnCode
from escalation.people import contact_for
from escalation.privacy import Vault
from escalation.tables import Contact, Conversation, Message, Person
from tests.bot.rig import KEY, Rig, build
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


@pytest.fixture
def chat(rig: Rig) -> WebChat:
    assert isinstance(rig.channel, WebChat)
    return rig.channel


async def said(page: Page, text: str, **more: str) -> str:
    status, body = await page.post("send", {"id": new_id(), "text": text, **more})
    assert status == 200, body
    return str(body["message_id"])


async def polled(page: Page, count: int) -> list[str]:
    """Poll as the page does until `count` replies in all were seen."""
    got: list[str] = []
    state = ""
    while len(page.seen) < count:
        status, body = await page.post(
            "poll", {"after": page.cursor, "have": page.have, "got": got, "state": state}
        )
        assert status == 200, body
        page.take(body)
        got, state = page.have[-100:], body["state"]
    await asyncio.wait_for(_receipt(page, got, state), 5)
    return page.seen


async def _receipt(page: Page, got: list[str], state: str) -> None:
    """Confirm the last replies without waiting for more."""
    status, _ = await page.post("poll", {"after": "now", "got": got, "state": state})
    assert status == 200


# --- long poll --------------------------------------------------------------------------------------------------------


async def test_by_long_poll_a_person_gets_the_same_as_by_socket(rig: Rig, http: ClientSession) -> None:
    by_socket, by_poll = await Page(http, rig.url).begin(), await Page(http, rig.url).begin()
    await by_socket.connect()
    for words in ("一", "二", "三"):
        await by_socket.send(words)
        await said(by_poll, words)
    assert await polled(by_poll, 3) == await by_socket.replies(3) == ["收到：一", "收到：二", "收到：三"]
    await rig.settled(*["delivered"] * 6)


async def test_a_waiting_poll_answers_when_the_counsellor_writes(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "有人吗")
    await polled(page, 1)
    begun = time.monotonic()
    waiting = asyncio.create_task(polled(page, 2))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await rig.say("我在")
    assert (await waiting)[-1] == "我在"
    assert time.monotonic() - begun < 3


async def test_a_poll_with_nothing_new_ends_empty_and_keeps_the_cursor(
    rig: Rig, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "POLL_SECONDS", 0.2)
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    await polled(page, 1)
    status, body = await page.post(
        "poll", {"after": page.cursor, "have": page.have, "got": [], "state": "bot"}
    )
    assert (status, body["messages"], body["cursor"]) == (200, [], page.cursor)


async def test_a_page_can_change_between_socket_and_poll_without_losing_or_doubling(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("一")
    await page.replies(1)
    await page.drop()
    await said(page, "二")
    await polled(page, 2)
    await page.connect()
    await page.send("三")
    assert await page.replies(3) == ["收到：一", "收到：二", "收到：三"]


async def test_before_the_first_message_there_is_nothing_to_poll(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    assert (await page.post("poll", {}))[0] == 409


# --- quick exit -------------------------------------------------------------------------------------------------------


async def leave(page: Page, **more: object) -> int:
    """As sendBeacon does it: no headers of ours, the token in the body."""
    body = json.dumps({"token": page.token, **more})
    async with page.http.post(f"{page.url}/chat/api/leave", data=body) as answer:
        return answer.status


async def test_quick_exit_in_one_process_closes_the_pages_of_another_at_once(
    rig: Rig, http: ClientSession
) -> None:
    """Two gateways on one database and one bus, as with Redis: the page's socket is at one, its exit goes to the other."""
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("我在天台")
    elsewhere, app = make(rig.shell), web.Application()
    app.add_routes(elsewhere.routes())
    async with TestServer(app) as other:
        there = Page(http, str(other.make_url("")).rstrip("/"))
        there.token = page.token
        assert await leave(there) == 204
        assert await page.closed() == 4401  # within five seconds; a page looks for itself after twenty
    await elsewhere.close()


async def test_quick_exit_ends_the_token_everywhere_and_nothing_else(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("我在天台")
    await page.replies(1)
    twin = Page(http, rig.url)  # a second tab with the same token
    twin.token = page.token
    await twin.connect()
    assert await leave(page) == 204
    assert await page.closed() == 4401
    assert await twin.closed() == 4401
    status, body = await page.post("send", {"id": new_id(), "text": "还在吗"})
    assert (status, body["error"]) == (401, "ended")
    assert [n["number"] for n in body["numbers"]] == ["110", "120", "12356"]
    # The conversation goes on for the desk: a counsellor can still write, and the words are kept for a return.
    await rig.say("我们在找你")
    (conversation,) = await rig.rows(Conversation)
    assert conversation.state != "closed"
    assert "pending" in await rig.delivery_states()


async def test_words_on_their_way_at_quick_exit_are_stored_once(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    first = new_id()
    await page.send("我想", id_=first)
    unsent = [{"id": first, "text": "我想"}, {"id": new_id(), "text": "跳下去"}, {"id": "?", "text": "坏的"}]
    assert await leave(page, unsent=unsent) == 204
    await rig.until(lambda: len(rig.heard) == 2)
    assert [h.text for h in rig.heard] == ["我想", "跳下去"]
    assert len(await rig.rows(Contact)) == 1


async def test_words_written_before_there_was_a_token_are_stored_at_quick_exit_too(
    rig: Rig, http: ClientSession
) -> None:
    page = Page(http, rig.url)
    assert await leave(page, unsent=[{"id": new_id(), "text": "救我"}]) == 204
    await rig.until(lambda: len(rig.heard) == 1)
    assert rig.heard[0].text == "救我"


async def test_a_waiting_poll_ends_at_quick_exit(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    await polled(page, 1)
    waiting = asyncio.create_task(
        page.post("poll", {"after": page.cursor, "have": page.have, "got": [], "state": "bot"})
    )
    await asyncio.sleep(0.2)
    await leave(page)
    assert (await asyncio.wait_for(waiting, 3))[0] == 401


async def test_leaving_without_a_session_is_no_error(rig: Rig, http: ClientSession) -> None:
    assert await leave(Page(http, rig.url)) == 204
    async with http.post(f"{rig.url}/chat/api/leave", data=b"{") as answer:
        assert answer.status == 400


async def test_a_token_unused_for_a_day_is_worth_nothing(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    rig.clock_shift = timedelta(hours=25)
    assert (await page.post("send", {"id": new_id(), "text": "还在吗"}))[0] == 401


async def test_an_erased_persons_token_and_code_are_worth_nothing(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    _, made = await page.post("return-code", {})
    (person,) = await rig.rows(Person)
    rig.shell.vault.forget(person.data_key)

    async def erase(session: object) -> None:
        await session.execute(update(Person).values(data_key=None))  # type: ignore[attr-defined]

    await rig.shell.storage.write(erase)
    assert (await page.post("send", {"id": new_id(), "text": "x"}))[0] == 401
    assert (await page.post("return", {"code": made["code"]}))[0] == 404


# --- return codes -----------------------------------------------------------------------------------------------------


def test_a_return_code_holds_sixty_bits_in_readable_groups() -> None:
    assert len(set(return_codes.ALPHABET)) ** return_codes.LENGTH >= 2**60
    assert not set("ILOU") & set(return_codes.ALPHABET)
    codes = {return_codes.new_code() for _ in range(200)}
    assert len(codes) == 200
    assert all([len(group) for group in code.split("-")] == [4, 4, 4] for code in codes)


@pytest.mark.parametrize(
    "typed",
    [
        "7K3M-Q9TX-20F1",
        "7k3mq9tx20f1",
        " 7K3M Q9TX 20F1 ",
        "７Ｋ３Ｍ－Ｑ９ＴＸ－２０Ｆ１",
        "7k3m–q9tx–2ofl",
        "7K3M-Q9TX-2OFI",
    ],
)
def test_a_code_is_read_however_it_was_typed(typed: str) -> None:
    assert return_codes.plain(typed) == "7K3MQ9TX20F1"


async def test_a_return_code_brings_a_person_back_to_the_same_conversation_on_another_device(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()
    await page.connect()
    await page.send("我明天再来")
    await page.replies(1)
    status, body = await page.post("return-code", {})
    assert status == 201
    await leave(page)
    await rig.say("我们等你")
    elsewhere = Page(http, rig.url)
    status, back = await elsewhere.post("return", {"code": body["code"].lower().replace("-", " ")})
    assert status == 201
    assert back["token"] != page.token
    elsewhere.token, elsewhere.cursor = back["token"], "now"
    await elsewhere.connect()
    # Only what was never read is shown by itself: somebody else may be looking at this screen.
    assert await elsewhere.replies(1) == ["我们等你"]
    await elsewhere.send("我回来了")
    await elsewhere.drop()
    elsewhere.cursor, elsewhere.have, elsewhere.seen = "", [], []
    await elsewhere.connect()  # "看之前说过的话"
    assert await elsewhere.replies(3) == ["收到：我明天再来", "我们等你", "收到：我回来了"]
    assert len(await rig.rows(Conversation)) == len(await rig.rows(Contact)) == 1


async def test_a_return_code_is_stored_only_as_a_keyed_slow_hash(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    _, body = await page.post("return-code", {})
    bare = body["code"].replace("-", "")
    (row,) = await rig.rows(ReturnCode)
    assert row.code_hash == await return_codes.SlowHash(Vault(KEY))(bare)
    assert row.code_hash != await return_codes.SlowHash(Vault(bytes(32)))(bare)
    database = Path(str(rig.shell.storage.engines.url.database))
    for file in database.parent.iterdir():
        raw = file.read_bytes()
        assert bare.encode() not in raw
        assert body["code"].encode() not in raw
        assert page.token.encode() not in raw


async def test_without_a_message_there_is_no_code_to_give(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    status, body = await page.post("return-code", {})
    assert (status, body["error"]) == (409, "nothing_yet")
    assert (await page.post("return-code", {}, token="x"))[0] == 401


async def test_the_three_newest_codes_are_good_and_older_ones_end(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    codes = [(await page.post("return-code", {}))[1]["code"] for _ in range(4)]
    answers = [(await page.post("return", {"code": code}))[0] for code in codes]
    assert answers == [404, 201, 201, 201]


async def test_a_code_unused_for_half_a_year_ends(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    _, body = await page.post("return-code", {})
    rig.clock_shift = timedelta(days=181)
    assert (await page.post("return", {"code": body["code"]}))[0] == 404


async def test_a_wrong_code_looks_and_lasts_like_an_ended_one(
    rig: Rig, http: ClientSession, chat: WebChat
) -> None:
    chat._tries_here = return_codes.Tries(1000, within=60)
    chat._tries_all = return_codes.Tries(1000, within=60)
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    ended = (await page.post("return-code", {}))[1]["code"]

    async def end(session: object) -> None:
        await session.execute(update(ReturnCode).values(revoked_at=rig.shell.clock()))  # type: ignore[attr-defined]

    await rig.shell.storage.write(end)
    answers, seconds = [], {}
    for name, code in (
        ("ended", ended),
        ("unknown", return_codes.new_code()),
        ("malformed", "x"),
        ("none", 7),
    ):
        lasted = []
        for _ in range(3):
            begun = time.monotonic()
            answers.append(await page.post("return", {"code": code}))
            lasted.append(time.monotonic() - begun)
        seconds[name] = statistics.median(lasted)
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 404
    assert min(seconds.values()) > channel_module._LOOK_UP_SECONDS
    assert max(seconds.values()) - min(seconds.values()) < 0.25, seconds


async def test_few_tries_for_each_address_and_few_in_all(
    rig: Rig, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "_LOOK_UP_SECONDS", 0.01)
    page = Page(http, rig.url)
    statuses = [(await page.post("return", {"code": "x"}))[0] for _ in range(7)]
    assert statuses == [404] * 5 + [429] * 2
    async with http.post(f"{rig.url}/chat/api/return", json={"code": "x"}) as answer:
        assert 0 < int(answer.headers["Retry-After"]) <= 600
        assert (await answer.json())["numbers"]
    # Writing is never limited.
    await page.begin()
    for number in range(40):
        await said(page, f"第{number}条")


def test_limits_count_by_address_forget_in_time_and_stay_small() -> None:
    tries = return_codes.Tries(2, within=10, remember=3)
    assert [tries.wait(b"a", now) for now in (0, 1, 2)] == [0, 0, 8]
    assert tries.wait(b"b", 2) == 0
    assert tries.wait(b"a", 10.5) == 0
    for key in (b"c", b"d", b"e", b"f"):
        tries.wait(key, 11)
    assert len(tries._tries) == 3
    assert channel_module._neighbourhood("2001:db8:1:2:3::4") == channel_module._neighbourhood(
        "2001:db8:1:2:9::1"
    )
    assert channel_module._neighbourhood("192.0.2.1") != channel_module._neighbourhood("192.0.2.2")


async def test_look_ups_go_one_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    at_once, most = 0, 0
    real = hashlib.scrypt

    def counted(*given: object, **more: object) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return real(*given, **more)  # type: ignore[arg-type]
        finally:
            at_once -= 1

    monkeypatch.setattr(return_codes.hashlib, "scrypt", counted)
    slow = return_codes.SlowHash(rig.shell.vault)
    await asyncio.gather(*(slow(str(n)) for n in range(4)))
    assert most == 1


# --- one-time links ---------------------------------------------------------------------------------------------------


async def test_a_one_time_link_goes_on_in_the_conversation_it_came_from_once(
    rig: Rig, http: ClientSession
) -> None:
    shell = rig.shell
    await shell.inbox.receive(
        InboundMessage(
            "wechat", "default", "openid-1", "wx-1", "text", "我想找人工", received_at=shell.clock()
        )
    )
    await rig.until(lambda: len(rig.heard) == 1)

    async def work(session: object) -> str:
        _, contact = await contact_for(
            session,  # type: ignore[arg-type]
            shell.vault,
            desk="000000",
            channel="wechat",
            account="default",
            address="openid-1",
            now=shell.clock(),
        )
        return await one_time_links.make_link(
            session,  # type: ignore[arg-type]
            shell.vault,
            contact_id=contact.id,
            public_url=rig.url,
            now=shell.clock(),
        )

    secret = (await shell.storage.write(work)).partition("#link=")[2]
    page = Page(http, rig.url)
    status, body = await page.post("link", {"link": secret})
    assert status == 201
    assert (await Page(http, rig.url).post("link", {"link": secret}))[0] == 404
    page.token, page.cursor = body["token"], "now"
    await page.connect()
    await page.replies(1)  # the answer that could not be carried on the other channel
    await page.send("在网页上接着说")
    await page.replies(2)
    (conversation,) = await rig.rows(Conversation)
    assert conversation.channel == "wechat"
    assert [m.kind for m in await rig.rows(Message)] == ["text"] * 4


@pytest.mark.parametrize("link", ["", "x", 7, None, "长" * 500])
async def test_a_link_that_is_none_is_refused(rig: Rig, http: ClientSession, link: object) -> None:
    status, body = await Page(http, rig.url).post("link", {"link": link})
    assert (status, body["error"]) == (404, "unknown_link")


# --- bodies and addresses ---------------------------------------------------------------------------------------------


async def test_a_ten_megabyte_body_is_refused_with_numbers_and_others_go_on(
    rig: Rig, http: ClientSession
) -> None:
    page = await Page(http, rig.url).begin()

    async def flood() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    statuses = []
    for body in (io.BytesIO(b"x" * 10_000_000), flood(), b"x" * 300_000):
        try:
            async with http.post(f"{rig.url}/chat/api/send", data=body) as answer:
                statuses.append(answer.status)
                assert (await answer.json())["numbers"]
        except ConnectionError:
            pass  # it hung up while we were still pouring
    assert statuses
    assert set(statuses) == {413}
    await said(page, "还在")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "bad_json"),
        (b"\xff\xfe\x00", 400, "bad_json"),
        (b"[]", 400, "bad_json"),
        (b'{"id":"0123456789abcdef"}', 400, "bad_frame"),
        (b'{"id":"0123456789abcdef","text":"  "}', 422, "empty"),
        (json.dumps({"id": "0123456789abcdef", "text": "x" * (MOST + 1)}).encode(), 422, "too_long"),
    ],
)
async def test_a_bad_body_gets_a_precise_answer(
    rig: Rig, http: ClientSession, body: bytes, status: int, error: str
) -> None:
    page = await Page(http, rig.url).begin()
    headers = {"Authorization": f"Bearer {page.token}"}
    async with http.post(f"{rig.url}/chat/api/send", data=body, headers=headers) as answer:
        told = await answer.json()
        assert (answer.status, told["error"]) == (status, error)
        assert [n["number"] for n in told["numbers"]] == ["110", "120", "12356"]
        assert answer.headers["Cache-Control"] == "no-store"


async def test_when_storage_is_away_the_answer_is_503_with_numbers(
    rig: Rig, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await Page(http, rig.url).begin()

    async def full(message: InboundMessage) -> Stored:
        raise StorageUnavailable("OperationalError")

    monkeypatch.setattr(rig.shell.inbox, "receive", full)
    status, body = await page.post("send", {"id": new_id(), "text": "救命"})
    assert (status, body["error"]) == (503, "unavailable")
    assert body["numbers"]


async def test_the_network_address_is_kept_sealed_and_nowhere_else(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    await said(page, "你好")
    (contact,) = await rig.rows(Contact)
    (person,) = await rig.rows(Person)
    key = rig.shell.vault.person_key(person.data_key)
    assert key.open(contact.network_address_sealed, "contact.network_address") == "127.0.0.1"
    database = Path(str(rig.shell.storage.engines.url.database))
    assert all(b"127.0.0.1" not in file.read_bytes() for file in database.parent.iterdir())


async def test_a_session_row_says_nothing_of_the_visitor(rig: Rig, http: ClientSession) -> None:
    page = await Page(http, rig.url).begin()
    (row,) = await rig.rows(ChatSession)
    assert row.contact_id is None
    assert page.token.encode() not in row.token_hash
    assert await rig.rows(Person) == []
