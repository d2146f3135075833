"""Promise 4: what no machine could judge goes to a human, and rings if nobody opens it in ten minutes."""

from __future__ import annotations

import pytest

from escalation import alerts, records
from escalation.tables import Alert
from tests.escalation.conftest import Desk


async def waiting(desk: Desk, reason: str = "unreadable") -> int:
    conversation = await desk.conversation(risk="medium")
    await desk.queued(conversation, reason)
    return conversation


async def unread(desk: Desk) -> list[int]:
    started = await desk.do(lambda s: alerts.unreadable_waiting(s, desk.now, desk.policy))
    return [a.conversation_id for a in started]


@pytest.mark.parametrize("reason", ["unreadable", "understanding_failed", "turn_failed"])
async def test_it_rings_after_ten_minutes_once_with_a_case(desk: Desk, reason: str) -> None:
    await desk.member(rung=0, screen=True)
    conversation = await waiting(desk, reason)
    desk.later(seconds=599)
    assert await unread(desk) == []
    desk.later(seconds=1)
    assert await unread(desk) == [conversation]
    assert await unread(desk) == []
    await desk.keep_screens()
    (ring,) = await desk.climb()
    assert (ring.reason, ring.level, ring.rung) == ("unread", "medium", 0)
    assert ring.case_number.startswith("20260302-")


async def test_a_look_on_record_is_an_opening(desk: Desk) -> None:
    member = await desk.member()
    conversation = await waiting(desk)
    desk.later(minutes=5)

    async def look(session):  # type: ignore[no-untyped-def]
        records.write(session, member, "look", "conversation", conversation, desk.now, "queue")

    await desk.do(look)
    desk.later(minutes=10)
    assert await unread(desk) == []


async def test_a_look_before_the_message_came_is_none(desk: Desk) -> None:
    member = await desk.member()
    conversation = await desk.conversation(risk="medium")

    async def look(session):  # type: ignore[no-untyped-def]
        records.write(session, member, "look", "conversation", conversation, desk.now, "queue")

    await desk.do(look)
    desk.later(minutes=1)
    await desk.queued(conversation, "unreadable")
    desk.later(minutes=10)
    assert await unread(desk) == [conversation]


async def test_other_reasons_to_queue_do_not_ring(desk: Desk) -> None:
    conversation = await desk.conversation()
    await desk.queued(conversation, "asked")
    desk.later(minutes=20)
    assert await unread(desk) == []


async def test_danger_in_a_conversation_that_rings_as_unread_raises_the_same_alert(desk: Desk) -> None:
    await desk.member(rung=0, screen=True)
    conversation = await waiting(desk)
    desk.later(minutes=10)
    await unread(desk)
    raised = await desk.danger(conversation, "critical")
    alert = await desk.alert(conversation)
    assert (alert.id, alert.reason, alert.level, alert.episode_id) == (
        raised.alert.id, "episode", "critical", raised.episode.id,
    )  # fmt: skip


async def test_understanding_down_pages_a_supervisor_once_until_somebody_decides(desk: Desk) -> None:
    from escalation.conversations import locked

    supervisor = await desk.member("supervisor", rung=2, screen=True)
    await desk.member(rung=0, screen=True)
    conversation = await desk.conversation()

    async def down(session):  # type: ignore[no-untyped-def]
        return (await alerts.understanding_down(session, await locked(session, conversation), desk.now)).id

    first, second = await desk.do(down), await desk.do(down)
    assert first == second
    (ring,) = await desk.climb()
    assert (ring.rung, ring.staff_ids, ring.reason) == (2, (supervisor,), "understanding_down")
    # A reply to the person does not mend understanding.
    await desk.do(lambda s: alerts.human_replied(s, conversation, supervisor, desk.now))
    assert (await desk.row(Alert, first)).state == "ringing"
    await desk.do(
        lambda s: alerts.decide(s, desk.vault, first, staff_id=supervisor, decision="restored", now=desk.now)
    )
    assert (await desk.row(Alert, first)).state == "ended"
    assert await desk.do(down) != first
