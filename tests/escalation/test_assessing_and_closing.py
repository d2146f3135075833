"""A counsellor's assessment counts, and a contact ends with category, risk, result and note on a versioned case."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import cases, conversations, episodes, rescue, safe_contact
from escalation import desk as work
from escalation.safe_contact import SafeContact
from escalation.tables import Case, Conversation, Episode
from tests.escalation.conftest import Desk


async def in_talk(desk: Desk, level: str = "none", *kinds: str) -> tuple[int, int]:
    """A conversation, and who has taken and answered it."""
    member = await desk.member(rung=0, screen=True)
    conversation = await desk.conversation()
    if level != "none":
        await desk.danger(conversation, level, *kinds)  # type: ignore[arg-type]
    await desk.do(lambda s: work.claim(s, conversation, member, desk.now, desk.policy))
    return conversation, member


async def assess(desk: Desk, conversation: int, member: int, level: str) -> None:
    async def write(session: AsyncSession) -> None:
        row = await conversations.locked(session, conversation)
        await episodes.assess(
            session,
            row,
            staff_id=member,
            level=level,
            now=desk.now,
            policy=desk.policy,  # type: ignore[arg-type]
        )

    await desk.do(write)


async def close(
    desk: Desk, conversation: int, member: int, *, version: int = 0, **more: object
) -> cases.Closed:
    given: dict[str, object] = {
        "category": "psychological.mood",
        "risk": "low",
        "result": "supported",
        **more,
    }
    return await desk.do(
        lambda s: cases.close(
            s,
            desk.vault,
            conversation,
            staff=member,
            version=version,
            now=desk.now,
            **given,  # type: ignore[arg-type]
        )
    )


async def version(desk: Desk, conversation: int) -> int:
    case_id = (await desk.get(conversation)).case_id
    return 0 if case_id is None else (await desk.row(Case, case_id)).version


# --- assessing ------------------------------------------------------------------------------------------------------


async def test_assessed_below_high_the_episode_and_its_alert_end(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "critical")
    await assess(desk, conversation, member, "medium")
    row, alert = await desk.get(conversation), await desk.alert(conversation)
    assert (row.risk, row.episode_id) == ("medium", None)
    assert (alert.state, alert.end_reason) == ("ended", "decision")
    case = await desk.row(Case, row.case_id)
    assert (case.risk_machine, case.risk_assessed, case.state) == ("critical", "medium", "in_progress")


async def test_new_evidence_above_the_assessment_alarms_again(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "critical")
    await assess(desk, conversation, member, "high")
    assert (await desk.get(conversation)).risk == "high"
    raised = await desk.danger(conversation, "critical")
    assert raised.risen
    assert (await desk.alert(conversation)).state == "ringing"


async def test_a_counsellor_can_see_danger_where_the_machine_did_not(desk: Desk) -> None:
    conversation, member = await in_talk(desk)
    await assess(desk, conversation, member, "high")
    row = await desk.get(conversation)
    assert row.episode_id is not None
    episode = await desk.row(Episode, row.episode_id)
    assert (episode.level, episode.assessed_level) == ("high", "high")
    # A human judged and is there: no safety text goes out over their head.
    desk.later(minutes=5)
    assert await desk.do(lambda s: episodes.safety_due(s, desk.now)) == []
    assert (await desk.row(Case, row.case_id)).risk_machine == "none"


# --- closing --------------------------------------------------------------------------------------------------------


async def test_a_closed_contact_has_result_note_and_no_alert(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "high")
    closed = await close(
        desk,
        conversation,
        member,
        version=await version(desk, conversation),
        note="已约明天再谈",
        risk="medium",
    )
    row, case = await desk.get(conversation), await desk.row(Case, closed.case.id)
    assert (row.state, row.risk, row.episode_id, row.case_id, row.waiting_since) == (
        "closed",
        "medium",
        None,
        None,
        None,
    )
    assert (case.state, case.result, case.category, case.risk_assessed, case.closed_by) == (
        "closed", "supported", "psychological.mood", "medium", member,
    )  # fmt: skip
    assert "已约".encode() not in case.note_sealed
    assert (await desk.alert(conversation)).state == "ended"
    assert (await desk.row(Episode, (await desk.all(Episode))[0].id)).end_reason == "closed"


async def test_every_contact_leaves_a_case(desk: Desk) -> None:
    conversation, member = await in_talk(desk)
    closed = await close(desk, conversation, member)
    assert closed.case.number.startswith("20260302-")


async def test_a_case_changed_meanwhile_is_not_closed_over(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "high")
    shown = await version(desk, conversation)
    await desk.danger(conversation, "critical")
    with pytest.raises(cases.VersionConflict) as conflict:
        await close(desk, conversation, member, version=shown)
    assert conflict.value.current == await version(desk, conversation) == shown + 1
    assert (await desk.get(conversation)).state == "human"


async def test_a_case_that_was_not_shown_is_not_closed(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "high")
    with pytest.raises(cases.VersionConflict):
        await close(desk, conversation, member, version=0)


async def test_a_message_not_yet_understood_keeps_it_open(desk: Desk) -> None:
    conversation, member = await in_talk(desk)
    await desk.writes(conversation, state="received")
    with pytest.raises(work.NotAllowed, match="new_message"):
        await close(desk, conversation, member)


async def test_danger_that_crosses_the_closing_opens_it_again(desk: Desk) -> None:
    conversation, member = await in_talk(desk)
    await close(desk, conversation, member)
    raised = await desk.danger(conversation, "critical")
    row = await desk.get(conversation)
    assert (row.state, row.closed_at, raised.opened) == ("queued", None, True)
    assert len(await desk.climb()) == 1


async def test_only_the_owner_or_a_supervisor_closes(desk: Desk) -> None:
    conversation, _ = await in_talk(desk)
    with pytest.raises(work.NotAllowed, match="not_yours"):
        await close(desk, conversation, await desk.member())
    supervisor = await desk.member("supervisor")
    assert (await close(desk, conversation, supervisor)).case.closed_by == supervisor


async def test_an_open_rescue_is_finished_first(desk: Desk) -> None:
    conversation, member = await in_talk(desk, "critical")
    await desk.do(
        lambda s: rescue.open_rescue(
            s,
            desk.vault,
            conversation,
            staff_id=member,
            place="天台",
            identity="",
            legal_basis="生命安全",
            now=desk.now,
        )
    )
    with pytest.raises(work.NotAllowed, match="rescue_open"):
        await close(desk, conversation, member, version=await version(desk, conversation))


async def test_an_unknown_result_is_refused(desk: Desk) -> None:
    conversation, member = await in_talk(desk)
    with pytest.raises(ValueError, match="result"):
        await close(desk, conversation, member, result="done")


# --- the satisfaction question --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "says", "asked"),
    [
        ("none", None, True),
        ("none", False, False),
        ("high", None, False),
        ("high", False, False),
        ("high", True, True),
    ],
)
async def test_after_a_crisis_it_goes_out_only_with_the_counsellors_yes(
    desk: Desk, level: str, says: bool | None, asked: bool
) -> None:
    conversation, member = await in_talk(desk, level)
    closed = await close(
        desk, conversation, member, version=await version(desk, conversation), ask_satisfaction=says
    )
    assert closed.ask_satisfaction is asked


async def test_after_harm_at_home_it_goes_out_only_to_who_said_how_to_be_reached(desk: Desk) -> None:
    silent, member = await in_talk(desk, "high", "domestic_abuse")
    closed = await close(desk, silent, member, version=await version(desk, silent), ask_satisfaction=True)
    assert not closed.ask_satisfaction
    asked, member = await in_talk(desk, "high", "domestic_abuse")
    person = (await desk.get(asked)).person_id
    said = SafeContact(how="在这里写", when="晚上九点以后")
    await desk.do(lambda s: safe_contact.record(s, desk.vault, person, said, staff_id=member, now=desk.now))
    closed = await close(desk, asked, member, version=await version(desk, asked), ask_satisfaction=True)
    assert closed.ask_satisfaction


async def test_case_numbers_are_drawn_and_never_given_twice(desk: Desk) -> None:
    async def draw(session: AsyncSession) -> set[str]:
        taken = set()
        for _ in range(60):
            row = await session.get_one(Conversation, conversation)
            row.case_id = None
            taken.add((await cases.open_for(session, row, "low", desk.now)).number)
        return taken

    conversation = await desk.conversation()
    numbers = await desk.do(draw)
    assert len(numbers) == 60
    counts = sorted(int(n.split("-")[1]) for n in numbers)
    assert counts[-1] - counts[0] > 60  # a running count would span no more
