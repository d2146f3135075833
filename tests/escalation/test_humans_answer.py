"""Promise 6 and 首问负责: who has a conversation, who is responsible, and what if they vanish."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, episodes, roster
from escalation import desk as work
from escalation.tables import Case, Conversation, Record, Transfer
from tests.escalation.conftest import Desk


async def claim(desk: Desk, conversation: int, member: int) -> Conversation:
    return await desk.do(lambda s: work.claim(s, conversation, member, desk.now, desk.policy))


async def reply(desk: Desk, conversation: int, member: int) -> None:
    async def write(session: AsyncSession) -> None:
        await work.reply_written(session, await conversations.locked(session, conversation), member, desk.now)

    await desk.do(write)


async def vanished(desk: Desk) -> list[tuple[int, str]]:
    lost = await desk.do(lambda s: work.vanished(s, desk.now, desk.policy))
    return [(v.conversation.id, v.why) for v in lost]


async def in_talk(desk: Desk, member: int, level: str = "none") -> int:
    """A conversation that `member` has taken and answered."""
    conversation = await desk.conversation()
    if level != "none":
        await desk.danger(conversation, level)  # type: ignore[arg-type]
    else:
        await desk.queued(conversation)
    await claim(desk, conversation, member)
    await reply(desk, conversation, member)
    return conversation


# --- taking ---------------------------------------------------------------------------------------------------------


async def test_the_second_to_claim_is_told_who_was_first(desk: Desk) -> None:
    first, second = await desk.member(screen=True), await desk.member(screen=True)
    conversation = await desk.conversation()
    await desk.queued(conversation)
    await claim(desk, conversation, first)
    with pytest.raises(work.AlreadyTaken) as taken:
        await claim(desk, conversation, second)
    assert taken.value.owner_id == first
    again = await claim(desk, conversation, first)
    assert (again.owner_id, again.responder_id, again.state) == (first, first, "human")


async def test_only_the_owner_writes_to_the_person(desk: Desk) -> None:
    owner, other = await desk.member(screen=True), await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    with pytest.raises(work.NotAllowed, match="not_yours"):
        await reply(desk, conversation, other)


async def test_a_claim_makes_the_case_theirs(desk: Desk) -> None:
    owner = await desk.member(screen=True)
    conversation = await desk.conversation()
    case = (await desk.danger(conversation)).case
    await claim(desk, conversation, owner)
    row = await desk.row(Case, case.id)
    assert (row.owner_id, row.state) == (owner, "in_progress")


# --- handing to a colleague -----------------------------------------------------------------------------------------


async def offer(desk: Desk, conversation: int, owner: int, to: int) -> int:
    made = await desk.do(
        lambda s: work.transfer_offer(
            s, desk.vault, conversation, staff_id=owner, to=to, reason="法律问题", now=desk.now
        )
    )
    return made.id


async def test_the_first_responder_stays_responsible_until_the_other_accepts(desk: Desk) -> None:
    owner, other = await desk.member(screen=True), await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    transfer = await offer(desk, conversation, owner, other)
    row = await desk.get(conversation)
    assert (row.owner_id, row.responder_id) == (owner, owner)
    await reply(desk, conversation, owner)
    with pytest.raises(work.NotAllowed):
        await reply(desk, conversation, other)
    await desk.do(lambda s: work.transfer_accept(s, transfer, other, desk.now))
    row = await desk.get(conversation)
    assert (row.owner_id, row.responder_id, row.state) == (other, other, "human")
    with pytest.raises(work.NotAllowed):
        await reply(desk, conversation, owner)


async def test_a_declined_offer_changes_nothing(desk: Desk) -> None:
    owner, other = await desk.member(screen=True), await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    transfer = await offer(desk, conversation, owner, other)
    await desk.do(lambda s: work.transfer_decline(s, transfer, other, desk.now))
    assert (await desk.get(conversation)).owner_id == owner
    with pytest.raises(work.NotAllowed, match="no_offer"):
        await desk.do(lambda s: work.transfer_accept(s, transfer, other, desk.now))


async def test_only_the_one_who_was_asked_accepts_and_a_new_offer_replaces_the_old(desk: Desk) -> None:
    owner, other, third = [await desk.member(screen=True) for _ in range(3)]
    conversation = await in_talk(desk, owner)
    old = await offer(desk, conversation, owner, other)
    with pytest.raises(work.NotAllowed, match="no_offer"):
        await desk.do(lambda s: work.transfer_accept(s, old, third, desk.now))
    new = await offer(desk, conversation, owner, third)
    with pytest.raises(work.NotAllowed, match="no_offer"):
        await desk.do(lambda s: work.transfer_accept(s, old, other, desk.now))
    assert (await desk.do(lambda s: work.transfer_accept(s, new, third, desk.now))).owner_id == third


async def test_nothing_is_offered_to_somebody_who_cannot_answer_here(desk: Desk) -> None:
    owner = await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    for nobody in (
        owner,
        await desk.member("curator"),
        await desk.member("administrator"),
        await desk.member(desk="330000"),
        12345,
    ):
        with pytest.raises(work.NotAllowed, match="not_here"):
            await offer(desk, conversation, owner, nobody)


async def test_a_conversation_lost_meanwhile_cannot_be_accepted(desk: Desk) -> None:
    owner, other = await desk.member(), await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    transfer = await offer(desk, conversation, owner, other)
    await desk.writes(conversation)
    desk.later(seconds=61)
    assert await vanished(desk) == [(conversation, "screen")]
    assert (await desk.row(Transfer, transfer)).state == "withdrawn"
    with pytest.raises(work.NotAllowed, match="no_offer"):
        await desk.do(lambda s: work.transfer_accept(s, transfer, other, desk.now))


# --- handing back ---------------------------------------------------------------------------------------------------


async def test_handing_back_danger_rings_at_once(desk: Desk) -> None:
    owner, other = await desk.member(rung=0, screen=True), await desk.member(rung=0, screen=True)
    conversation = await in_talk(desk, owner, "high")
    assert await desk.climb() == []
    back = await desk.do(
        lambda s: work.hand_back(s, conversation, owner, desk.now, vault=desk.vault, reason="下班", to="bot")
    )
    assert back.state == "queued"
    (ring,) = await desk.climb()
    assert (ring.reason, ring.rung, set(ring.staff_ids)) == ("handed_back", 0, {owner, other})
    assert (await desk.get(conversation)).responder_id == owner


async def test_a_quiet_conversation_may_go_back_to_the_bot(desk: Desk) -> None:
    owner = await desk.member(screen=True)
    conversation = await in_talk(desk, owner)
    back = await desk.do(
        lambda s: work.hand_back(s, conversation, owner, desk.now, vault=desk.vault, to="bot")
    )
    assert (back.state, back.owner_id) == ("bot", None)
    assert await desk.climb() == []


# --- silence and closed screens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "seconds"), [("critical", 120), ("high", 300), ("none", 1800)])
async def test_silence_gives_it_back_after_the_promised_time(desk: Desk, level: str, seconds: int) -> None:
    owner = await desk.member(rung=0, screen=True)
    conversation = await in_talk(desk, owner, level)
    await desk.writes(conversation)
    desk.later(seconds=seconds - 1)
    await desk.keep_screens()
    assert await vanished(desk) == []
    desk.later(seconds=1)
    await desk.keep_screens()
    assert await vanished(desk) == [(conversation, "silence")]
    row = await desk.get(conversation)
    assert (row.state, row.owner_id, row.responder_id) == ("queued", None, owner)
    assert len(await desk.climb()) == (0 if level == "none" else 1)


async def test_nobody_is_lost_while_no_message_waits(desk: Desk) -> None:
    owner = await desk.member()
    await in_talk(desk, owner, "critical")
    desk.later(hours=3)
    assert await vanished(desk) == []


async def test_a_closed_workbench_gives_it_back_after_a_minute(desk: Desk) -> None:
    owner = await desk.member(rung=0)
    screen = await desk.screen(owner)
    conversation = await in_talk(desk, owner)
    await desk.writes(conversation)
    await desk.close_screen(screen)
    desk.later(seconds=59)
    assert await vanished(desk) == []
    desk.later(seconds=1)
    assert await vanished(desk) == [(conversation, "screen")]


async def test_a_workbench_that_comes_back_in_time_keeps_it(desk: Desk) -> None:
    owner = await desk.member(rung=0)
    screen = await desk.screen(owner)
    conversation = await in_talk(desk, owner)
    await desk.writes(conversation)
    await desk.close_screen(screen)
    desk.later(seconds=50)
    await desk.screen(owner)
    desk.later(seconds=55)
    assert await vanished(desk) == []


async def test_a_message_to_a_workbench_long_closed_goes_back_at_once(desk: Desk) -> None:
    owner = await desk.member(rung=0)
    screen = await desk.screen(owner)
    conversation = await in_talk(desk, owner)
    await desk.close_screen(screen)
    desk.later(minutes=20)
    await desk.writes(conversation)
    assert await vanished(desk) == [(conversation, "screen")]


async def test_whoever_takes_it_late_gets_the_full_time(desk: Desk) -> None:
    owner = await desk.member(screen=True)
    conversation = await desk.conversation()
    await desk.danger(conversation, "critical")
    desk.later(minutes=30)
    await desk.keep_screens()
    await claim(desk, conversation, owner)
    desk.later(seconds=119)
    await desk.keep_screens()
    assert await vanished(desk) == []


async def test_a_returned_conversation_goes_before_all_but_high_and_critical(desk: Desk) -> None:
    owner = await desk.member()
    lost = await in_talk(desk, owner)
    ranks = {}
    for level in ("critical", "high", "medium", "none"):
        other = await desk.conversation(risk=level)  # type: ignore[arg-type]
        await desk.queued(other)
        ranks[level] = (await desk.get(other)).queue_rank
    await desk.writes(lost)
    desk.later(minutes=31)
    await vanished(desk)
    returned = (await desk.get(lost)).queue_rank
    assert ranks["critical"] < ranks["high"] < returned < ranks["medium"] < ranks["none"]


async def test_losing_an_owner_is_on_record(desk: Desk) -> None:
    owner = await desk.member()
    conversation = await in_talk(desk, owner)
    await desk.writes(conversation)
    desk.later(minutes=31)
    await vanished(desk)
    acts = [(r.action, r.staff_id, r.why) for r in await desk.all(Record) if r.object_id == conversation]
    assert acts == [("claim", owner, ""), ("reply", owner, ""), ("owner_gone", None, "screen")]


async def test_after_the_alert_ended_a_vanished_owner_rings_the_same_alert_again(desk: Desk) -> None:
    owner = await desk.member(rung=0, screen=True)
    conversation = await in_talk(desk, owner, "critical")
    first = await desk.alert(conversation)
    await desk.writes(conversation)
    desk.later(seconds=120)
    await desk.keep_screens()
    await vanished(desk)
    (ring,) = await desk.climb()
    assert (ring.alert_id, ring.reason, ring.level) == (first.id, "owner_gone", "critical")


# --- risk rises under a human ---------------------------------------------------------------------------------------


async def test_a_rise_under_a_human_alarms_the_owner_and_a_supervisor(desk: Desk) -> None:
    owner = await desk.member(rung=0, screen=True)
    colleague = await desk.member(rung=0, screen=True)
    supervisor = await desk.member("supervisor", rung=2, screen=True)
    conversation = await in_talk(desk, owner)
    raised = await desk.danger(conversation, "high")
    assert raised.opened
    rung = {i for r in await desk.climb() for i in r.staff_ids}
    assert rung == {owner, supervisor}
    assert colleague not in rung
    row = await desk.get(conversation)
    assert (row.state, row.owner_id) == ("human", owner)


async def test_the_safety_text_falls_due_after_a_minute_once_unless_a_human_writes(desk: Desk) -> None:
    owner = await desk.member(rung=0, screen=True)
    silent, answered = await in_talk(desk, owner), await in_talk(desk, owner)
    for conversation in (silent, answered):
        await desk.danger(conversation, "high")
    desk.later(seconds=30)
    await reply(desk, answered, owner)
    assert await desk.do(lambda s: episodes.safety_due(s, desk.now)) == []
    desk.later(seconds=30)
    due = await desk.do(lambda s: episodes.safety_due(s, desk.now))
    assert [e.conversation_id for e in due] == [silent]
    assert await desk.do(lambda s: episodes.safety_due(s, desk.now)) == []


async def test_silence_after_a_rise_counts_from_the_rise(desk: Desk) -> None:
    owner = await desk.member(rung=0, screen=True)
    conversation = await in_talk(desk, owner)
    await desk.writes(conversation)
    desk.later(minutes=10)
    await desk.danger(conversation, "critical")
    await desk.keep_screens()
    desk.later(seconds=119)
    await desk.keep_screens()
    assert await vanished(desk) == []
    desk.later(seconds=1)
    assert await vanished(desk) == [(conversation, "silence")]


# --- who is there ---------------------------------------------------------------------------------------------------


async def test_who_is_there_is_what_a_person_is_told(desk: Desk) -> None:
    async def there() -> bool:
        return (await desk.do(lambda s: roster.on_duty(s, desk.now))).somebody_there

    await desk.member("supervisor")
    await desk.member("curator", screen=True)
    assert not await there()
    await desk.member(screen=True)
    assert await there()
    desk.later(seconds=61)
    assert not await there()


async def test_going_on_duty_twice_is_one_shift_and_another_rung_replaces_it(desk: Desk) -> None:
    member = await desk.member()
    for rung in (0, 0, 1):
        await desk.do(lambda s, rung=rung: roster.go_on_duty(s, member, rung=rung, now=desk.now))
        desk.later(minutes=1)
    duty = await desk.do(lambda s: roster.on_duty(s, desk.now))
    assert (duty.people(0), duty.people(1)) == ((), (member,))
    await desk.do(lambda s: roster.go_off_duty(s, member, now=desk.now))
    assert (await desk.do(lambda s: roster.on_duty(s, desk.now))).on_shift == frozenset()
