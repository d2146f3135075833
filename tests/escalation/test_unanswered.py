"""未答问题: what becomes one and what never does, what a curator sees of it, and that it ends with the words and the person."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, erasure, retention, unanswered
from escalation.people import key_of
from escalation.tables import Conversation, Message, Person, Record, Unanswered
from escalation.unanswered import NotAllowed
from nlu.understanding import Kind, Risk, Topic, Understanding
from tests.escalation.conftest import Desk
from tests.escalation.test_erasure_and_retention import Days

QUESTION = "我叫王小明，电话13800138000，食堂能带外卖吗"


def understood(
    risk: Risk = "none", topic: Topic = "other", kinds: tuple[Kind, ...] = (), category: str = ""
) -> Understanding:
    return Understanding(topic=topic, risk=risk, risk_score=0.1, kinds=kinds, category=category)


async def nothing_said(
    desk: Desk, talk: int, words: str = QUESTION, meant: Understanding | None = None
) -> int:
    """The person writes, and the bot has nothing to say."""
    message = await desk.writes(talk, words)
    meant = meant or understood()

    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        key = await key_of(session, desk.vault, row.person_id)
        sealed = key.seal(orjson.dumps(meant).decode(), "message.understanding")
        await session.execute(
            update(Message).where(Message.id == message).values(risk=meant.risk, understanding_sealed=sealed)
        )
        unanswered.got_no_answer(session, row, message, words, meant, desk.now)

    await desk.do(work)
    return message


async def not_helped(desk: Desk, talk: int, message: int, entry_id: str = "school.food") -> None:
    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        key = await key_of(session, desk.vault, row.person_id)
        await unanswered.did_not_help(session, key, row, message, entry_id)

    await desk.do(work)


async def counsellor_says(desk: Desk, talk: int, words: str) -> int:
    """A counsellor's words, sent."""

    async def work(session: AsyncSession) -> int:
        row = await conversations.locked(session, talk)
        key = await key_of(session, desk.vault, row.person_id)
        reply = Message(
            conversation_id=row.id,
            direction="out",
            author="staff",
            kind="text",
            text_sealed=key.seal(words, "message.text"),
            state="answered",
            received_at=desk.now,
        )
        session.add(reply)
        await session.flush()
        await unanswered.human_answered(session, desk.vault, row, reply)
        return reply.id

    return await desk.do(work)


async def questions(desk: Desk) -> list[unanswered.Question]:
    return await desk.do(lambda s: unanswered.questions(s, desk.vault, "000000"))


async def shown(desk: Desk, *items: Unanswered) -> list[unanswered.Example]:
    return await desk.do(lambda s: unanswered.examples(s, desk.vault, items, replies=True))


async def counts(desk: Desk) -> dict[str, int]:
    return await desk.do(lambda s: unanswered.counts(s, "000000"))


async def test_a_question_without_an_answer_is_shown_with_identifying_details_masked(desk: Desk) -> None:
    talk = await desk.conversation()
    message = await nothing_said(desk, talk, meant=understood(category="legal.school.rights"))
    (item,) = await desk.all(Unanswered)
    assert (item.message_id, item.reasons, item.state) == (message, ["nothing"], "open")
    assert (item.category, item.at) == ("legal.school.rights", desk.now)
    (example,) = await shown(desk, item)
    assert example.text == "我叫［姓名］，电话［电话］，食堂能带外卖吗"


async def test_what_the_desk_knows_of_the_person_is_masked_too(desk: Desk) -> None:
    talk = await desk.conversation(address="little-fish-07")

    async def name(session: AsyncSession) -> None:
        row = await session.get_one(Conversation, talk)
        person = await session.get_one(Person, row.person_id)
        key = desk.vault.person_key(person.data_key)
        person.alias_sealed = key.seal("小鱼儿", "person.alias")

    await desk.do(name)
    await nothing_said(desk, talk, "小鱼儿想问，little-fish-07 能改吗")
    (example,) = await shown(desk, *(await desk.all(Unanswered)))
    assert example.text == "［姓名］想问，［姓名］ 能改吗"


@pytest.mark.parametrize(
    "meant",
    [
        understood("medium"),
        understood("high", "psychological", ("suicide",)),
        understood("low", kinds=("bullying",)),
        understood(topic="safety"),
        understood(category="psychological.crisis.self_harm"),
        understood(category="safety.abuse.domestic"),
        understood(category="legal.protection.sexual_offence"),
    ],
)
async def test_nothing_of_danger_ever_becomes_one(desk: Desk, meant: Understanding) -> None:
    talk = await desk.conversation()
    message = await nothing_said(desk, talk, meant=meant)
    await not_helped(desk, talk, message)
    await counsellor_says(desk, talk, "可以的")
    assert await desk.all(Unanswered) == []


@pytest.mark.parametrize("level", ["medium", "high"])
async def test_nothing_of_a_conversation_in_danger_becomes_one(desk: Desk, level: Risk) -> None:
    talk = await desk.conversation(risk=level)
    message = await nothing_said(desk, talk)
    await not_helped(desk, talk, message)
    await counsellor_says(desk, talk, "可以的")
    assert await desk.all(Unanswered) == []


@pytest.mark.parametrize("words", ["嗯嗯", "？", "长" * 401])
async def test_what_says_nothing_and_what_is_a_story_are_passed_over(desk: Desk, words: str) -> None:
    await nothing_said(desk, await desk.conversation(), words)
    assert await desk.all(Unanswered) == []


async def test_an_answer_that_did_not_help_is_kept_with_its_entry(desk: Desk) -> None:
    talk = await desk.conversation()
    message = await nothing_said(desk, talk)
    await not_helped(desk, talk, message)
    await not_helped(desk, talk, message)
    (item,) = await desk.all(Unanswered)
    assert (item.reasons, item.answered_by) == (["nothing", "not_helped"], "school.food")


async def test_nobody_says_of_anothers_message_that_it_was_not_answered(desk: Desk) -> None:
    talk, other = await desk.conversation(), await desk.conversation()
    message = await desk.writes(talk, QUESTION)
    await not_helped(desk, other, message)
    assert await desk.all(Unanswered) == []


async def test_a_counsellors_own_answer_keeps_question_and_answer_together(desk: Desk) -> None:
    talk = await desk.conversation()
    for words in ("你好", "食堂能带外卖吗", "谢谢老师"):
        await judged(desk, talk, words)
    reply = await counsellor_says(desk, talk, "可以的，王小明同学，先问班主任")
    await judged(desk, talk, "好的明白了")
    await counsellor_says(desk, talk, "不客气")
    (item,) = await desk.all(Unanswered)
    assert (item.reasons, item.reply_id) == (["human"], reply)
    (example,) = await shown(desk, item)
    assert example.text == "食堂能带外卖吗"
    assert example.reply == "可以的，［姓名］同学，先问班主任"


async def judged(desk: Desk, talk: int, words: str) -> int:
    """A message that the machine read while a human had the conversation."""
    message = await desk.writes(talk, words)

    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        key = await key_of(session, desk.vault, row.person_id)
        sealed = key.seal(orjson.dumps(understood()).decode(), "message.understanding")
        await session.execute(
            update(Message).where(Message.id == message).values(risk="none", understanding_sealed=sealed)
        )

    await desk.do(work)
    return message


async def test_a_message_that_no_machine_judged_is_not_kept(desk: Desk) -> None:
    talk = await desk.conversation()
    await desk.writes(talk, "食堂能带外卖吗")
    await counsellor_says(desk, talk, "可以")
    assert await desk.all(Unanswered) == []


async def test_items_are_taken_dismissed_and_reopened_each_on_record(desk: Desk) -> None:
    talk, kong = await desk.conversation(), await desk.member("curator")
    for number in range(3):
        await nothing_said(desk, talk, f"第{number}个问题怎么办")
    first, second, third = [item.id for item in await desk.all(Unanswered)]
    by: dict[str, Any] = {"desk": "000000", "staff_id": kong, "now": desk.now}
    await desk.do(lambda s: unanswered.take(s, [first, second], "school.food", **by))
    await desk.do(lambda s: unanswered.dismiss(s, [third], "not_ours", **by))
    assert await counts(desk) == {"open": 0, "taken": 2, "dismissed": 1, "gone": 0}
    for done in ([first], [first, third]):
        with pytest.raises(NotAllowed, match="decided"):
            await desk.do(lambda s, done=done: unanswered.dismiss(s, done, "other", **by))  # type: ignore[misc]
    await desk.do(lambda s: unanswered.reopen(s, [first, third], **by))
    assert await counts(desk) == {"open": 2, "taken": 1, "dismissed": 0, "gone": 0}
    with pytest.raises(NotAllowed, match="open"):
        await desk.do(lambda s: unanswered.reopen(s, [first], **by))
    acts = [(r.action, r.object_id, r.why) for r in await desk.all(Record) if r.object == "unanswered"]
    assert acts == [
        ("unanswered.take", first, "school.food"),
        ("unanswered.take", second, "school.food"),
        ("unanswered.dismiss", third, "not_ours"),
        ("unanswered.reopen", first, ""),
        ("unanswered.reopen", third, ""),
    ]


async def test_another_desks_items_are_not_there(desk: Desk) -> None:
    talk = await desk.conversation()
    await nothing_said(desk, talk)
    (item,) = await desk.all(Unanswered)
    by: dict[str, Any] = {"desk": "330100", "staff_id": 1, "now": desk.now}
    assert await desk.do(lambda s: unanswered.questions(s, desk.vault, "330100")) == []
    with pytest.raises(NotAllowed, match="unknown"):
        await desk.do(lambda s: unanswered.take(s, [item.id], "a.b", **by))


async def test_only_the_newest_are_looked_through(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unanswered, "NEWEST", 2)
    talk = await desk.conversation()
    for number in range(3):
        await nothing_said(desk, talk, f"第{number}个问题怎么办")
    assert [q.text for q in await questions(desk)] == ["第2个问题怎么办", "第1个问题怎么办"]


async def test_with_the_person_goes_what_leads_to_them_and_the_count_stays(desk: Desk) -> None:
    talk = await desk.conversation()
    await nothing_said(desk, talk)
    one, two = await desk.member("supervisor"), await desk.member("supervisor")
    row = await desk.get(talk)

    async def erase(session: AsyncSession) -> None:
        asked = await erasure.request(
            session, person_id=row.person_id, staff_id=one, verified_how="in_person", now=desk.now
        )
        await erasure.approve(session, desk.vault, asked.id, staff_id=two, now=desk.now)

    await desk.do(erase)
    (item,) = await desk.all(Unanswered)
    assert (item.person_id, item.conversation_id, item.message_id, item.reply_id) == (None, None, None, None)
    assert await questions(desk) == []
    assert await shown(desk, item) == []
    assert await counts(desk) == {"open": 0, "taken": 0, "dismissed": 0, "gone": 1}


async def test_an_item_ends_with_the_words_and_its_count_with_the_records(desk: Desk) -> None:
    talk = await desk.conversation()
    await nothing_said(desk, talk)
    asked = desk.now

    async def close(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        row.state, row.closed_at = "closed", desk.now

    async def end() -> None:
        while any((await desk.do(lambda s: retention.expire(s, Days(), desk.now))).values()):
            pass

    await desk.do(close)
    desk.later(days=729)
    await end()
    assert len(await questions(desk)) == 1
    desk.later(days=2)
    await end()
    (item,) = await desk.all(Unanswered)
    assert (item.message_id, item.person_id, item.at) == (None, None, asked)
    desk.later(days=1100)
    await end()
    assert await desk.all(Unanswered) == []


async def test_an_item_holds_no_words(desk: Desk) -> None:
    talk = await desk.conversation()
    await nothing_said(desk, talk)
    (item,) = await desk.all(Unanswered)
    values = [str(getattr(item, column.name)) for column in Unanswered.__table__.columns]
    assert not [value for value in values if "外卖" in value or "王小明" in value]
    assert not any(isinstance(getattr(item, c.name), bytes) for c in Unanswered.__table__.columns)
