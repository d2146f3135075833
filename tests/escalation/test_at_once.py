"""Many hands at once: pipeline, counsellors and ladders change the same conversations, and nothing is doubled or lost."""

from __future__ import annotations

import asyncio
import random

from sqlalchemy.ext.asyncio import AsyncSession

from escalation import alerts, conversations
from escalation import desk as work
from escalation.tables import Alert, Case, Episode, Person
from tests.escalation.conftest import Desk


async def test_of_ten_counsellors_one_gets_the_conversation(desk: Desk) -> None:
    members = [await desk.member(screen=True) for _ in range(10)]
    conversation = await desk.conversation()
    await desk.queued(conversation)
    tries = await asyncio.gather(
        *(desk.do(lambda s, m=m: work.claim(s, conversation, m, desk.now, desk.policy)) for m in members),
        return_exceptions=True,
    )
    got = [t for t in tries if not isinstance(t, BaseException)]
    assert len(got) == 1
    assert all(
        isinstance(t, work.AlreadyTaken) and t.owner_id == got[0].owner_id for t in tries if t is not got[0]
    )


async def test_one_new_address_met_by_many_is_one_person(desk: Desk) -> None:
    made = await asyncio.gather(*(desk.conversation(channel="sms", address="13800000009") for _ in range(12)))
    assert len(set(made)) == 12
    assert len(await desk.all(Person)) == 1


async def test_danger_claims_replies_and_ladders_at_once_leave_one_alert_an_episode(desk: Desk) -> None:
    rolls = random.Random(7)
    members = [await desk.member(rung=0, screen=True) for _ in range(3)]
    ids = [await desk.conversation() for _ in range(12)]

    async def claim_and_answer(conversation: int, member: int) -> None:
        async def answer(session: AsyncSession) -> None:
            row = await conversations.locked(session, conversation)
            await work.reply_written(session, row, member, desk.now)

        try:
            await desk.do(lambda s: work.claim(s, conversation, member, desk.now, desk.policy))
            await desk.do(answer)
        except (work.AlreadyTaken, work.NotAllowed):
            pass

    async def acknowledge_all(member: int) -> None:
        for alert in await desk.all(Alert):
            await desk.do(lambda s, a=alert: alerts.acknowledge(s, a.id, member, desk.now, desk.policy))

    jobs = [desk.danger(i, "high") for i in ids] + [desk.danger(i, "critical") for i in ids for _ in range(2)]
    jobs += [claim_and_answer(i, m) for i in ids[:8] for m in members]  # type: ignore[list-item]
    jobs += [desk.climb() for _ in range(10)]  # type: ignore[list-item]
    jobs += [acknowledge_all(m) for m in members]  # type: ignore[list-item]
    jobs += [desk.do(lambda s: work.vanished(s, desk.now, desk.policy)) for _ in range(5)]  # type: ignore[list-item]
    rolls.shuffle(jobs)
    await asyncio.gather(*jobs)

    episodes, rung, cases = await desk.all(Episode), await desk.all(Alert), await desk.all(Case)
    assert len(episodes) == len(rung) == len(cases) == len(ids)
    assert {e.level for e in episodes} == {"critical"}
    assert len({c.number for c in cases}) == len(ids)
    for conversation in ids:
        row, alert = await desk.get(conversation), await desk.alert(conversation)
        # Nobody has it and nothing rings: that must not be.
        assert row.state == "human" or alert.state != "ended"
