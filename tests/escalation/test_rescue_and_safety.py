"""紧急救援, safe contact and nuisance marks: what only people decide, and what stays on record."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, nuisance, people, records, rescue, safe_contact
from escalation.people import key_of
from escalation.privacy import Unreadable
from escalation.safe_contact import SafeContact
from escalation.tables import Contact, Conversation, Nuisance, Record, Rescue, RescueNotice, Task
from tests.escalation.conftest import Desk

BASIS = "生命安全紧急情况"


async def opened(desk: Desk, *kinds: str, **more: object) -> tuple[int, int, int]:
    """conversation, who opened the rescue, the rescue."""
    member = await desk.member()
    conversation = await desk.conversation()
    await desk.danger(conversation, "critical", *kinds)
    given: dict[str, object] = {
        "place": "学校三号楼天台",
        "identity": "姓王，高二",
        "legal_basis": BASIS,
        **more,
    }
    row = await desk.do(
        lambda s: rescue.open_rescue(
            s,
            desk.vault,
            conversation,
            staff_id=member,
            now=desk.now,
            **given,  # type: ignore[arg-type]
        )
    )
    return conversation, member, row.id


async def told(desk: Desk, rescue_id: int, member: int, whom: str) -> RescueNotice:
    return await desk.do(
        lambda s: rescue.told(
            s, desk.vault, rescue_id, staff_id=member, whom=whom, detail="已出警", now=desk.now
        )
    )


async def refused(desk: Desk, code: str, work) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((rescue.NotAllowed, nuisance.NotAllowed), match=f"^{code}$"):
        await desk.do(work)


# --- rescue ---------------------------------------------------------------------------------------------------------


async def test_danger_alone_never_opens_a_rescue(desk: Desk) -> None:
    await desk.danger(await desk.conversation(), "critical")
    await desk.rung_over(10, every=60)
    assert await desk.all(Rescue) == []


async def test_a_rescue_needs_danger_and_a_legal_basis(desk: Desk) -> None:
    member = await desk.member()
    calm, grave = await desk.conversation(), await desk.conversation()
    await desk.danger(grave, "high")
    for conversation, basis, code in ((calm, BASIS, "no_danger"), (grave, "  ", "no_basis")):
        await refused(
            desk,
            code,
            lambda s, c=conversation, b=basis: rescue.open_rescue(
                s, desk.vault, c, staff_id=member, place="", identity="", legal_basis=b, now=desk.now
            ),
        )


async def test_place_identity_and_answers_are_sealed_with_the_persons_key(desk: Desk) -> None:
    conversation, member, rescue_id = await opened(desk)
    await told(desk, rescue_id, member, "police_110")
    row, notice = await desk.row(Rescue, rescue_id), (await desk.all(RescueNotice))[0]

    async def read(session: AsyncSession) -> list[str]:
        key = await key_of(session, desk.vault, (await session.get_one(Conversation, conversation)).person_id)
        return [
            key.open(row.place_sealed, "rescue.place"),
            key.open(row.identity_sealed, "rescue.identity"),
            key.open(row.legal_basis_sealed, "rescue.legal_basis"),
            key.open(notice.detail_sealed, "rescue_notice.detail"),
        ]

    assert await desk.do(read) == ["学校三号楼天台", "姓王，高二", BASIS, "已出警"]
    assert (notice.told, notice.by_id, notice.at) == ("police_110", member, desk.now)


async def test_a_second_person_says_yes_or_the_record_says_why_not_awaited(desk: Desk) -> None:
    _, member, rescue_id = await opened(desk)
    await refused(desk, "own", lambda s: rescue.approve(s, rescue_id, staff_id=member, now=desk.now))
    await refused(
        desk,
        "second_person",
        lambda s: rescue.close(s, desk.vault, rescue_id, staff_id=member, result="平安", now=desk.now),
    )
    await refused(
        desk,
        "no_reason",
        lambda s: rescue.not_awaited(s, desk.vault, rescue_id, staff_id=member, reason=" ", now=desk.now),
    )
    await desk.do(
        lambda s: rescue.not_awaited(
            s, desk.vault, rescue_id, staff_id=member, reason="正在实施，来不及", now=desk.now
        )
    )
    await desk.do(
        lambda s: rescue.close(s, desk.vault, rescue_id, staff_id=member, result="平安", now=desk.now)
    )
    assert (await desk.row(Rescue, rescue_id)).state == "closed"
    acts = [r.action for r in await desk.all(Record)]
    assert acts == ["rescue.open", "rescue.not_awaited", "rescue.close"]


async def test_a_second_yes_is_given_once(desk: Desk) -> None:
    _, _, rescue_id = await opened(desk)
    other = await desk.member("supervisor")
    await desk.do(lambda s: rescue.approve(s, rescue_id, staff_id=other, now=desk.now))
    await refused(desk, "decided", lambda s: rescue.approve(s, rescue_id, staff_id=other, now=desk.now))


async def test_a_guardian_who_may_harm_is_told_only_after_a_second_yes(desk: Desk) -> None:
    _, member, rescue_id = await opened(desk, "domestic_abuse")
    assert (await desk.row(Rescue, rescue_id)).guardian_may_harm
    with pytest.raises(rescue.NotAllowed, match="guardian_may_harm"):
        await told(desk, rescue_id, member, "guardian")
    await told(desk, rescue_id, member, "police_110")  # nobody waits for that
    other = await desk.member()
    await desk.do(lambda s: rescue.approve(s, rescue_id, staff_id=other, now=desk.now))
    await told(desk, rescue_id, member, "guardian")
    assert [n.told for n in await desk.all(RescueNotice)] == ["police_110", "guardian"]


async def test_a_network_address_is_shown_only_in_a_rescue_with_a_reason_on_record(desk: Desk) -> None:
    conversation, member, rescue_id = await opened(desk)

    async def keep(session: AsyncSession) -> None:
        row = await session.get_one(Conversation, conversation)
        contact = await session.get_one(Contact, row.contact_id)
        key = await key_of(session, desk.vault, row.person_id)
        contact.network_address_sealed = key.seal("203.0.113.7", "contact.network_address")

    await desk.do(keep)

    async def ask(reason: str) -> str | None:
        return await desk.do(
            lambda s: rescue.network_address(
                s, desk.vault, conversation, staff_id=member, reason=reason, now=desk.now
            )
        )

    with pytest.raises(rescue.NotAllowed, match="no_reason"):
        await ask("")
    assert await ask("公安要求定位") == "203.0.113.7"
    shown = [r for r in await desk.all(Record) if r.action == "network_address.show"]
    assert [(r.staff_id, r.object_id) for r in shown] == [(member, conversation)]
    assert desk.vault.desk.open(shown[0].why_sealed, "record.why") == "公安要求定位"
    await desk.do(
        lambda s: rescue.not_awaited(s, desk.vault, rescue_id, staff_id=member, reason="来不及", now=desk.now)
    )
    await desk.do(
        lambda s: rescue.close(s, desk.vault, rescue_id, staff_id=member, result="找到了", now=desk.now)
    )
    with pytest.raises(rescue.NotAllowed, match="no_rescue"):
        await ask("再看一次")


# --- safe contact ---------------------------------------------------------------------------------------------------


async def test_nothing_goes_out_first_to_who_was_not_asked(desk: Desk) -> None:
    member = await desk.member()
    person = (await desk.get(await desk.conversation())).person_id

    async def may(*, approved: bool = False) -> str:
        return await desk.do(lambda s: safe_contact.may_write_first(s, desk.vault, person, approved=approved))

    assert await may() == "not_asked"
    assert await may(approved=True) == ""
    said = SafeContact(how="短信", when="周末", may_say_who=False, words="你好，方便时回复")
    await desk.do(lambda s: safe_contact.record(s, desk.vault, person, said, staff_id=member, now=desk.now))
    assert await may() == ""
    await desk.do(lambda s: people.stop_proactive(s, person, desk.now))
    assert await may(approved=True) == "stopped"


@pytest.mark.parametrize(
    "sign", ["domestic_abuse", "sexual_abuse", "safety.abuse.domestic", "legal.protection.domestic_violence"]
)
async def test_where_harm_may_be_at_home_nobody_can_approve_it(desk: Desk, sign: str) -> None:
    conversation = await desk.conversation()
    if "." in sign:

        async def mark(session: AsyncSession) -> None:
            (await conversations.locked(session, conversation)).category = sign

        await desk.do(mark)
    else:
        await desk.danger(conversation, "high", sign)
    person = (await desk.get(conversation)).person_id
    assert (
        await desk.do(lambda s: safe_contact.may_write_first(s, desk.vault, person, approved=True)) == "home"
    )


# --- nuisance -------------------------------------------------------------------------------------------------------


async def proposed(desk: Desk) -> tuple[int, int, int]:
    member = await desk.member()
    conversation = await desk.conversation()
    await desk.queued(conversation)
    mark = await desk.do(
        lambda s: nuisance.propose(
            s, desk.vault, conversation, staff_id=member, reason="反复辱骂", now=desk.now
        )
    )
    return conversation, member, mark.id


async def test_a_proposal_alone_lowers_nothing_and_nobody_confirms_their_own(desk: Desk) -> None:
    conversation, member, mark = await proposed(desk)
    before = (await desk.get(conversation)).queue_rank
    assert before == conversations.queue_rank("none")
    await refused(desk, "own", lambda s: nuisance.confirm(s, mark, staff_id=member, days=3, now=desk.now))
    assert [(t.kind, t.role, t.state) for t in await desk.all(Task)] == [
        ("nuisance_review", "supervisor", "open")
    ]


async def test_confirmed_it_lowers_the_place_for_seven_days_at_most(desk: Desk) -> None:
    conversation, _, mark = await proposed(desk)
    supervisor = await desk.member("supervisor")
    for days in (0, 8):
        await refused(
            desk,
            "days",
            lambda s, d=days: nuisance.confirm(s, mark, staff_id=supervisor, days=d, now=desk.now),
        )
    await desk.do(lambda s: nuisance.confirm(s, mark, staff_id=supervisor, days=7, now=desk.now))
    assert (await desk.get(conversation)).queue_rank == conversations.queue_rank("none", True)
    assert [t.state for t in await desk.all(Task)] == ["done"]
    desk.later(days=7)
    assert await desk.do(lambda s: nuisance.lapse(s, desk.now)) == 1
    assert (await desk.get(conversation)).queue_rank == conversations.queue_rank("none")
    assert (await desk.row(Nuisance, mark)).ended_at == desk.now


async def test_critical_is_never_muted(desk: Desk) -> None:
    conversation, _, mark = await proposed(desk)
    supervisor = await desk.member("supervisor", rung=2, screen=True)
    await desk.do(lambda s: nuisance.confirm(s, mark, staff_id=supervisor, days=7, now=desk.now))
    await desk.danger(conversation, "critical")
    assert (await desk.get(conversation)).queue_rank == 0
    assert len(await desk.climb()) == 1


# --- people and records ---------------------------------------------------------------------------------------------


async def test_an_address_finds_its_person_again_and_is_nowhere_in_plain(desk: Desk) -> None:
    first = await desk.conversation(channel="sms", address="13800000000")
    second = await desk.conversation(channel="sms", address="13800000000")
    other = await desk.conversation(channel="wechat", address="13800000000")
    rows = [await desk.get(c) for c in (first, second, other)]
    assert rows[0].contact_id == rows[1].contact_id != rows[2].contact_id
    contact = await desk.contact(first)
    assert b"13800000000" not in contact.address_sealed + contact.address_hash


async def test_a_thread_opens_with_the_persons_key_only(desk: Desk) -> None:
    conversation = await desk.conversation()
    ids = [await desk.writes(conversation, words) for words in ("第一句", "第二句\ud83d", "第三句")]

    async def read(before: int | None = None, limit: int = 50) -> list[str | None]:
        lines = await desk.do(
            lambda s: conversations.thread(s, desk.vault, conversation, before=before, limit=limit)
        )
        return [line.text for line in lines]

    assert await read() == ["第一句", "第二句\ud83d", "第三句"]
    assert await read(limit=1) == ["第三句"]
    assert await read(before=ids[2], limit=1) == ["第二句\ud83d"]


async def test_memory_is_sealed_and_comes_back(desk: Desk) -> None:
    conversation = await desk.conversation()

    async def work(session: AsyncSession) -> bytes:
        row = await conversations.locked(session, conversation)
        key = await key_of(session, desk.vault, row.person_id)
        conversations.remember(key, row, {"stage": 2, "recent": ["不想活了"]})
        assert conversations.recall(key, row.memory_sealed) == {"stage": 2, "recent": ["不想活了"]}
        with pytest.raises(Unreadable):
            desk.vault.desk.open(row.memory_sealed or b"", "conversation.memory")
        return row.memory_sealed or b""

    assert "不想活了".encode() not in await desk.do(work)


async def test_records_are_read_newest_first(desk: Desk) -> None:
    async def write(session: AsyncSession) -> None:
        for action in ("look", "claim", "reply"):
            records.write(session, 7, action, "conversation", 1, desk.later(seconds=1))

    await desk.do(write)
    found = await desk.do(lambda s: records.of(s, "conversation", 1))
    assert [r.action for r in found] == ["reply", "claim", "look"]
