"""工单: the record with owner and result. Opened by danger or by closing a contact; closed by a counsellor with a result."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import alerts, conversations, desk, episodes, records, review, satisfaction
from escalation.case_opening import number, open_for
from escalation.people import key_of
from escalation.privacy import Vault
from escalation.tables import Case, Conversation, Message, Rescue, Staff, Transfer
from nlu.understanding import Risk

__all__ = ["RESULTS", "Closed", "VersionConflict", "close", "mark_mandatory_report", "number", "open_for"]

RESULTS: Final[dict[str, str]] = {
    "answered": "已当场解答",
    "supported": "已倾听疏导",
    "appointment": "已约面询",
    "referred": "已转介",
    "reported": "已报告有关部门（强制报告）",
    "rescued": "已实施紧急救援",
    "no_contact": "联系不上",
    "nuisance": "骚扰或误发",
    "other": "其他",
}


class VersionConflict(Exception):
    """Somebody else changed the case since it was shown. `current` is its version now (0: there is none)."""

    def __init__(self, current: int) -> None:
        super().__init__("version")
        self.current = current


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed contact. `ask_satisfaction`: the question may go out now."""

    case: Case
    conversation: Conversation
    ask_satisfaction: bool


async def close(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    *,
    staff: int,
    category: str,
    risk: Risk,
    result: str,
    note: str = "",
    ask_satisfaction: bool | None = None,
    version: int,
    now: datetime,
) -> Closed:
    """End a contact: the case (opened here if there was none: a record for each contact) gets its result.

    risk: the level after the counsellor's assessment. version: of the case as shown, 0 where there was none.
    Raises desk.NotAllowed ("closed", "not_yours", "rescue_open", "new_message": one is still being understood),
    VersionConflict, ValueError for a result that is not one of RESULTS.
    """
    if result not in RESULTS:
        raise ValueError("unknown result")
    conversation = await conversations.locked(session, conversation_id)
    await _may_close(session, conversation, staff)
    case = await _current(session, conversation, version, now)
    had_crisis = await satisfaction.had_crisis(session, conversation)
    key = await key_of(session, vault, conversation.person_id)
    case.state, case.closed_at, case.closed_by = "closed", now, staff
    case.category, case.risk_assessed, case.result = category, risk, result
    case.note_sealed = key.seal(note, "case_record.note") if note else None
    if result == "reported":
        case.mandatory_report_at = case.mandatory_report_at or now
    await review.assessed(session, conversation, risk, now)
    await review.closed(
        session, key, conversation, category_before=conversation.category, category=category, now=now
    )
    await episodes.end(session, conversation, reason="closed", now=now, staff_id=staff)
    await alerts.end(session, conversation.id, reason="closed", now=now, staff_id=staff)
    await session.execute(
        update(Transfer)
        .where(Transfer.conversation_id == conversation.id, Transfer.state == "offered")
        .values(state="withdrawn", decided_at=now)
        .execution_options(synchronize_session="fetch")
    )
    conversation.state, conversation.closed_at = "closed", now
    conversation.risk, conversation.category = risk, category
    conversation.waiting_since = conversation.unjudged_since = conversation.case_id = None
    records.write(session, staff, "close", "conversation", conversation.id, now, result)
    await session.flush()
    ask = await satisfaction.may_ask(
        session, vault, conversation, had_crisis=had_crisis, counsellor_says=ask_satisfaction
    )
    return Closed(case, conversation, ask)


async def _may_close(session: AsyncSession, conversation: Conversation, staff: int) -> None:
    if conversation.state == "closed":
        raise desk.NotAllowed("closed")
    if conversation.owner_id != staff or conversation.state != "human":
        member = await session.get(Staff, staff)
        if member is None or member.role != "supervisor":
            raise desk.NotAllowed("not_yours")
    rescue = await session.scalar(
        select(Rescue.id).where(Rescue.conversation_id == conversation.id, Rescue.state == "open").limit(1)
    )
    if rescue is not None:
        raise desk.NotAllowed("rescue_open")
    unread = await session.scalar(
        select(Message.id)
        .where(Message.conversation_id == conversation.id, Message.state == "received")
        .limit(1)
    )
    if unread is not None:
        raise desk.NotAllowed("new_message")


async def _current(session: AsyncSession, conversation: Conversation, version: int, now: datetime) -> Case:
    """The open case if it is the one that was shown; a new one where none was shown and there is none."""
    case = None
    if conversation.case_id is not None:
        case = await session.get(Case, conversation.case_id, with_for_update=True, populate_existing=True)
    current = case.version if case is not None and case.state != "closed" else 0
    if version != current:
        raise VersionConflict(current)
    return await open_for(session, conversation, conversation.risk, now)


async def mark_mandatory_report(session: AsyncSession, case_id: int, staff_id: int, now: datetime) -> None:
    """强制报告 was made or is owed (未成年人保护法, article 11): on record, and the person is not erased meanwhile."""
    await session.flush()
    case = await session.get(Case, case_id)
    if case is not None and case.mandatory_report_at is None:
        case.mandatory_report_at = now
        records.write(session, staff_id, "mandatory_report", "case", case_id, now)
        await session.flush()
