"""An SMS provider, the webhook and real inbox, outbox and sender: both ways, receipts, refusals, fixed wording."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import structlog

from bot import outbox
from bot.channels import StorageUnavailable, sms
from bot.channels.sms import channel as sms_channel
from bot.outbox import Draft
from bot.settings import ConfigProblem, Settings, SmsAccount
from bot.tables import Delivery
from escalation.tables import Message
from tests.bot.rig import Answer, Rig, build
from tests.simulators.sms import Fault, SmsCentre

Start = Callable[..., Any]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack: AsyncExitStack, tmp_path: Any) -> Start:
    async def begin(*, auth: str = "hmac", form: bool = False, **more: Any) -> tuple[Rig, SmsCentre]:
        centre = SmsCentre(auth=auth, form=form)  # type: ignore[arg-type]
        url = await centre.start()
        stack.push_async_callback(centre.close)
        settings = {"signature": "倾听", **more}
        account = SmsAccount(secret=centre.secret, auth=auth, send_url=url, **settings)  # type: ignore[arg-type]
        rig = await build(
            stack, tmp_path, lambda shell: sms.make(shell, account), settings=Settings(sms=[account])
        )
        centre.webhook = f"{rig.url}/sms/default"
        return rig, centre

    return begin


@pytest.mark.parametrize(
    ("auth", "form"), [("hmac", False), ("hmac", True), ("token", False), ("token", True)]
)
async def test_a_message_is_answered_and_the_receipt_noted(start: Start, auth: str, form: bool) -> None:
    rig, centre = await start(auth=auth, form=form)
    telephone = centre.telephone()
    assert await telephone.says("你好") == [200]
    await rig.settled("delivered")
    assert telephone.texts == ["【倾听】收到：你好"]


async def test_a_repeat_has_no_second_effect(start: Start) -> None:
    rig, centre = await start()
    telephone = centre.telephone()
    for _ in range(3):
        assert await telephone.says("你好", message_id="7") == [200]
    await rig.settled("delivered")
    assert len(rig.heard) == 1
    assert len(telephone.texts) == 1


async def test_one_person_however_the_number_is_written(start: Start) -> None:
    rig, centre = await start()
    telephone = centre.telephone("19900000001")
    await telephone.says("一")
    await centre.push("", {"id": "x", "from": "+86 199 0000 0001", "text": "二"})
    await rig.until(lambda: len(telephone.texts) == 2)
    assert len({m.conversation_id for m in await rig.rows(Message)}) == 1


async def test_no_words_no_numbers_no_secrets_in_addresses_or_logs(start: Start) -> None:
    with structlog.testing.capture_logs() as logs:
        rig, centre = await start()
        telephone = centre.telephone()
        await telephone.says("很私密的话")
        await centre.push("", {"id": "", "from": telephone.number, "text": "很私密的话"}, tries=1)
        await rig.settled("delivered")
    assert centre.addresses == ["/send"]
    for secret in ("很私密", telephone.number, centre.secret):
        assert secret not in repr(logs)


async def test_stored_before_acknowledged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, centre = await start()
    receive, tries = rig.shell.inbox.receive, []

    async def fails_once(message: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise StorageUnavailable("locked")
        return await receive(message)

    monkeypatch.setattr(rig.shell.inbox, "receive", fails_once)
    assert await centre.telephone().says("听得到吗") == [503, 200]
    assert len(rig.heard) <= 1
    await rig.until(lambda: rig.heard)


async def test_refusals_harm_nobody_elses_message(start: Start) -> None:
    rig, centre = await start()
    good = b'{"id": "1", "from": "19900000001", "text": "x"}'
    json_type = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:

        async def status(body: Any, headers: dict[str, str]) -> int:
            async with session.post(centre.webhook, data=body, headers=headers) as response:
                return response.status

        assert await status(good, json_type) == 400
        assert await status(good, {**json_type, **centre.proof(b"other")}) == 403
        assert await status(good, {**json_type, **centre.proof(good, at=int(centre.clock()) - 90_000)}) == 403
        assert await status(b"{", {**json_type, **centre.proof(b"{")}) == 400
        assert await status(b"{}", {"Content-Type": "text/csv", **centre.proof(b"{}")}) == 415
        big = aiohttp.BytesIOPayload(__import__("io").BytesIO(bytes(10_000_000)))
        assert await status(big, json_type) == 413
    telephone = centre.telephone()
    assert await telephone.says("你好") == [200]
    await rig.until(lambda: telephone.texts)


async def test_a_stale_but_signed_message_is_taken_with_a_clock_warning(start: Start) -> None:
    rig, centre = await start()
    centre.clock = lambda: __import__("time").time() - 3600
    assert await centre.telephone().says("你好") == [200]
    await rig.until(lambda: rig.heard)
    assert ("clock_warning", "sms:default") in await rig.tasks()


async def test_a_dead_number_becomes_a_task(start: Start) -> None:
    rig, centre = await start()
    telephone = centre.telephone()
    telephone.dead = True
    await telephone.says("你好")
    await rig.settled("failed")
    assert await rig.tasks() == [("cannot_reach", "expired")]


# fault -> final state, what the person got, is there a task
FAULTS = [
    (Fault(status=500), "delivered", 1, False),
    (Fault(status=429, retry_after=1), "delivered", 1, False),
    (Fault(status=400, error="dead_number"), "failed", 0, True),
    (Fault(status=400, error="blocked"), "failed", 0, True),
    (Fault(status=400, error="odd"), "failed", 0, True),
]


@pytest.mark.parametrize(("fault", "state", "texts", "task"), FAULTS)
async def test_what_the_provider_refuses(
    start: Start, fault: Fault, state: str, texts: int, task: bool
) -> None:
    rig, centre = await start()
    centre.faults.append(fault)
    telephone = centre.telephone()
    await telephone.says("你好")
    await rig.settled(state, within=8)
    assert len(telephone.texts) == texts
    assert bool(await rig.tasks()) == task


async def test_after_a_timeout_a_humans_words_go_again_and_the_provider_knows_the_id(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sms_channel, "_TIMEOUT", aiohttp.ClientTimeout(total=1))
    rig, centre = await start()
    telephone = centre.telephone()
    centre.faults.append(Fault(seconds=1.5, served=True))
    await telephone.says("你好")
    await rig.settled("unknown")
    centre.faults.append(Fault(seconds=1.5, served=True))
    await rig.say("我在")
    await rig.settled("unknown", "delivered", within=15)
    assert telephone.texts == ["【倾听】收到：你好", "【倾听】我在"]


async def test_a_long_text_comes_in_several_messages(start: Start) -> None:
    rig, centre = await start(max_segments=2)
    long = "这是一句话。" * 60
    rig.answers = lambda heard: Answer([Draft(long)])
    telephone = centre.telephone()
    await telephone.says("长")
    await rig.until(lambda: sum(len(t) - 4 for t in telephone.texts) == len(long))
    assert all(taken.segments <= 2 for taken in centre.taken)
    assert len(telephone.texts) == 3
    await rig.settled("delivered")  # by the receipts of all three


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_one_lost_piece_of_a_long_text_is_a_lost_text(start: Start, lost: int) -> None:
    rig, centre = await start(max_segments=2)
    centre.receipts = False
    rig.answers = lambda heard: Answer([Draft("这是一句话。" * 60)])
    telephone = centre.telephone()
    await telephone.says("长")
    await rig.settled("sent")
    ids = [f"p-{taken.fields['id']}" for taken in centre.taken]
    assert len(ids) == 3
    for n, identifier in enumerate(ids):
        outcome = {"state": "failed", "code": "expired"} if n == lost else {"state": "delivered"}
        assert (await centre.push("/receipts", {"id": identifier, **outcome}))[-1] == 200
    await rig.settled("failed")
    assert await rig.tasks() == [("cannot_reach", "expired")]


async def test_after_a_failure_half_way_only_the_rest_of_a_long_text_is_sent(start: Start) -> None:
    rig, centre = await start(max_segments=2)
    long = "这是一句话。" * 60
    rig.answers = lambda heard: Answer([Draft(long)])
    telephone = centre.telephone()
    centre.faults += [Fault(served=True), Fault(status=500)]
    await telephone.says("长")
    await rig.settled("delivered", within=15)
    assert "".join(text.removeprefix("【倾听】") for text in telephone.texts) == long
    assert len(centre.refused) == 1
    assert len(centre.addresses) == 4  # three pieces, one of them twice


FIXED = {
    "fixed_wording": True,
    "signature": "",
    "templates": {"safety.suicide": "S1", "safety.suicide@3": "S3"},
}


@pytest.mark.parametrize(
    ("source", "sent", "state"),
    [
        ("safety.suicide@0", "登记的原文", "delivered"),
        ("safety.suicide@3", "登记的第三版", "delivered"),
        ("safety.suicide@2", None, "failed"),  # edited, and that wording is not registered
        ("greeting.hello@0", None, "failed"),
        ("", None, "failed"),  # a counsellor's own words
    ],
)
async def test_fixed_wording_sends_what_is_registered_and_fails_visibly_for_the_rest(
    start: Start, source: str, sent: str | None, state: str
) -> None:
    rig, centre = await start(**FIXED)
    centre.templates = {"S1": "登记的原文", "S3": "登记的第三版"}
    rig.answers = lambda heard: Answer([Draft("文字", template=source)], lane=outbox.CRISIS)
    telephone = centre.telephone()
    await telephone.says("救我")
    await rig.settled(state)
    assert telephone.texts == ([sent] if sent else [])
    assert await rig.tasks() == ([] if sent else [("unmapped_template", "unmapped_template")])
    (delivery,) = await rig.rows(Delivery)
    assert delivery.error == (None if sent else "unmapped_template")


async def test_choices_are_written_out(start: Start) -> None:
    from bot.channels import Button

    rig, centre = await start()
    safe = Draft("你现在安全吗？", [Button("安全", "/safe yes"), Button("不安全", "/safe no")])
    choice = Draft(
        "是哪一个？\n1. 拖欠工资\n2. 没签合同", [Button("拖欠工资", "拖欠工资"), Button("找人工", "/human")]
    )
    rig.answers = lambda heard: Answer([safe, choice])
    telephone = centre.telephone()
    await telephone.says("工资")
    await rig.until(lambda: len(telephone.texts) == 2)
    assert telephone.texts == [
        "【倾听】你现在安全吗？\n可回复：安全 / 不安全",
        "【倾听】是哪一个？\n1. 拖欠工资\n2. 没签合同\n可回复：找人工",
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"signature": "长" * 500}, "signature"),
        ({"flavour": "kannel"}, "kannel 时要写"),
    ],
)
async def test_settings_that_do_not_fit_stop_the_start(
    start: Start, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigProblem, match=words):
        await start(**more)
