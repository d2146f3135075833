"""A WeChat platform, a webhook and real inbox, outbox and sender: deliveries, late answers, quotas, refusals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession

from bot import outbox
from bot.channels import InboundMessage, StorageUnavailable, wechat
from bot.channels.wechat import quota, webhook
from bot.channels.wechat.channel import WechatChannel
from bot.outbox import Draft
from bot.settings import ConfigProblem, Server, Settings, WechatAccount
from bot.tables import AccessToken, Quota, ReturnCode
from escalation import staff
from escalation.tables import Contact, Conversation, Message
from tests.bot.rig import Answer, Rig, build, free_port
from tests.simulators.wechat import UNAVAILABLE, Fault, WechatPlatform

Start = Callable[..., Any]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """WeChat's five seconds as two: tests of lateness in less than half the time."""
    for name in ("PASSIVE_SECONDS", "_THIRD_SECONDS", "_TOO_LATE", "_CUT"):
        monkeypatch.setattr(webhook, name, getattr(webhook, name) / 2.5)
    monkeypatch.setattr(WechatChannel, "passive_seconds", WechatChannel.passive_seconds / 2.5)
    return 2.0


@pytest.fixture
def start(stack: AsyncExitStack, tmp_path: Any) -> Start:
    async def begin(
        *, verified: bool = True, patience: float = 5, send: bool = True, **more: Any
    ) -> tuple[Rig, WechatPlatform]:
        platform = WechatPlatform(patience=patience, encrypted=not more.get("plain_mode", False))
        base = await platform.start()
        stack.push_async_callback(platform.close)
        account = WechatAccount(
            app_id=platform.app_id,
            token=platform.token,
            encoding_aes_key=platform.aes_key,
            app_secret=platform.app_secret,
            verified=verified,
            api_base=base,
            **more,
        )
        settings = Settings(wechat=[account], server=Server(public_url="https://desk.example"))
        rig = await build(
            stack, tmp_path, lambda shell: wechat.make(shell, account), settings=settings, send=send
        )
        platform.webhook = f"{rig.url}/wechat/default"
        return rig, platform

    return begin


async def test_the_platform_accepts_our_address(start: Start) -> None:
    _, platform = await start()
    assert await platform.verify_url()


async def test_an_encrypted_message_is_answered_in_its_own_response(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    push = await person.says("你好")
    assert person.seen == [("passive", "收到：你好")]
    assert len(push.deliveries) == 1
    await rig.settled("sent")
    assert platform.calls == []


async def test_three_deliveries_have_one_effect_and_one_answer(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    fields = {
        "ToUserName": platform.account_name,
        "FromUserName": person.openid,
        "CreateTime": str(int(platform.clock())),
        "MsgType": "text",
        "Content": "你好",
        "MsgId": "9",
    }
    replies = [(await platform.deliver(fields)).reply for _ in range(3)]
    assert replies == ["收到：你好"] * 3
    assert len(rig.heard) == 1
    await rig.settled("sent")


async def test_three_deliveries_at_once_have_one_effect(start: Start) -> None:
    rig, platform = await start()
    rig.delay = 0.2
    person = platform.person()
    fields = {
        "ToUserName": platform.account_name,
        "FromUserName": person.openid,
        "CreateTime": str(int(platform.clock())),
        "MsgType": "text",
        "Content": "你好",
        "MsgId": "9",
    }
    deliveries = await asyncio.gather(*(platform.deliver(fields) for _ in range(3)))
    assert {d.reply for d in deliveries} == {"收到：你好"}
    assert len(rig.heard) == 1
    await rig.settled("sent")


async def test_the_same_message_id_from_two_persons_is_two_messages(start: Start) -> None:
    rig, platform = await start()
    await platform.person().says("一", MsgId="5")
    await platform.person().says("二", MsgId="5")
    assert [h.text for h in rig.heard] == ["一", "二"]


async def test_a_slow_answer_goes_by_customer_service_message(start: Start, quick: float) -> None:
    rig, platform = await start(patience=quick)
    rig.delay = quick * 1.3
    person = platform.person()
    push = await person.says("难题")
    assert push.accepted
    await rig.until(lambda: person.seen)
    assert person.seen == [("custom", "收到：难题")]
    await rig.settled("sent")


async def test_a_safety_text_does_not_wait_for_a_webhook_that_is_no_more(start: Start) -> None:
    """The process that took the message died with its open connection: nobody is left to claim the answer."""
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    rig.answers = lambda heard: Answer([Draft("你现在安全吗？打 110。")], lane=outbox.CRISIS)
    clock = asyncio.get_running_loop().time
    begun = clock()
    await rig.shell.inbox.receive(
        InboundMessage(
            "wechat", "default", person.openid, "m2", "text", "不想活了", received_at=rig.shell.clock()
        )
    )
    await rig.until(lambda: ("custom", "你现在安全吗？打 110。") in person.seen, within=4)
    assert clock() - begun < 3


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_the_sender_ends_also_when_it_is_woken_in_that_moment(start: Start, steps: int) -> None:
    rig, _ = await start()
    await asyncio.sleep(0.1)  # it has looked, found nothing, and waits
    rig.shell.outbox.wake.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    async with asyncio.timeout(3):
        await rig.sender.close()


async def test_a_safety_text_goes_at_once_when_the_platform_hangs_up(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    rig.answers = lambda heard: Answer([Draft("你现在安全吗？打 110。")], lane=outbox.CRISIS)
    rig.delay = 0.3
    fields = {
        "ToUserName": "gh_1",
        "FromUserName": person.openid,
        "CreateTime": str(int(rig.shell.clock().timestamp())),
        "MsgType": "text",
        "Content": "不想活了",
        "MsgId": str(platform.next_id()),
    }
    query, body = platform.sealed(fields)
    async with ClientSession() as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await http.post(platform.webhook, params=query, data=body)
    clock = asyncio.get_running_loop().time
    begun = clock()
    await rig.until(lambda: ("custom", "你现在安全吗？打 110。") in person.seen, within=4)
    assert clock() - begun < 1


async def test_a_slow_answer_of_an_unverified_account_rides_on_a_later_delivery(
    start: Start, quick: float
) -> None:
    rig, platform = await start(verified=False, patience=quick)
    rig.delay = quick * 1.4
    person = platform.person()
    push = await person.says("难题")
    assert person.seen == [("passive", "收到：难题")]
    assert len(push.deliveries) == 2
    assert len(rig.heard) == 1
    await rig.settled("sent")


async def test_the_third_delivery_of_an_unverified_account_always_answers(start: Start, quick: float) -> None:
    rig, platform = await start(verified=False, patience=quick)
    rig.delay = quick * 4
    person = platform.person()
    push = await person.says("很难的题")
    assert len(push.deliveries) == 3
    ((how, text),) = person.seen
    assert how == "passive"
    assert "110" in text
    assert UNAVAILABLE not in text
    await rig.until(lambda: rig.heard)
    await rig.settled("sent", "pending")
    rig.delay = 0
    await person.says("嗯")  # the answer waits for the person's next message
    assert person.texts("passive")[1] == "收到：很难的题\n\n收到：嗯"


async def test_a_counsellors_words_on_an_unverified_account_ride_on_the_next_message(start: Start) -> None:
    rig, platform = await start(verified=False)
    person = platform.person()
    await person.says("在吗")
    await rig.say("我是咨询员，在的。")
    await person.says("好")
    assert person.texts()[-1] == "我是咨询员，在的。\n\n收到：好"
    assert platform.calls == []


async def test_handing_over_on_an_unverified_account_gives_a_link_into_the_web_chat_once(
    start: Start,
) -> None:
    rig, platform = await start(verified=False)
    rig.answers = lambda heard: Answer([Draft("好，已经帮你找咨询员。")], state="queued")
    person = platform.person()
    await person.says("人工")
    (text,) = person.texts()
    assert text.startswith("好，已经帮你找咨询员。\n\n")
    assert "https://desk.example/chat#link=" in text
    token = text.split("#link=")[1].split()[0]
    await person.says("还在吗")
    assert "#link=" not in person.texts()[-1]
    (code,) = await rig.rows(ReturnCode)
    assert token.encode() not in code.code_hash
    now = rig.shell.clock()
    from bot.one_time_links import redeem

    contact = await rig.shell.storage.write(lambda s: redeem(s, rig.shell.vault, token, now))
    assert contact == (await rig.rows(Contact))[0].id
    assert await rig.shell.storage.write(lambda s: redeem(s, rig.shell.vault, token, now)) is None


async def test_a_text_too_long_for_one_reply_goes_on_with_the_next(start: Start) -> None:
    rig, platform = await start(verified=False)
    long = "这是一句话。" * 200
    rig.answers = lambda heard: Answer([Draft(long if heard.text == "长" else "短")])
    person = platform.person()
    await person.says("长")
    await person.says("嗯")
    first, second = person.texts()
    assert first.endswith("（没有完，发一个字继续看）")
    whole = first.removesuffix("\n\n（没有完，发一个字继续看）") + second.removesuffix("\n\n短")
    assert whole == long


async def test_a_text_too_long_for_one_reply_is_pushed_in_pieces_by_a_verified_account(start: Start) -> None:
    rig, platform = await start()
    long = "这是一句话。" * 200
    rig.answers = lambda heard: Answer([Draft(long)])
    person = platform.person()
    await person.says("长")
    await rig.until(lambda: len(person.seen) == 2)
    assert "".join(person.texts("custom")) == long


@pytest.mark.parametrize("lane", [outbox.CRISIS, outbox.BOT])
async def test_after_a_failure_half_way_only_the_rest_of_a_long_text_is_sent(start: Start, lane: int) -> None:
    rig, platform = await start()
    long = "这是一句话。" * 300  # three messages
    rig.answers = lambda heard: Answer([Draft(long)], lane=lane)
    person = platform.person()
    platform.faults += [Fault(served=True), Fault(code=-1), Fault(served=True), Fault(status=502)]
    await person.says("长")
    await rig.until(lambda: len(person.seen) == 3, within=15)
    assert "".join(person.texts("custom")) == long
    await rig.settled("sent")


async def test_stored_before_acknowledged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, platform = await start()

    async def fails(message: Any) -> Any:
        raise StorageUnavailable("locked")

    monkeypatch.setattr(rig.shell.inbox, "receive", fails)
    person = platform.person()
    push = await person.says("听得到吗")
    assert [d.status for d in push.deliveries] == [503] * 3
    assert person.seen == [("system", UNAVAILABLE)]


async def test_a_message_refused_for_want_of_storage_is_taken_on_redelivery(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, platform = await start()
    receive, tries = rig.shell.inbox.receive, []

    async def fails_once(message: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise StorageUnavailable("locked")
        return await receive(message)

    monkeypatch.setattr(rig.shell.inbox, "receive", fails_once)
    person = platform.person()
    push = await person.says("听得到吗")
    assert [d.status for d in push.deliveries] == [503, 200]
    assert person.seen == [("passive", "收到：听得到吗")]


async def test_a_body_of_ten_megabytes_is_refused_and_others_are_served(start: Start) -> None:
    _, platform = await start()
    query, _ = platform.sealed({"FromUserName": "o"})
    async with (
        ClientSession() as session,
        session.post(platform.webhook, params=query, data=BytesIO(bytes(10_000_000))) as response,
    ):
        assert response.status == 413
    person = platform.person()
    await person.says("你好")
    assert person.texts() == ["收到：你好"]


async def test_a_refused_push_harms_no_other_message_and_logs_no_words(start: Start) -> None:
    rig, platform = await start()
    secret = "不能写进日志的话"
    with structlog.testing.capture_logs() as logs:
        query, body = platform.sealed_xml(f"<xml><Content>{secret}</xml>")
        async with (
            ClientSession() as session,
            session.post(platform.webhook, params=query, data=body) as response,
        ):
            assert response.status == 400
            assert secret not in await response.text()
        person = platform.person()
        await person.says("你好")
    assert person.texts() == ["收到：你好"]
    assert any(line["event"] == "wechat.refused" and line["reason"] == "malformed_xml" for line in logs)
    assert secret not in repr(logs)
    assert person.openid not in repr(logs)
    assert len(await rig.rows(Message)) == 2


async def test_a_stale_signed_push_is_taken_once_with_a_clock_warning(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    fields = {
        "ToUserName": platform.account_name,
        "FromUserName": person.openid,
        "CreateTime": "1700000000",
        "MsgType": "text",
        "Content": "你好",
        "MsgId": "9",
    }
    query, body = platform.sealed(fields, at=int(platform.clock()) - 3600)
    async with ClientSession() as session:
        for _ in range(2):  # the durable key is the replay guard
            async with session.post(platform.webhook, params=query, data=body) as response:
                assert response.status == 200
    assert len(rig.heard) == 1
    assert await rig.tasks() == [("clock_warning", "wechat:default")]


async def test_an_unknown_event_is_stored_and_nothing_else_happens(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    push = await person.does("brand_new_event")
    assert push.accepted
    assert person.seen == []
    (row,) = await rig.rows(Message)
    assert (row.kind, row.direction) == ("event", "in")


async def test_unfollowing_is_noted_and_following_again_too(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    await person.does("unsubscribe")
    assert [c.followed for c in await rig.rows(Contact)] == [False]
    await person.does("subscribe")
    assert [c.followed for c in await rig.rows(Contact)] == [True]


async def left(rig: Rig) -> quota.Left:
    (contact,) = await rig.rows(Contact)
    async with rig.shell.storage.read() as session:
        return await quota.quota_left(session, contact.id, rig.shell.clock())


async def test_five_messages_in_48_hours_and_the_composer_knows(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    assert (await left(rig)).left == 5
    for n in range(5):
        await rig.say(f"第{n}句")
    await rig.until(lambda: len(person.texts("custom")) == 5)
    await rig.settled(*["sent"] * 6)
    assert (await left(rig)).left == 0
    await rig.say("第六句")
    await rig.settled(*["sent"] * 6, "failed")
    assert platform.calls[-1][2] == 45047  # a human's words are tried whatever we counted
    assert await rig.tasks() == [("cannot_reach", "45047")]
    await person.says("我回来了")  # and are kept for the person's next message
    assert person.texts("passive")[-1] == "第六句\n\n收到：我回来了"
    assert (await left(rig)).left == 5


async def test_after_48_hours_the_window_is_closed(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    rig.clock_shift = timedelta(hours=49)
    person.window_until = 0
    assert (await left(rig)).left == 0
    await rig.say("你还好吗")
    await rig.settled("sent", "failed")
    assert await rig.tasks() == [("cannot_reach", "45015")]


async def test_the_bot_does_not_call_when_the_quota_is_spent(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    (contact,) = await rig.rows(Contact)
    for _ in range(5):
        await rig.shell.storage.write(lambda s: quota.spend(s, contact.id, rig.shell.clock()))
    await rig.say("机器人的话", lane=outbox.BOT)
    await rig.settled("sent", "failed")
    assert platform.calls == []


async def test_following_allows_three_within_a_minute(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.does("subscribe")
    (row,) = await rig.rows(Quota)
    assert (row.allowed, row.until - row.opened_at) == (3, timedelta(minutes=1))
    assert (await left(rig)).left == 3
    rig.clock_shift = timedelta(minutes=2)
    assert (await left(rig)).left == 0


@pytest.mark.parametrize("code", [40001, 42001, 40014])
async def test_a_refused_token_is_renewed_once_and_the_call_made_again(start: Start, code: int) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    await rig.say("一")
    await rig.until(lambda: len(person.texts("custom")) == 1)
    platform.revoke_token()
    if code != 40001:
        platform.faults.append(Fault(code=code))
    await rig.say("二")
    await rig.settled("sent", "sent", "sent")
    assert person.texts("custom") == ["一", "二"]
    assert platform.tokens_given == 2


async def test_a_token_refused_twice_is_not_hammered(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    platform.faults += [Fault(code=40001), Fault(code=40001)]
    await rig.say("一")
    await rig.until(lambda: not platform.faults)
    await rig.settled("sent", "pending")
    assert person.texts("custom") == []


async def test_one_token_is_shared_and_kept_sealed(start: Start) -> None:
    rig, platform = await start()
    persons = [platform.person() for _ in range(4)]
    await asyncio.gather(*(p.says("你好") for p in persons))
    assert isinstance(rig.channel, WechatChannel)
    other = wechat.make(rig.shell, rig.shell.settings.wechat[0])  # as another process would
    assert isinstance(other, WechatChannel)
    assert rig.channel._api is not None
    assert other._api is not None
    await asyncio.gather(
        *(api.send_text(p.openid, "好") for p in persons for api in (rig.channel._api, other._api))
    )
    await other.close()
    assert platform.tokens_given == 1
    async with rig.shell.storage.read() as session:
        row = await session.get_one(AccessToken, "wechat:default")
    assert platform._access_token.encode() not in row.token_sealed


# what WeChat does with the call -> state of the delivery, calls that reached the person, for the bot's and a human's words
FAULTS = [
    (Fault(status=500), "sent", 1),
    (Fault(code=-1), "sent", 1),
    (Fault(code=45015), "failed", 0),
    (Fault(code=45047), "failed", 0),
    (Fault(code=43004), "failed", 0),
    (Fault(code=45002), "failed", 0),
]


@pytest.mark.parametrize(("fault", "state", "reached"), FAULTS)
async def test_what_the_provider_refuses_is_tried_again_or_becomes_a_task(
    start: Start, fault: Fault, state: str, reached: int
) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    platform.faults.append(Fault(fault.code, fault.status))
    await rig.say("请回复")
    await rig.settled("sent", state, within=8)
    assert len(person.texts("custom")) == reached
    assert bool(await rig.tasks()) == (state == "failed")


async def test_after_a_timeout_the_bots_words_are_unknown_and_a_humans_are_said_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aiohttp

    from bot.channels.wechat import api

    monkeypatch.setattr(api, "_TIMEOUT", aiohttp.ClientTimeout(total=1))
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    platform.faults.append(Fault(seconds=1.5, served=True, status=500))
    await rig.say("机器人的话", lane=outbox.BOT)
    await rig.settled("sent", "unknown")
    platform.faults.append(Fault(seconds=1.5, served=True, status=500))
    await rig.say("人的话")
    await rig.settled("sent", "unknown", "sent", within=15)
    assert person.texts("custom") == ["机器人的话", "人的话", "人的话"]


async def test_no_error_and_no_log_shows_the_access_token(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    assert isinstance(rig.channel, WechatChannel)
    api = rig.channel._api
    assert api is not None
    await api.send_text(person.openid, "好")
    token = platform._access_token
    port = free_port()
    caplog.set_level(logging.DEBUG)
    failures: list[BaseException] = []
    with structlog.testing.capture_logs() as logs:
        for break_it in ("refused", "http", "junk"):
            if break_it == "refused":
                kept, api._base = api._base, f"http://127.0.0.1:{port}"
            else:
                api._base = kept
                platform.faults.append(Fault(status=404 if break_it == "http" else 502))
            try:
                await api.send_text(person.openid, "好")
            except Exception as error:
                failures.append(error)
    assert len(failures) == 3
    for failure in failures:
        chain: BaseException | None = failure
        while chain is not None:
            assert token not in repr(chain) + str(vars(chain))
            assert type(chain).__name__ == "SendFailed"
            chain = chain.__cause__ or chain.__context__
    assert token not in repr(logs) + caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"app_secret": None}, "app_secret"),
        ({"encoding_aes_key": None}, "缺少 encoding_aes_key"),
        ({"encoding_aes_key": "short"}, "43 个字符"),
    ],
)
async def test_settings_that_do_not_fit_stop_the_start(
    start: Start, change: dict[str, Any], words: str
) -> None:
    rig, _ = await start()
    account = rig.shell.settings.wechat[0].model_copy(
        update={k: SecretStrOrNone(v) for k, v in change.items()}
    )
    with pytest.raises(ConfigProblem, match=words):
        wechat.make(rig.shell, account)


def SecretStrOrNone(value: str | None) -> Any:
    from pydantic import SecretStr

    return None if value is None else SecretStr(value)


async def test_plain_mode_answers_in_plain(start: Start) -> None:
    _, platform = await start(plain_mode=True)
    person = platform.person()
    await person.says("你好")
    assert person.seen == [("passive", "收到：你好")]


async def test_a_counsellor_who_types_is_shown_and_nobody_else(start: Start) -> None:
    rig, platform = await start()
    person = platform.person()
    await person.says("你好")
    (conversation,) = await rig.rows(Conversation)

    async def claimed(session: Any) -> int:
        member = await staff.create(
            session,
            login="wang",
            name="王老师",
            role="counsellor",
            desk="000000",
            password_hash="x",
            now=rig.shell.clock(),
        )
        row = await session.get_one(Conversation, conversation.id)
        row.state, row.owner_id = "human", member.id
        return int(member.id)

    owner = await rig.shell.storage.write(claimed)
    rig.shell.outbox.types(conversation.id, owner + 1)
    await asyncio.sleep(0.3)
    assert not person.typing
    rig.clock_shift = timedelta(seconds=10)
    rig.shell.outbox.types(conversation.id, owner)
    await rig.until(lambda: person.typing)
    person.typing = False
    rig.shell.outbox.types(conversation.id, owner)  # every keystroke: now and then is enough
    await asyncio.sleep(0.3)
    assert not person.typing
