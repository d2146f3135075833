"""Promise 5: the alert climbs the duty ladder until a human acts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from escalation import alerts
from escalation import desk as work
from escalation.policy import Policy
from escalation.tables import AlertEvent
from tests.escalation.conftest import Desk

EVERYBODY = (0, 1, 2, 3)


async def staffed(desk: Desk) -> tuple[int, int, int]:
    return (
        await desk.member(rung=0, screen=True),
        await desk.member(rung=1, screen=True),
        await desk.member("supervisor", rung=2, screen=True),
    )


async def test_critical_climbs_a_rung_a_minute_and_then_rings_everybody_for_ever(desk: Desk) -> None:
    await staffed(desk)
    desk.policy = Policy(telephone=True)
    await desk.danger(await desk.conversation(), "critical")
    rung = await desk.rung_over(7.5)
    assert rung == [
        (0, (0,)),
        (1, (1,)),
        (2, (2,)),
        (3, (3,)),
        (4, EVERYBODY),
        (5, EVERYBODY),
        (6, EVERYBODY),
        (7, EVERYBODY),
    ]
    last = (await desk.rung_over(20, every=60))[-1]
    assert last[1] == EVERYBODY


async def test_high_climbs_a_rung_every_three_minutes(desk: Desk) -> None:
    await staffed(desk)
    desk.policy = Policy(telephone=True)
    await desk.danger(await desk.conversation(), "high")
    assert await desk.rung_over(13) == [(0, (0,)), (3, (1,)), (6, (2,)), (9, (3,)), (12, EVERYBODY)]


async def test_a_ring_names_case_number_level_and_ids_and_nothing_else(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    raised = await desk.danger(await desk.conversation(), "critical")
    (ring,) = await desk.climb()
    assert (ring.case_number, ring.level, ring.rung, ring.staff_ids, ring.means) == (
        raised.case.number, "critical", 0, (duty,), ("screen",),
    )  # fmt: skip


async def test_rungs_nobody_can_reach_are_skipped_at_once_and_on_record(desk: Desk) -> None:
    await desk.member(rung=0)  # on duty, workbench closed
    supervisor = await desk.member("supervisor", screen=True)
    await desk.danger(await desk.conversation(), "critical")
    (ring,) = await desk.climb()
    assert (ring.rung, ring.staff_ids) == (2, (supervisor,))
    skipped = [(e.rung, e.detail) for e in await desk.all(AlertEvent) if e.what == "skipped"]
    assert skipped == [(0, "unreachable"), (1, "nobody")]


async def test_a_webhook_reaches_a_rung_whose_workbenches_are_closed(desk: Desk) -> None:
    await desk.member(rung=0)
    desk.policy = Policy(webhooks={0: ("robot",), 1: ("robot",)})
    await desk.danger(await desk.conversation(), "critical")
    (ring,) = await desk.climb()
    assert (ring.rung, ring.means) == (0, ("webhook:robot",))
    # Nobody is on the roster as backup: a robot does not make somebody there.
    desk.later(seconds=60)
    (ring,) = await desk.climb()
    assert ring.rung == 3


async def test_a_desk_without_anybody_on_the_roster_still_rings_its_robots(desk: Desk) -> None:
    desk.policy = Policy(webhooks={0: ("robot",), 2: ("robot",)})
    await desk.danger(await desk.conversation(), "critical")
    (ring,) = await desk.climb()
    assert (ring.rung, ring.means) == (2, ("webhook:robot",))


async def test_with_nobody_on_duty_it_climbs_to_supervisor_and_telephone(desk: Desk) -> None:
    supervisor = await desk.member("supervisor")
    desk.policy = Policy(webhooks={2: ("robot",)}, telephone=True)
    await desk.danger(await desk.conversation(), "critical")
    (first,) = await desk.climb()
    desk.later(seconds=60)
    (second,) = await desk.climb()
    assert (first.rung, first.staff_ids, second.rung, second.means) == (2, (supervisor,), 3, ("telephone",))
    desk.later(seconds=60)
    assert [r.rung for r in await desk.climb()] == [2, 3]


async def test_without_a_telephone_a_banner_says_so_again_and_again(desk: Desk) -> None:
    await desk.danger(await desk.conversation(), "critical")
    for _ in range(3):
        (ring,) = await desk.climb()
        assert ring.means == ("banner",)
        desk.later(seconds=60)
    assert [what for what, _ in await desk.events()].count("fallback_missing") == 3


async def test_a_counsellor_at_an_open_workbench_is_rung_without_a_shift(desk: Desk) -> None:
    there = await desk.member(screen=True)
    await desk.danger(await desk.conversation(), "critical")
    (ring,) = await desk.climb()
    assert (ring.rung, ring.staff_ids) == (0, (there,))


@pytest.mark.parametrize(("level", "minutes"), [("critical", 2), ("high", 5)])
async def test_acknowledging_only_pauses(desk: Desk, level: str, minutes: int) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    await desk.danger(conversation, level)  # type: ignore[arg-type]
    await desk.climb()
    alert = await desk.alert(conversation)
    await desk.do(lambda s: alerts.acknowledge(s, alert.id, duty, desk.now, desk.policy))
    rung = await desk.rung_over(minutes + 0.5, every=10)
    assert rung == [(minutes, (1,))]
    assert ("resumed", None) in await desk.events()
    assert (await desk.alert(conversation)).state == "ringing"


async def test_acknowledging_again_does_not_lengthen_the_pause(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    await desk.danger(conversation, "critical")
    await desk.climb()
    alert = await desk.alert(conversation)
    await desk.do(lambda s: alerts.acknowledge(s, alert.id, duty, desk.now, desk.policy))
    due = (await desk.alert(conversation)).next_at
    desk.later(seconds=90)
    await desk.do(lambda s: alerts.acknowledge(s, alert.id, duty, desk.now, desk.policy))
    assert (await desk.alert(conversation)).next_at == due


async def test_a_claim_is_no_answer_and_only_a_reply_ends_it(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    await desk.danger(conversation, "critical")
    await desk.climb()
    await desk.do(lambda s: work.claim(s, conversation, duty, desk.now, desk.policy))
    assert (await desk.alert(conversation)).state == "paused"

    async def reply(session):  # type: ignore[no-untyped-def]
        await work.reply_written(session, await work.owned(session, conversation, duty), duty, desk.now)

    await desk.do(reply)
    ended = await desk.alert(conversation)
    assert (ended.state, ended.end_reason, ended.next_at) == ("ended", "human_reply", None)
    assert await desk.rung_over(3) == []


async def test_a_recorded_decision_ends_it_and_an_unknown_one_does_not(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    alert_id = (await desk.danger(conversation, "critical")).alert.id
    with pytest.raises(ValueError, match="decision"):
        await desk.do(
            lambda s: alerts.decide(s, desk.vault, alert_id, staff_id=duty, decision="fine", now=desk.now)
        )
    await desk.do(
        lambda s: alerts.decide(
            s, desk.vault, alert_id, staff_id=duty, decision="spoken", note="电话里说已经到家", now=desk.now
        )
    )
    ended = await desk.alert(conversation)
    assert (ended.state, ended.end_reason) == ("ended", "decision")
    assert ("ended", None) in await desk.events()


async def test_ten_messages_are_one_alert(desk: Desk) -> None:
    await staffed(desk)
    conversation = await desk.conversation()
    raised = [await desk.danger(conversation, "high") for _ in range(10)]
    assert {r.alert.id for r in raised} == {(await desk.alert(conversation)).id}
    assert [r.opened for r in raised] == [True] + [False] * 9
    assert await desk.rung_over(2) == [(0, (0,))]


async def test_a_rise_rings_at_once_everybody_rung_so_far(desk: Desk) -> None:
    await staffed(desk)
    conversation = await desk.conversation()
    await desk.danger(conversation, "high")
    await desk.rung_over(3.5)  # duty and backup were rung
    raised = await desk.danger(conversation, "critical")
    assert (raised.opened, raised.risen) == (False, True)
    assert [r.rung for r in await desk.climb()] == [0, 1]
    desk.later(seconds=60)
    await desk.keep_screens()
    assert [r.rung for r in await desk.climb()] == [2]
    assert (await desk.alert(conversation)).level == "critical"


async def test_a_rise_breaks_an_acknowledgement(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    alert_id = (await desk.danger(conversation, "high")).alert.id
    await desk.climb()
    await desk.do(lambda s: alerts.acknowledge(s, alert_id, duty, desk.now, desk.policy))
    await desk.danger(conversation, "critical")
    assert [r.rung for r in await desk.climb()] == [0]


async def test_new_danger_after_a_decision_rings_the_same_alert_again(desk: Desk) -> None:
    duty, *_ = await staffed(desk)
    conversation = await desk.conversation()
    alert_id = (await desk.danger(conversation, "high")).alert.id
    await desk.do(
        lambda s: alerts.decide(s, desk.vault, alert_id, staff_id=duty, decision="no_danger", now=desk.now)
    )
    raised = await desk.danger(conversation, "high")
    assert (raised.alert.id, raised.alert.state) == (alert_id, "ringing")
    assert [r.rung for r in await desk.climb()] == [0]


async def test_two_processes_turning_the_handle_at_once_ring_a_rung_once(desk: Desk) -> None:
    await staffed(desk)
    await desk.danger(await desk.conversation(), "critical")
    first = await desk.climb()
    second = await desk.climb()
    assert (len(first), second) == (1, [])


async def test_a_rung_where_nothing_got_through_is_not_waited_out(desk: Desk) -> None:
    await desk.member(rung=0)
    desk.policy = Policy(webhooks={0: ("robot",)}, telephone=True)
    await desk.danger(await desk.conversation(), "high")
    (ring,) = await desk.climb()
    await desk.do(lambda s: alerts.carried(s, ring, "webhook:robot", desk.now, error="timeout"))
    await desk.do(lambda s: alerts.unreached(s, ring, desk.now))
    assert [r.rung for r in await desk.climb()] == [3]


async def test_a_ring_lost_with_its_process_is_made_again_once(desk: Desk) -> None:
    await desk.member(rung=0)
    desk.policy = Policy(webhooks={0: ("robot",)})
    await desk.danger(await desk.conversation(), "high")
    (ring,) = await desk.climb()
    assert await desk.do(lambda s: alerts.unconfirmed(s, desk.now)) == []
    desk.later(seconds=31)
    (again,) = await desk.do(lambda s: alerts.unconfirmed(s, desk.now))
    assert (again.alert_id, again.means) == (ring.alert_id, ("webhook:robot",))
    await desk.do(lambda s: alerts.carried(s, again, "webhook:robot", desk.now))
    desk.later(seconds=31)
    assert await desk.do(lambda s: alerts.unconfirmed(s, desk.now)) == []


async def test_many_alerts_ring_critical_first(desk: Desk) -> None:
    await staffed(desk)
    await desk.danger(await desk.conversation(), "high")
    await desk.danger(await desk.conversation(), "critical")
    assert [r.level for r in await desk.climb()] == ["critical", "high"]


async def test_the_next_rung_never_waits_longer_than_the_promise(desk: Desk) -> None:
    for level, seconds in (("critical", 60), ("high", 180)):
        conversation = await desk.conversation()
        await desk.danger(conversation, level)  # type: ignore[arg-type]
        await desk.climb()
        assert (await desk.alert(conversation)).next_at == desk.now + timedelta(seconds=seconds)
