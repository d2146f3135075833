"""Questions to watch over: sealed per person, masked when shown, gone with the person and with their words' time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from bot import erasing
from bot.storage import Storage
from escalation import erasure
from escalation.privacy import Unreadable
from escalation.tables import Message, Person
from knowledge import questions
from knowledge.tables import KnowledgeQuestion
from tests.escalation.conftest import Desk

WORDS = "我叫王小明，老板不让喝水"


@pytest.fixture
def desk(storage: Storage) -> Desk:
    return Desk(storage)


async def save(
    desk: Desk, text: str = WORDS, *, of: int | None = None, entry: str | None = "labour.water"
) -> None:
    await desk.do(
        lambda s: questions.save(s, desk.vault, text, entry, staff_id=7, now=desk.now, conversation_id=of)
    )


async def kept(desk: Desk) -> list[questions.Watched]:
    async with desk.storage.read() as session:
        return await questions.saved(session, desk.vault)


async def test_a_question_from_a_conversation_is_kept_masked_under_that_persons_key(desk: Desk) -> None:
    talk = await desk.conversation()
    await save(desk, of=talk)
    (row,) = await desk.all(KnowledgeQuestion)
    person = (await desk.get(talk)).person_id
    assert row.person_id == person
    with pytest.raises(Unreadable):
        desk.vault.desk.open(row.text_sealed, "knowledge_question.text")
    (one,) = await kept(desk)
    assert (one.text, one.entry_id) == ("我叫［姓名］，老板不让喝水", "labour.water")


async def test_it_is_gone_with_the_person(desk: Desk) -> None:
    talk = await desk.conversation(state="closed")
    await save(desk, of=talk)
    await save(desk, "上班能喝水吗")
    person = (await desk.get(talk)).person_id
    made = await desk.do(
        lambda s: erasure.request(s, person_id=person, staff_id=7, verified_how="in_person", now=desk.now)
    )
    await desk.do(lambda s: erasing.approve(s, desk.vault, made.id, staff_id=8, now=desk.now))
    assert [one.text for one in await kept(desk)] == ["上班能喝水吗"]
    assert len(await desk.all(KnowledgeQuestion)) == 1


async def test_it_is_gone_with_the_words_of_its_conversation(desk: Desk) -> None:
    talk, other = await desk.conversation(), await desk.conversation()
    for one in (talk, other):
        await desk.writes(one, WORDS)
        await save(desk, of=one)
    await save(desk, "上班能喝水吗")
    await desk.do(
        lambda s: s.execute(update(Message).where(Message.conversation_id == talk).values(text_sealed=None))
    )
    assert await desk.do(questions.expire) == 1
    assert {row.conversation_id for row in await desk.all(KnowledgeQuestion)} == {other, None}


async def test_one_whose_key_is_gone_is_left_out(desk: Desk) -> None:
    talk = await desk.conversation()
    await save(desk, of=talk)
    await desk.do(lambda s: s.execute(update(Person).values(data_key=None)))
    assert await kept(desk) == []


async def test_lately_asked_is_what_is_no_danger_and_no_story_each_wording_once_and_masked(
    desk: Desk,
) -> None:
    talk = await desk.conversation()
    for words, risk in (
        (WORDS, "none"),
        (WORDS, "none"),
        ("我不想活了", "high"),
        ("说来话长" * 101, "low"),
        ("押金不退", "low"),
    ):
        message = await desk.writes(talk, words)

        async def judged(session: AsyncSession, message: int = message, risk: str = risk) -> None:
            await session.execute(update(Message).where(Message.id == message).values(risk=risk))

        await desk.do(judged)
    async with desk.storage.read() as session:
        before, after = desk.now - timedelta(days=1), desk.now + timedelta(days=1)
        found = await questions.recent(session, desk.vault, "000000", since=before)
        assert await questions.recent(session, desk.vault, "000000", since=after) == []
        assert await questions.recent(session, desk.vault, "999999", since=before) == []
    assert [one.masked for one in found] == ["押金不退", "我叫［姓名］，老板不让喝水"]
    assert [one.text for one in found] == ["押金不退", WORDS]
    assert all(one.message_id and one.saved is None for one in found)
