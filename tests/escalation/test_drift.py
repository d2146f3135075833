"""Week by week, from levels and counts alone: what the machine is unsure of, what rings, what was rung for nothing, what was missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, drift
from escalation.drift import Week
from escalation.ids import first_id, made_at, new_id
from escalation.tables import Case, Episode, Message, ReviewItem
from nlu.understanding import Risk
from tests.escalation.conftest import Desk

SHANGHAI = ZoneInfo("Asia/Shanghai")
MONDAY = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)  # 00:00 on 2 March in Shanghai
_number = count()


async def message(desk: Desk, talk: int, at: datetime, score: float | None) -> None:
    async def work(session: AsyncSession) -> None:
        session.add(
            Message(
                id=first_id(at) + next(_number),
                conversation_id=talk,
                direction="in",
                author="person",
                kind="text",
                state="answered",
                risk="none",
                risk_score=score,
                received_at=at,
            )
        )

    await desk.do(work)


async def closed_case(desk: Desk, talk: int, at: datetime, machine: Risk, assessed: Risk | None) -> None:
    async def work(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        session.add(
            Case(
                number=f"20260302-{next(_number)}",
                desk=row.desk,
                conversation_id=talk,
                person_id=row.person_id,
                state="closed",
                risk_machine=machine,
                risk_assessed=assessed,
                opened_at=at,
                closed_at=at,
            )
        )

    await desk.do(work)


async def watched(desk: Desk, now: datetime, weeks: int = 2) -> list[Week]:
    async with desk.storage.read() as session:
        return await drift.weeks(session, "000000", SHANGHAI, now, weeks)


def test_the_first_id_of_a_moment_parts_the_ids_made_before_and_after_it() -> None:
    row = new_id()
    made = made_at(row)
    assert first_id(made) <= row < first_id(made + timedelta(milliseconds=1))


async def test_scores_are_counted_in_the_week_of_the_desks_clock(desk: Desk) -> None:
    talk = await desk.conversation()
    for at, score in (
        (MONDAY - timedelta(seconds=1), 0.5),
        (MONDAY, 0.6),
        (MONDAY + timedelta(days=3), 0.1),
        (MONDAY + timedelta(days=7, seconds=-1), 0.9),
        (MONDAY + timedelta(days=1), None),  # an image: nothing was judged
    ):
        await message(desk, talk, at, score)
    before, week = await watched(desk, MONDAY + timedelta(days=6))
    assert (before.start, week.start) == (MONDAY - timedelta(weeks=1), MONDAY)
    assert (before.messages, before.unsure_share) == (1, 1.0)
    assert (week.messages, week.unsure) == (3, 1)
    assert week.confidence == pytest.approx((0.6 + 0.9 + 0.9) / 3)
    async with desk.storage.read() as session:
        (other,) = await drift.weeks(session, "330100", SHANGHAI, MONDAY + timedelta(days=6), 1)
    assert (other.messages, other.unsure_share, other.confidence) == (0, None, None)


async def test_false_alarms_and_missed_danger_are_what_counsellors_found(desk: Desk) -> None:
    talk = await desk.conversation()
    at = MONDAY + timedelta(days=1)
    for machine, assessed in (
        ("critical", "low"),
        ("high", "high"),
        ("high", None),
        ("low", "low"),
        ("none", "critical"),
        ("medium", "high"),
    ):
        await closed_case(desk, talk, at, machine, assessed)  # type: ignore[arg-type]

    async def beside(session: AsyncSession) -> None:
        row = await conversations.locked(session, talk)
        session.add(
            Episode(
                conversation_id=talk,
                person_id=row.person_id,
                level="high",
                kinds=[],
                opened_at=at,
                risen_at=at,
            )
        )
        for number, marked in ((1, 5), (2, None)):
            session.add(
                ReviewItem(
                    desk="000000",
                    person_id=row.person_id,
                    conversation_id=talk,
                    message_id=number,
                    reasons=["missed"],
                    weight=0,
                    state="open",
                    risk_machine="none",
                    marked_by=marked,
                    created_at=at,
                )
            )

    await desk.do(beside)
    *_, week = await watched(desk, at)
    assert (week.alarms, week.false_alarms, week.quiet, week.missed) == (2, 1, 3, 2)
    assert (week.episodes, week.marks, week.alert_rate, week.false_alarm_share) == (1, 1, None, 0.5)


def week(**given: int) -> Week:
    plain = {
        "messages": 500,
        "unsure": 25,
        "episodes": 5,
        "alarms": 20,
        "false_alarms": 4,
        "quiet": 50,
        "missed": 0,
        "marks": 0,
    }
    return Week(start=MONDAY, confidence=0.9, **plain | given)  # type: ignore[arg-type]


def test_the_last_whole_week_is_told_where_it_stands_out() -> None:
    usual = [week() for _ in range(4)]
    assert drift.unusual([*usual, week(), week(unsure=400)]) == []
    assert drift.unusual([*usual, week(unsure=60), week()]) == ["unsure"]
    assert drift.unusual([*usual, week(episodes=30), week()]) == ["alerts"]
    assert drift.unusual([*usual, week(false_alarms=9), week()]) == ["false_alarms"]
    assert drift.unusual([*usual, week(missed=1), week()]) == ["missed"]
    assert drift.unusual([*usual, week(messages=50, unsure=50), week()]) == []  # too few to say
    assert drift.unusual([week(unsure=400)] * 3) == []
