"""Erasing a person: asked for, verified, approved by a second person, and then the data key is destroyed.

Without the key every word, name and address of theirs is unreadable, in backups too. It is held back while the law or somebody's
life needs the record: an open case or episode of high or above, a mandatory report, an open rescue, a legal hold, or a message not
yet understood. What was approved and held back is carried out by the daily job once nothing holds it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import alerts, records, tasks, unanswered
from escalation.policy import grave
from escalation.privacy import Vault
from escalation.tables import (
    Case,
    Contact,
    Conversation,
    Episode,
    Erasure,
    Message,
    Person,
    Rescue,
    ReviewItem,
)

VERIFIED: Final[dict[str, str]] = {
    "return_code": "凭回访码本人提出",
    "same_channel": "在原渠道由本人提出",
    "in_person": "当面核实",
    "telephone_back": "回拨电话核实",
}
HELD_BY: Final[dict[str, str]] = {
    "open_high_case": "有未结的高风险工单或危机事件",
    "mandatory_report": "涉及强制报告",
    "rescue": "紧急救援进行中",
    "legal_hold": "依法保留",
    "unfinished": "还有消息没有处理完",
}
Hold = Literal["open_high_case", "mandatory_report", "rescue", "legal_hold", "unfinished"]


class NotAllowed(Exception):
    """`code`: unknown, not_verified, own (a second person approves), decided, erased."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def request(
    session: AsyncSession, *, person_id: int, staff_id: int, verified_how: str, now: datetime
) -> Erasure:
    """Note a verified request; an open one is returned as it is. A supervisor gets a task. Raises NotAllowed."""
    if verified_how not in VERIFIED:
        raise NotAllowed("not_verified")
    await session.flush()
    person = await session.get(Person, person_id)
    if person is None:
        raise NotAllowed("unknown")
    if person.data_key is None:
        raise NotAllowed("erased")
    standing = await session.scalar(
        select(Erasure)
        .where(Erasure.person_id == person_id, Erasure.state.in_(("requested", "held")))
        .limit(1)
    )
    if standing is not None:
        return standing
    asked = Erasure(
        person_id=person_id,
        requested_at=now,
        requested_by=staff_id,
        verified_how=verified_how,
        state="requested",
    )
    session.add(asked)
    await session.flush()
    records.write(session, staff_id, "erasure.request", "person", person_id, now, verified_how)
    await tasks.open_task(session, "erasure", now=now, role="supervisor", detail=str(asked.id))
    return asked


async def approve(
    session: AsyncSession, vault: Vault, erasure_id: int, *, staff_id: int, now: datetime
) -> Erasure:
    """A second person's yes: carried out at once, or held back with the reason. Raises NotAllowed.

    The shell's own traces (chat sessions, return codes, waiting deliveries) are bot.erasing's to end: call that.
    """
    asked = await _open_request(session, erasure_id)
    if asked.requested_by == staff_id:
        raise NotAllowed("own")
    asked.approved_by = asked.approved_by or staff_id
    asked.decided_at = now
    records.write(session, staff_id, "erasure.approve", "person", asked.person_id, now)
    await tasks.done_for(session, "erasure", str(asked.id), staff_id, now)
    await _carry_out_or_hold(session, vault, asked, now)
    return asked


async def refuse(session: AsyncSession, erasure_id: int, *, staff_id: int, now: datetime) -> Erasure:
    """A second person's no."""
    asked = await _open_request(session, erasure_id)
    if asked.requested_by == staff_id:
        raise NotAllowed("own")
    asked.state, asked.decided_at, asked.held_by = "refused", now, None
    records.write(session, staff_id, "erasure.refuse", "person", asked.person_id, now)
    await tasks.done_for(session, "erasure", str(asked.id), staff_id, now)
    await session.flush()
    return asked


async def retry_held(session: AsyncSession, vault: Vault, now: datetime) -> list[Erasure]:
    """Carry out what was approved and is no longer held; returns what was carried out."""
    await session.flush()
    held = await session.scalars(
        select(Erasure)
        .where(Erasure.state == "held", Erasure.approved_by.is_not(None))
        .with_for_update(skip_locked=True)
    )
    done = []
    for asked in held.all():
        await _carry_out_or_hold(session, vault, asked, now)
        if asked.state == "done":
            done.append(asked)
    return done


async def held_by(session: AsyncSession, person_id: int) -> Hold | None:
    """What holds back erasing this person, None when nothing does."""
    await session.flush()
    person = await session.get_one(Person, person_id)
    if person.legal_hold:
        return "legal_hold"
    rescue = (
        select(Rescue.id)
        .join(Conversation, Conversation.id == Rescue.conversation_id)
        .where(Conversation.person_id == person_id, Rescue.state == "open")
    )
    if await session.scalar(rescue.limit(1)) is not None:
        return "rescue"
    report = select(Case.id).where(Case.person_id == person_id, Case.mandatory_report_at.is_not(None))
    if await session.scalar(report.limit(1)) is not None:
        return "mandatory_report"
    episode = select(Episode.id).where(Episode.person_id == person_id, Episode.ended_at.is_(None))
    if await session.scalar(episode.limit(1)) is not None:
        return "open_high_case"
    cases = await session.execute(
        select(Case.risk_machine, Case.risk_assessed).where(
            Case.person_id == person_id, Case.state != "closed"
        )
    )
    if any(grave(machine) or grave(assessed) for machine, assessed in cases.all()):
        return "open_high_case"
    unread = (
        select(Message.id)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.person_id == person_id, Message.state == "received")
    )
    return "unfinished" if await session.scalar(unread.limit(1)) is not None else None


async def set_legal_hold(
    session: AsyncSession,
    vault: Vault,
    person_id: int,
    *,
    on: bool,
    staff_id: int,
    reason: str,
    now: datetime,
) -> None:
    """A supervisor keeps a person's record for a proceeding, or lets it go again; on record with the reason."""
    person = await session.get_one(Person, person_id, with_for_update=True)
    person.legal_hold = on
    action = "legal_hold.set" if on else "legal_hold.end"
    records.write_reason(session, vault, staff_id, action, "person", person_id, now, reason)
    await session.flush()


async def waiting(session: AsyncSession, *, desk: str) -> Sequence[tuple[Erasure, bool]]:
    """A desk's requests not yet carried out or refused, oldest first, each with whether a legal hold keeps the person."""
    found = await session.execute(
        select(Erasure, Person.legal_hold)
        .join(Person, Person.id == Erasure.person_id)
        .where(Erasure.state.in_(("requested", "held")), Person.desk == desk)
        .order_by(Erasure.requested_at)
    )
    return [(row[0], row[1]) for row in found]


async def _open_request(session: AsyncSession, erasure_id: int) -> Erasure:
    await session.flush()
    asked = await session.get(Erasure, erasure_id, with_for_update=True, populate_existing=True)
    if asked is None:
        raise NotAllowed("unknown")
    if asked.state not in ("requested", "held"):
        raise NotAllowed("decided")
    return asked


async def _carry_out_or_hold(session: AsyncSession, vault: Vault, asked: Erasure, now: datetime) -> None:
    # The row lock on the person keeps a message that arrives now from being sealed with a key that goes.
    person = await session.get_one(Person, asked.person_id, with_for_update=True, populate_existing=True)
    asked.held_by = await held_by(session, asked.person_id)
    if asked.held_by is not None:
        asked.state = "held"
    else:
        await _destroy(session, vault, person, now)
        asked.state = "done"
        records.write(session, None, "erasure.done", "person", person.id, now)
    await session.flush()


async def _destroy(session: AsyncSession, vault: Vault, person: Person, now: datetime) -> None:
    """The key goes first; then what could still point to the person: addresses, fingerprints, open threads."""
    if person.data_key is not None:
        vault.forget(person.data_key)
    person.data_key, person.erased_at = None, now
    person.safe_contact_sealed = person.alias_sealed = None
    contacts = await session.scalars(select(Contact).where(Contact.person_id == person.id))
    for contact in contacts.all():
        contact.address_hash = secrets.token_bytes(32)
        contact.address_sealed = b""
        contact.network_address_sealed = None
    await session.execute(
        delete(ReviewItem)
        .where(ReviewItem.person_id == person.id)
        .execution_options(synchronize_session=False)
    )
    await unanswered.unlink(session, person_id=person.id)
    threads = await session.scalars(select(Conversation).where(Conversation.person_id == person.id))
    for conversation in threads.all():
        await session.execute(
            update(Message)
            .where(Message.conversation_id == conversation.id)
            .values(dedupe_hash=None)
            .execution_options(synchronize_session=False)
        )
        conversation.memory_sealed = None
        if conversation.state != "closed":
            conversation.state, conversation.closed_at = "closed", now
            conversation.waiting_since = conversation.unjudged_since = conversation.owner_id = None
            await alerts.end(session, conversation.id, reason="closed", now=now)
    await session.execute(
        update(Case)
        .where(Case.person_id == person.id, Case.state != "closed")
        .values(state="closed", closed_at=now, version=Case.version + 1)
        .execution_options(synchronize_session=False)
    )
