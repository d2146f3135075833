"""What counsellors judge otherwise than the machine becomes a sample: masked, sealed, on record, and gone with the person."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import cases, conversations, episodes, records, retention, review
from escalation import desk as work
from escalation.people import key_of
from escalation.review import Labels
from escalation.tables import Case, Conversation, Message, Person, ReviewItem
from nlu.understanding import Risk
from tests.escalation.conftest import Desk
from tests.escalation.test_erasure_and_retention import Days, approved, asked

WORDS = "我叫王小明，在第三中学，电话13800138000，我不想活了"
RIGHT = Labels("psychological", "high", ("suicide",), "psychological.crisis.suicide", "self")


async def judged(desk: Desk, talk: int, words: str, risk: Risk, category: str = "") -> int:
    """A message that the machine has read."""
    message = await desk.writes(talk, words)

    async def read(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        key = await key_of(session, desk.vault, row.person_id)
        said = {"topic": "other", "risk": risk, "kinds": [], "category": category, "about": "self"}
        sealed = key.seal(orjson.dumps(said).decode(), "message.understanding")
        await session.execute(
            update(Message).where(Message.id == message).values(risk=risk, understanding_sealed=sealed)
        )
        row.category = row.category or category

    await desk.do(read)
    return message


async def assess(desk: Desk, talk: int, level: Risk, staff: int) -> None:
    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        await episodes.assess(session, row, staff_id=staff, level=level, now=desk.now, policy=desk.policy)

    await desk.do(work)


async def mark(desk: Desk, talk: int, message: int, what: review.Mark | None, staff: int) -> None:
    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        await review.mark(session, row, message, what, staff_id=staff, now=desk.now)

    await desk.do(work)


async def close(desk: Desk, talk: int, staff: int, *, risk: Risk, category: str = "") -> None:
    await desk.do(lambda s: work.claim(s, talk, staff, desk.now, desk.policy))
    row = await desk.get(talk)
    shown = 0 if row.case_id is None else (await desk.row(Case, row.case_id)).version
    await desk.do(
        lambda s: cases.close(
            s, desk.vault, talk, staff=staff, category=category, risk=risk, result="supported", version=shown, now=desk.now
        )
    )  # fmt: skip


async def accept(desk: Desk, item: ReviewItem, **change: object) -> ReviewItem:
    curator = await desk.member("curator")
    given = {"text": "我不想活了", "history": [], "labels": RIGHT} | change
    return await desk.do(
        lambda s: review.accept(
            s, desk.vault, item.id, desk="000000", staff_id=curator, now=desk.now, **given  # type: ignore[arg-type]
        )
    )  # fmt: skip


async def a_sample(desk: Desk) -> tuple[int, ReviewItem]:
    """A conversation and the open item of its missed danger."""
    talk, staff = await desk.conversation(), await desk.member()
    message = await judged(desk, talk, WORDS, "low")
    await mark(desk, talk, message, "missed", staff)
    (item,) = await desk.all(ReviewItem)
    return talk, item


async def test_an_assessment_other_than_the_machines_becomes_a_sample_of_the_gravest_message(
    desk: Desk,
) -> None:
    talk, staff = await desk.conversation(), await desk.member()
    await judged(desk, talk, "你好", "none")
    gravest = await judged(desk, talk, "活着没意思", "medium")
    await judged(desk, talk, "嗯", "none")
    await assess(desk, talk, "medium", staff)
    assert await desk.all(ReviewItem) == []
    await assess(desk, talk, "high", staff)
    (item,) = await desk.all(ReviewItem)
    assert (item.message_id, item.reasons, item.state) == (gravest, ["risk"], "open")
    assert (item.risk_machine, item.risk_assessed, item.weight) == ("medium", "high", 0)
    await assess(desk, talk, "low", staff)
    (item,) = await desk.all(ReviewItem)
    assert (item.risk_assessed, item.weight) == ("low", 1)
    await assess(desk, talk, "medium", staff)  # the machine was right after all
    assert await desk.all(ReviewItem) == []


async def test_another_category_at_closing_becomes_a_sample_of_the_message_that_gave_it(desk: Desk) -> None:
    talk, staff = await desk.conversation(), await desk.member()
    await judged(desk, talk, "你好", "none")
    about = await judged(desk, talk, "押金不退", "none", "legal.housing.deposit")
    await judged(desk, talk, "一共三千，拖了我很久很久了", "none")
    await close(desk, talk, staff, risk="none", category="legal.labour.unpaid_wages")
    (item,) = await desk.all(ReviewItem)
    assert (item.message_id, item.reasons, item.weight) == (about, ["category"], 2)
    assert (item.category_machine, item.category_closed) == (
        "legal.housing.deposit",
        "legal.labour.unpaid_wages",
    )


async def test_closing_as_the_machine_judged_makes_no_sample(desk: Desk) -> None:
    talk, staff = await desk.conversation(), await desk.member()
    await judged(desk, talk, "押金不退", "none", "legal.housing.deposit")
    await close(desk, talk, staff, risk="none", category="legal.housing.deposit")
    assert await desk.all(ReviewItem) == []


async def test_a_marked_message_is_the_sample_and_the_assessment_goes_with_it(desk: Desk) -> None:
    talk, staff = await desk.conversation(), await desk.member()
    missed = await judged(desk, talk, "东西都准备好了", "none")
    await judged(desk, talk, "好烦", "low")
    await mark(desk, talk, missed, "missed", staff)
    await assess(desk, talk, "critical", staff)
    (item,) = await desk.all(ReviewItem)
    assert (item.message_id, item.reasons, item.risk_assessed) == (missed, ["missed", "risk"], "critical")
    async with desk.storage.read() as session:
        assert await review.marks(session, [missed]) == {missed: "missed"}
    await mark(desk, talk, missed, None, staff)
    (item,) = await desk.all(ReviewItem)
    assert item.reasons == ["risk"]
    with pytest.raises(review.NotAllowed, match="unknown"):
        await mark(desk, talk, 12345, "missed", staff)


async def test_a_curator_sees_the_words_only_masked_with_the_last_ones_before_them(desk: Desk) -> None:
    talk, staff = await desk.conversation(), await desk.member()
    for words in ("第一句", "第二句", "我住人民路12号", "第四句"):
        await judged(desk, talk, words, "none")
    message = await judged(desk, talk, WORDS, "low")
    await mark(desk, talk, message, "missed", staff)
    (item,) = await desk.all(ReviewItem)
    async with desk.storage.read() as session:
        sample = await review.opened(session, desk.vault, item)
    assert sample.text == "我叫［姓名］，在［学校］，电话［电话］，我不想活了"
    assert sample.history == ("第二句", "［地址］", "第四句")
    assert (sample.risk, sample.machine.risk) == ("high", "low")


async def test_what_was_accepted_is_sealed_masked_again_and_read_only_with_the_persons_key(
    desk: Desk,
) -> None:
    _, item = await a_sample(desk)
    await accept(desk, item, text="我不想活了，电话13800138000", history=["加QQ 12345678", "  "])
    (item,) = await desk.all(ReviewItem)
    assert item.state == "accepted"
    assert "不想活".encode() not in item.words_sealed
    async with desk.storage.read() as session:
        (taken,) = await review.accepted(session, desk.vault, "000000")
        assert await review.accepted(session, desk.vault, "330100") == []
    assert (taken.text, taken.history) == ("我不想活了，电话［电话］", ("加QQ ［账号］",))
    assert taken.labels == RIGHT
    await desk.do(lambda s: review.used(s, [item.id], "20260302-0200.npz", desk.now))
    async with desk.storage.read() as session:
        acts = [(r.action, r.why) for r in await records.of(session, "review_item", item.id)]
    assert set(acts) == {("review.train", "20260302-0200.npz"), ("review.accept", "")}


async def test_a_decision_is_taken_once_and_can_be_taken_back(desk: Desk) -> None:
    _, item = await a_sample(desk)
    await accept(desk, item)
    with pytest.raises(review.NotAllowed, match="decided"):
        await accept(desk, item)
    curator = await desk.member("curator")
    await desk.do(lambda s: review.reopen(s, item.id, desk="000000", staff_id=curator, now=desk.now))
    async with desk.storage.read() as session:
        assert await review.accepted(session, desk.vault, "000000") == []
    await desk.do(
        lambda s: review.reject(s, item.id, desk="000000", staff_id=curator, why="identifying", now=desk.now)
    )
    (item,) = await desk.all(ReviewItem)
    assert (item.state, item.words_sealed, item.reject_why) == ("rejected", None, "identifying")
    async with desk.storage.read() as session:
        assert await review.counts(session, "000000") == {"open": 0, "accepted": 0, "rejected": 1}


async def test_danger_needs_a_kind_and_a_sample_needs_words(desk: Desk) -> None:
    _, item = await a_sample(desk)
    with pytest.raises(review.NotAllowed, match="kinds"):
        await accept(desk, item, labels=Labels("safety", "high", (), "safety.danger.violence", "self"))
    with pytest.raises(review.NotAllowed, match="empty"):
        await accept(desk, item, text="  ")


async def test_erasing_the_person_removes_the_sample(desk: Desk) -> None:
    talk, item = await a_sample(desk)
    await accept(desk, item)
    staff = await desk.member()
    await close(desk, talk, staff, risk="low")
    _, request = await asked(desk, talk)
    assert (await approved(desk, request)).state == "done"
    assert await desk.all(ReviewItem) == []
    async with desk.storage.read() as session:
        assert await review.accepted(session, desk.vault, "000000") == []


async def test_a_sample_whose_key_is_gone_is_not_taken(desk: Desk) -> None:
    _, item = await a_sample(desk)
    await accept(desk, item)
    await desk.do(lambda s: s.execute(update(Person).values(data_key=None)))
    async with desk.storage.read() as session:
        assert await review.accepted(session, desk.vault, "000000") == []
        with pytest.raises(review.NotAllowed, match="gone"):
            await review.opened(session, desk.vault, item)


async def test_a_sample_ends_with_the_words_of_its_conversation(desk: Desk) -> None:
    talk, item = await a_sample(desk)
    await accept(desk, item)
    await close(desk, talk, await desk.member(), risk="low")
    desk.later(days=Days.message_words - 1)
    await desk.do(lambda s: retention.expire(s, Days(), desk.now))
    assert len(await desk.all(ReviewItem)) == 1
    desk.later(days=2)
    await desk.do(lambda s: retention.expire(s, Days(), desk.now))
    assert await desk.all(ReviewItem) == []
    assert len(await desk.all(Conversation)) == 1


async def test_the_list_begins_with_missed_danger_and_goes_on_after_the_last_one_seen(desk: Desk) -> None:
    staff = await desk.member()
    wanted = []
    for level, found in (("low", "none"), ("high", "low"), ("medium", "low"), ("critical", "none")):
        talk = await desk.conversation()
        await judged(desk, talk, "说的话", found)  # type: ignore[arg-type]
        await assess(desk, talk, level, staff)  # type: ignore[arg-type]
        wanted.append(level)
        desk.now += timedelta(seconds=1)
    async with desk.storage.read() as session:
        rows = await review.listed(session, "000000", "open")
        rest = await review.listed(session, "000000", "open", after=rows[1].id)
    assert [row.risk_assessed for row in rows] == ["high", "critical", "low", "medium"]
    assert [row.id for row in rest] == [row.id for row in rows[2:]]
