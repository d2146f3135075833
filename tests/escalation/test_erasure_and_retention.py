"""Promise 8's end: an erased person is unreadable everywhere, never while life or law needs the record; the rest has its time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import cases, conversations, erasure, people, rescue, retention
from escalation import desk as work
from escalation.people import key_of
from escalation.privacy import Unreadable
from escalation.tables import (
    Alert,
    Case,
    Contact,
    Conversation,
    Episode,
    Erasure,
    Message,
    Note,
    Person,
    Record,
    Task,
)  # fmt: skip
from tests.escalation.conftest import Desk


@dataclass(frozen=True)
class Days:
    message_words: int = 730
    case_records: int = 1825
    network_addresses: int = 30
    looks: int = 1825


async def a_contact(
    desk: Desk, *, level: str = "none", closed: bool = True, address: str = "13800000001"
) -> int:
    """A conversation with words, a note and a network address, closed by a counsellor."""
    member = await desk.member(screen=True)
    conversation = await desk.conversation(address=address)
    await desk.writes(conversation, "我爸爸打我")
    if level != "none":
        await desk.danger(conversation, level)  # type: ignore[arg-type]
    await desk.do(lambda s: work.claim(s, conversation, member, desk.now, desk.policy))

    async def beside(session: AsyncSession) -> None:
        row = await conversations.locked(session, conversation)
        key = await key_of(session, desk.vault, row.person_id)
        session.add(
            Note(
                conversation_id=row.id,
                staff_id=member,
                at=desk.now,
                text_sealed=key.seal("记录", "note.text"),
            )
        )
        contact = await session.get_one(Contact, row.contact_id)
        contact.network_address_sealed = key.seal("203.0.113.7", "contact.network_address")
        conversations.remember(key, row, {"recent": ["我爸爸打我"]})

    await desk.do(beside)
    if closed:
        row = await desk.get(conversation)
        shown = 0 if row.case_id is None else (await desk.row(Case, row.case_id)).version
        await desk.do(
            lambda s: cases.close(
                s, desk.vault, conversation, staff=member, category="", risk="low", result="supported", version=shown,
                note="小结", now=desk.now,
            )
        )  # fmt: skip
    return conversation


async def asked(desk: Desk, conversation: int) -> tuple[int, int]:
    """person, the request."""
    person = (await desk.get(conversation)).person_id
    member = await desk.member()
    made = await desk.do(
        lambda s: erasure.request(
            s, person_id=person, staff_id=member, verified_how="return_code", now=desk.now
        )
    )
    return person, made.id


async def approved(desk: Desk, request: int) -> Erasure:
    supervisor = await desk.member("supervisor")
    return await desk.do(lambda s: erasure.approve(s, desk.vault, request, staff_id=supervisor, now=desk.now))


# --- erasing --------------------------------------------------------------------------------------------------------


async def test_an_erased_persons_words_and_address_cannot_be_read_or_found(desk: Desk) -> None:
    conversation = await a_contact(desk)
    before = await desk.contact(conversation)
    wrapped = (await desk.row(Person, before.person_id)).data_key
    person, request = await asked(desk, conversation)
    assert (await approved(desk, request)).state == "done"
    row, contact = await desk.row(Person, person), await desk.contact(conversation)
    assert (row.data_key, row.erased_at) == (None, desk.now)
    assert contact.address_hash not in (
        before.address_hash,
        people.contact_hash(desk.vault, "webchat", "default", "13800000001"),
    )
    assert (contact.address_sealed, contact.network_address_sealed) == (b"", None)
    lines = await desk.do(lambda s: conversations.thread(s, desk.vault, conversation))
    assert [line.text for line in lines] == [None]
    with pytest.raises(Unreadable):
        await desk.do(lambda s: key_of(s, desk.vault, person))
    assert wrapped not in desk.vault._unwrapped
    assert all(m.dedupe_hash is None for m in await desk.all(Message))
    # The same address is a new person from now on.
    again = await desk.get(await desk.conversation(address="13800000001"))
    assert again.person_id != person


async def test_an_open_harmless_conversation_is_closed_with_it(desk: Desk) -> None:
    conversation = await a_contact(desk, closed=False)
    _, request = await asked(desk, conversation)
    assert (await approved(desk, request)).state == "done"
    row = await desk.get(conversation)
    assert (row.state, row.memory_sealed, row.owner_id) == ("closed", None, None)


async def test_it_takes_a_verified_request_and_a_second_person(desk: Desk) -> None:
    conversation = await a_contact(desk)
    person = (await desk.get(conversation)).person_id
    supervisor = await desk.member("supervisor")
    with pytest.raises(erasure.NotAllowed, match="not_verified"):
        await desk.do(
            lambda s: erasure.request(
                s, person_id=person, staff_id=supervisor, verified_how="sounds_like_them", now=desk.now
            )
        )
    made = await desk.do(
        lambda s: erasure.request(
            s, person_id=person, staff_id=supervisor, verified_how="in_person", now=desk.now
        )
    )
    with pytest.raises(erasure.NotAllowed, match="own"):
        await desk.do(lambda s: erasure.approve(s, desk.vault, made.id, staff_id=supervisor, now=desk.now))
    assert (await desk.row(Person, person)).data_key is not None
    assert [(t.kind, t.role) for t in await desk.all(Task)] == [("erasure", "supervisor")]


async def test_a_refused_request_erases_nothing_and_is_decided(desk: Desk) -> None:
    conversation = await a_contact(desk)
    person, request = await asked(desk, conversation)
    supervisor = await desk.member("supervisor")
    await desk.do(lambda s: erasure.refuse(s, request, staff_id=supervisor, now=desk.now))
    assert (await desk.row(Person, person)).data_key is not None
    with pytest.raises(erasure.NotAllowed, match="decided"):
        await approved(desk, request)


@pytest.mark.parametrize("held", ["open_high_case", "mandatory_report", "rescue", "legal_hold", "unfinished"])
async def test_it_is_held_back_while_needed_and_carried_out_when_nothing_holds_it(
    desk: Desk, held: str
) -> None:
    conversation = await a_contact(
        desk,
        level="high" if held != "legal_hold" else "none",
        closed=held in ("mandatory_report", "legal_hold"),
    )
    person, request = await asked(desk, conversation)
    release = await hold(desk, conversation, held)
    kept = await approved(desk, request)
    assert (kept.state, kept.held_by) == ("held", held)
    assert (await desk.row(Person, person)).data_key is not None
    assert await desk.do(lambda s: erasure.retry_held(s, desk.vault, desk.now)) == []
    if release is None:
        return  # a mandatory report holds as long as its case is kept
    await release()
    done = await desk.do(lambda s: erasure.retry_held(s, desk.vault, desk.now))
    assert [e.id for e in done] == [request]
    assert (await desk.row(Person, person)).data_key is None


async def hold(desk: Desk, conversation: int, held: str):  # type: ignore[no-untyped-def]
    """Make what holds; returns how to end it, None where nothing ends it."""
    person = (await desk.get(conversation)).person_id
    member = await desk.member("supervisor")

    async def end_danger(session: AsyncSession) -> None:
        row = await conversations.locked(session, conversation)
        from escalation import episodes

        await episodes.assess(session, row, staff_id=member, level="low", now=desk.now, policy=desk.policy)
        await session.flush()
        case = await session.get_one(Case, row.case_id)
        case.risk_machine = "low"

    match held:
        case "open_high_case":
            return lambda: desk.do(end_danger)
        case "mandatory_report":
            case_id = (await desk.all(Case))[0].id
            await desk.do(lambda s: cases.mark_mandatory_report(s, case_id, member, desk.now))
            return None
        case "rescue":
            opened = await desk.do(
                lambda s: rescue.open_rescue(
                    s,
                    desk.vault,
                    conversation,
                    staff_id=member,
                    place="",
                    identity="",
                    legal_basis="生命安全",
                    now=desk.now,
                )
            )

            async def end_rescue() -> None:
                await desk.do(
                    lambda s: rescue.not_awaited(
                        s, desk.vault, opened.id, staff_id=member, reason="急", now=desk.now
                    )
                )
                await desk.do(
                    lambda s: rescue.close(
                        s, desk.vault, opened.id, staff_id=member, result="平安", now=desk.now
                    )
                )
                await desk.do(end_danger)

            return end_rescue
        case "legal_hold":

            def set_(on: bool):  # type: ignore[no-untyped-def]
                return desk.do(
                    lambda s: erasure.set_legal_hold(
                        s, desk.vault, person, on=on, staff_id=member, reason="诉讼", now=desk.now
                    )
                )

            await set_(True)
            return lambda: set_(False)
        case _:
            await desk.do(end_danger)
            message = await desk.writes(conversation, state="received")

            async def finish(session: AsyncSession) -> None:
                (await session.get_one(Message, message)).state = "answered"

            return lambda: desk.do(finish)


# --- retention ------------------------------------------------------------------------------------------------------


async def expire(desk: Desk) -> dict[str, int]:
    return await desk.do(lambda s: retention.expire(s, Days(), desk.now))


async def test_each_class_ends_after_its_own_time(desk: Desk) -> None:
    conversation = await a_contact(desk, level="high")
    desk.later(days=30)
    assert not any((await expire(desk)).values())
    desk.later(days=1)
    assert (await expire(desk))["network_addresses"] == 1
    assert (await desk.contact(conversation)).network_address_sealed is None
    desk.later(days=700)
    assert (await expire(desk))["message_words"] == 1
    (message,) = await desk.all(Message)
    assert (message.text_sealed, message.meta_sealed, message.understanding_sealed) == (None, None, None)
    assert (message.state, await desk.all(Note)) == ("answered", [])
    case = (await desk.all(Case))[0]
    assert case.note_sealed is not None
    desk.later(days=1095)
    ended = await expire(desk)
    assert ended["case_records"] == 1
    for table in (Conversation, Case, Episode, Alert, Message, Contact, Person):
        assert await desk.all(table) == []
    assert ended["looks"] > 0
    assert not any((await expire(desk)).values())


async def test_records_of_acts_outlive_the_words_by_their_own_time(desk: Desk) -> None:
    await a_contact(desk)
    desk.later(days=1000)
    await expire(desk)
    assert await desk.all(Record) != []


@pytest.mark.parametrize("held", ["legal_hold", "rescue", "open"])
async def test_nothing_is_taken_from_who_is_held_or_still_in_work(desk: Desk, held: str) -> None:
    conversation = await a_contact(desk, level="high", closed=held == "legal_hold")
    if held != "open":
        await hold(desk, conversation, held)
    desk.later(days=4000)
    ended = await expire(desk)
    assert {k: v for k, v in ended.items() if k != "looks"} == {
        "idle_conversations": 0, "message_words": 0, "case_records": 0, "network_addresses": 0, "unanswered": 0,
    }  # fmt: skip
    assert (await desk.contact(conversation)).network_address_sealed is not None


async def test_a_person_with_a_newer_contact_is_kept(desk: Desk) -> None:
    old = await a_contact(desk, address="13900000000")
    desk.later(days=1800)
    new = await a_contact(desk, address="13900000000")
    desk.later(days=100)
    assert (await expire(desk))["case_records"] == 1
    assert [c.id for c in await desk.all(Conversation)] == [new]
    assert old != new
    assert len(await desk.all(Person)) == 1


async def test_a_talk_with_the_bot_that_nobody_went_on_with_is_closed(desk: Desk) -> None:
    quiet, grave = await desk.conversation(), await desk.conversation()
    await desk.danger(grave, "high")
    desk.later(days=31)
    assert (await expire(desk))["idle_conversations"] == 1
    assert (await desk.get(quiet)).closed_at == desk.now
    assert (await desk.get(grave)).state == "queued"


async def test_words_stay_as_long_as_promised(desk: Desk) -> None:
    await a_contact(desk)
    desk.now += timedelta(days=730)
    await expire(desk)
    assert (await desk.all(Message))[0].text_sealed is not None
