"""The journey of a message, station by station, on a real database."""

import asyncio

import pytest

from bot.audit import audit
from bot.desk_view import DeskNow
from bot.pipeline import Pipeline
from bot.queue.memory import MemoryQueue
from bot.tables import Delivery
from escalation import desk
from escalation.policy import Policy
from escalation.tables import Alert, Case, Conversation, Episode, Message, Staff
from tests.bot.core import BrainHere, Core


async def hire(c: Core) -> int:
    member = Staff(
        login="a",
        name="甲",
        role="counsellor",
        desk="000000",
        password_hash="x",
        created_at=c.now,
        active=True,
    )

    async def work(session):  # type: ignore[no-untyped-def]
        session.add(member)
        await session.flush()
        return member.id

    return await c.shell.storage.write(work)


async def test_a_question_is_answered_with_its_source(desk_core: Core) -> None:
    replies = await desk_core.says("老板拖欠我工资怎么办")
    assert "依据：《" in replies[0]
    (message,) = [m for m in await desk_core.all(Message) if m.direction == "in"]
    assert message.state == "answered"


async def test_danger_opens_one_episode_one_case_one_alert_and_goes_to_the_head_of_the_queue(
    desk_core: Core,
) -> None:
    replies = await desk_core.says("我在天台，不想活了")
    assert "120" in replies[0]
    await desk_core.says("真的不想活了，我要跳下去")
    await desk_core.says("没人在乎我")
    for table in (Episode, Case, Alert):
        assert len(await desk_core.all(table)) == 1
    conversation = await desk_core.conversation()
    assert (conversation.state, conversation.risk) == ("queued", "critical")
    assert any(n.what == "alert" for n in desk_core.news)
    assert {d.lane for d in await desk_core.all(Delivery)} == {0}


async def test_the_score_of_each_message_is_kept_for_the_watch_on_drift(desk_core: Core) -> None:
    await desk_core.says("老板拖欠我工资怎么办")
    await desk_core.says("我在天台，不想活了")
    harmless, danger = [m.risk_score for m in await desk_core.all(Message) if m.direction == "in"]
    assert 0 <= harmless < 0.5 < danger <= 1


async def test_a_redelivery_has_one_effect(desk_core: Core) -> None:
    first = await desk_core.receive("老板不发工资", provider_id="same")
    again = await desk_core.receive("老板不发工资", provider_id="same")
    assert (again.message_id, again.new) == (first.message_id, False)
    await asyncio.gather(*(desk_core.pipeline.handle([first.conversation_id]) for _ in range(3)))
    assert len(await desk_core.replies_to(first.message_id)) == 1


async def test_two_senders_may_carry_the_same_provider_id(desk_core: Core) -> None:
    one = await desk_core.receive("你好", "a", provider_id="1")
    two = await desk_core.receive("你好", "b", provider_id="1")
    assert one.new
    assert two.new
    assert one.conversation_id != two.conversation_id


async def test_many_requests_share_few_commits_and_all_are_stored(desk_core: Core) -> None:
    stored = await asyncio.gather(*(desk_core.receive(f"第{n}条", f"s{n % 20}") for n in range(300)))
    assert len({s.message_id for s in stored}) == 300
    assert len(await desk_core.all(Conversation)) == 20
    await desk_core.pipeline.handle(sorted({s.conversation_id for s in stored}))
    async with desk_core.shell.storage.read() as session:
        found = await audit(session)
    assert found.agree
    assert found.total_in == 300
    assert found.inbound["received"] == 0


async def test_messages_of_a_conversation_are_answered_in_order(desk_core: Core) -> None:
    stored = [await desk_core.receive(text) for text in ("你好", "老板不发工资怎么办", "人工")]
    await desk_core.pipeline.handle([stored[0].conversation_id])
    outgoing = [m for m in await desk_core.all(Message) if m.direction == "out"]
    order = [m.reply_to for m in outgoing]
    assert order == sorted(order)
    assert set(order) == {s.message_id for s in stored}


async def test_the_bot_is_silent_under_a_human_and_still_hears_danger(desk_core: Core) -> None:
    await desk_core.says("人工")
    conversation = await desk_core.conversation()
    staff_id = await hire(desk_core)
    await desk_core.shell.storage.write(
        lambda s: desk.claim(s, conversation.id, staff_id, desk_core.now, Policy())
    )
    assert await desk_core.says("老板不发工资怎么办") == []
    assert await desk_core.says("我不想活了，药已经准备好了") == []
    assert (await desk_core.conversation()).risk in ("high", "critical")
    (alert,) = await desk_core.all(Alert)
    assert alert.reason in ("risen", "episode")


async def test_failed_understanding_with_a_silent_lexicon_goes_to_a_human_with_numbers(
    desk_core: Core,
) -> None:
    (holding,) = await desk_core.says("FAIL 这是什么")
    assert "110" in holding
    assert (await desk_core.conversation()).state == "queued"


async def test_failed_understanding_still_hears_danger(desk_core: Core) -> None:
    replies = await desk_core.says("FAIL 我要跳楼，不想活了")
    assert "120" in replies[0]
    assert len(await desk_core.all(Alert)) == 1


async def test_three_failures_of_understanding_page_a_supervisor(desk_core: Core) -> None:
    for n in range(4):
        await desk_core.says("FAIL 嗯", f"s{n}")
    pages = [a for a in await desk_core.all(Alert) if a.reason == "understanding_down"]
    assert len(pages) == 1
    assert pages[0].rung == 2


async def test_failures_of_understanding_in_three_processes_are_three_failures(desk_core: Core) -> None:
    def elsewhere() -> Pipeline:
        desk = DeskNow(desk_core.shell.settings.desk)
        return Pipeline(desk_core.shell, MemoryQueue(), BrainHere(), Policy(), desk)  # type: ignore[arg-type]

    for n, pipeline in enumerate([elsewhere(), elsewhere(), elsewhere()]):
        assert not await desk_core.all(Alert)
        stored = await desk_core.receive("FAIL 嗯", f"s{n}")
        await pipeline.handle([stored.conversation_id])
    assert [a.reason for a in await desk_core.all(Alert)] == ["understanding_down"]


async def test_failures_of_understanding_long_apart_page_nobody(desk_core: Core) -> None:
    for n in range(4):
        await desk_core.says("FAIL 嗯", f"s{n}")
        desk_core.later(seconds=151)
    assert not [a for a in await desk_core.all(Alert) if a.reason == "understanding_down"]


async def test_what_no_machine_can_read_goes_to_a_human(desk_core: Core) -> None:
    (holding,) = await desk_core.says("", kind="image", unreadable=True)
    assert "咨询员" in holding
    conversation = await desk_core.conversation()
    assert (conversation.state, conversation.risk) == ("queued", "medium")


async def test_a_turn_that_cannot_be_carried_out_goes_to_a_human(
    desk_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault in a handler")

    monkeypatch.setattr("bot.pipeline.respond", broken)
    stored = await desk_core.receive("老板不发工资")
    for _ in range(3):
        await desk_core.pipeline.handle([stored.conversation_id])
    (message,) = [m for m in await desk_core.all(Message) if m.direction == "in"]
    assert message.state == "escalated"
    assert (await desk_core.conversation()).state == "queued"
    outgoing = [m for m in await desk_core.all(Message) if m.direction == "out"]
    assert len(outgoing) == 1


async def test_one_bad_conversation_harms_no_other_of_its_batch(
    desk_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handlers import respond

    def picky(turn, texts):  # type: ignore[no-untyped-def]
        if "坏" in turn.text:
            raise RuntimeError("a fault in a handler")
        return respond(turn, texts)

    monkeypatch.setattr("bot.pipeline.respond", picky)
    good = await desk_core.receive("你好", "good")
    bad = await desk_core.receive("坏", "bad")
    await desk_core.pipeline.handle([good.conversation_id, bad.conversation_id])
    states = {m.id: m.state for m in await desk_core.all(Message) if m.direction == "in"}
    assert states[good.message_id] == "answered"
    assert states[bad.message_id] == "received"


async def test_a_bare_number_chooses_a_title(desk_core: Core) -> None:
    await desk_core.receive("老板")
    conversation = await desk_core.conversation()
    await desk_core.pipeline.handle([conversation.id])
    from escalation import conversations

    async def offer(session):  # type: ignore[no-untyped-def]
        row = await conversations.locked(session, conversation.id)
        from escalation.people import key_of

        key = await key_of(session, desk_core.shell.vault, row.person_id)
        conversations.remember(key, row, {"choices": ["老板拖欠工资怎么办", "老板不签合同怎么办"]})

    await desk_core.shell.storage.write(offer)
    replies = await desk_core.says("1")
    assert desk_core.brain.asked[-1].text == "老板拖欠工资怎么办"
    assert replies


async def test_a_score_after_closing_is_kept_with_the_closed_conversation(desk_core: Core) -> None:
    from escalation.tables import Satisfaction

    await desk_core.says("你好")
    conversation = await desk_core.conversation()
    await desk_core.says("5", meta={"command": f"/rate {conversation.id} 5"})
    (kept,) = await desk_core.all(Satisfaction)
    assert (kept.conversation_id, kept.score) == (conversation.id, 5)


async def test_somebody_elses_conversation_cannot_be_rated(desk_core: Core) -> None:
    from escalation.tables import Satisfaction

    await desk_core.says("你好", "a")
    other = await desk_core.conversation()
    await desk_core.says("5", "b", meta={"command": f"/rate {other.id} 1"})
    assert await desk_core.all(Satisfaction) == []
