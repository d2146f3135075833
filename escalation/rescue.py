"""紧急救援: police, ambulance or guardian brought in. A person opens it, never the machine; who was told, why and with whose yes.

A second person says yes, or the record says why nobody waited for it. A guardian is told only on purpose: where the guardian may
be the one who harms, only after that second yes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, records
from escalation.people import key_of
from escalation.policy import grave
from escalation.privacy import DataKey, Vault
from escalation.safe_contact import HOME_KINDS
from escalation.tables import Contact, Conversation, Episode, Rescue, RescueNotice

TOLD: Final[dict[str, str]] = {
    "police_110": "公安 110",
    "ambulance_120": "急救 120",
    "fire_119": "消防 119",
    "guardian": "监护人",
    "school": "学校",
    "other": "其他",
}


class NotAllowed(Exception):
    """`code`: no_danger, no_basis, closed, own, decided, no_reason, no_result, second_person, guardian_may_harm,
    no_rescue, unknown."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def open_rescue(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    *,
    staff_id: int,
    place: str,
    identity: str,
    legal_basis: str,
    guardian_may_harm: bool | None = None,
    now: datetime,
) -> Rescue:
    """Open the record, on high and above only. Place and identity as far as known, sealed with the person's key.

    guardian_may_harm None: as the kinds of danger suggest. Raises NotAllowed("no_danger") or ("no_basis").
    """
    if not legal_basis.strip():
        raise NotAllowed("no_basis")
    conversation = await conversations.locked(session, conversation_id)
    episode = None if conversation.episode_id is None else await session.get(Episode, conversation.episode_id)
    if episode is None and not grave(conversation.risk):
        raise NotAllowed("no_danger")
    if guardian_may_harm is None:
        guardian_may_harm = episode is not None and bool(HOME_KINDS.intersection(episode.kinds))
    key = await key_of(session, vault, conversation.person_id)
    rescue = Rescue(
        conversation_id=conversation.id,
        episode_id=None if episode is None else episode.id,
        opened_by=staff_id,
        opened_at=now,
        place_sealed=_sealed(key, place, "rescue.place"),
        identity_sealed=_sealed(key, identity, "rescue.identity"),
        legal_basis_sealed=key.seal(legal_basis, "rescue.legal_basis"),
        guardian_may_harm=guardian_may_harm,
        state="open",
    )
    session.add(rescue)
    records.write(session, staff_id, "rescue.open", "conversation", conversation.id, now)
    await session.flush()
    return rescue


async def told(
    session: AsyncSession,
    vault: Vault,
    rescue_id: int,
    *,
    staff_id: int,
    whom: str,
    detail: str = "",
    at: datetime | None = None,
    now: datetime,
) -> RescueNotice:
    """Put on record who was told (one of TOLD), by whom, when, with what answer.

    Raises NotAllowed("guardian_may_harm") for a guardian who may be the one who harms while no second person said yes.
    """
    if whom not in TOLD:
        raise NotAllowed("unknown")
    rescue = await _open_one(session, rescue_id)
    if whom == "guardian" and rescue.guardian_may_harm and rescue.approved_by is None:
        raise NotAllowed("guardian_may_harm")
    key = await _key(session, vault, rescue)
    notice = RescueNotice(
        rescue_id=rescue.id,
        told=whom,
        by_id=staff_id,
        at=at or now,
        detail_sealed=_sealed(key, detail, "rescue_notice.detail"),
    )
    session.add(notice)
    records.write(session, staff_id, "rescue.told", "conversation", rescue.conversation_id, now, whom)
    await session.flush()
    return notice


async def approve(session: AsyncSession, rescue_id: int, *, staff_id: int, now: datetime) -> Rescue:
    """The second person's yes. Raises NotAllowed("own") for whoever opened it, ("decided") the second time."""
    rescue = await _open_one(session, rescue_id)
    if rescue.opened_by == staff_id:
        raise NotAllowed("own")
    if rescue.approved_by is not None:
        raise NotAllowed("decided")
    rescue.approved_by, rescue.approved_at = staff_id, now
    records.write(session, staff_id, "rescue.approve", "conversation", rescue.conversation_id, now)
    await session.flush()
    return rescue


async def not_awaited(
    session: AsyncSession, vault: Vault, rescue_id: int, *, staff_id: int, reason: str, now: datetime
) -> Rescue:
    """Why the second person's yes was not awaited. Raises NotAllowed("no_reason")."""
    if not reason.strip():
        raise NotAllowed("no_reason")
    rescue = await _open_one(session, rescue_id)
    key = await _key(session, vault, rescue)
    rescue.not_awaited_reason_sealed = key.seal(reason, "rescue.not_awaited_reason")
    records.write(session, staff_id, "rescue.not_awaited", "conversation", rescue.conversation_id, now)
    await session.flush()
    return rescue


async def close(
    session: AsyncSession, vault: Vault, rescue_id: int, *, staff_id: int, result: str, now: datetime
) -> Rescue:
    """End it with a result, once a second person said yes or it says why not. Raises NotAllowed."""
    if not result.strip():
        raise NotAllowed("no_result")
    rescue = await _open_one(session, rescue_id)
    if rescue.approved_by is None and rescue.not_awaited_reason_sealed is None:
        raise NotAllowed("second_person")
    key = await _key(session, vault, rescue)
    rescue.result_sealed = key.seal(result, "rescue.result")
    rescue.state, rescue.closed_at = "closed", now
    records.write(session, staff_id, "rescue.close", "conversation", rescue.conversation_id, now)
    await session.flush()
    return rescue


async def network_address(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    *,
    staff_id: int,
    reason: str,
    now: datetime,
) -> str | None:
    """A web visitor's network address, None where none is kept. Only in an open rescue, with a reason, on record.

    The reading is recorded in the caller's transaction: show the address only after the commit.
    Raises NotAllowed("no_reason") or ("no_rescue").
    """
    if not reason.strip():
        raise NotAllowed("no_reason")
    await session.flush()
    rescue = await session.scalar(
        select(Rescue.id).where(Rescue.conversation_id == conversation_id, Rescue.state == "open").limit(1)
    )
    if rescue is None:
        raise NotAllowed("no_rescue")
    records.write_reason(
        session, vault, staff_id, "network_address.show", "conversation", conversation_id, now, reason
    )
    conversation = await session.get_one(Conversation, conversation_id)
    contact = await session.get_one(Contact, conversation.contact_id)
    key = await key_of(session, vault, conversation.person_id)
    await session.flush()
    if contact.network_address_sealed is None:
        return None
    return key.open(contact.network_address_sealed, "contact.network_address")


async def _open_one(session: AsyncSession, rescue_id: int) -> Rescue:
    await session.flush()
    rescue = await session.get(Rescue, rescue_id, with_for_update=True, populate_existing=True)
    if rescue is None:
        raise NotAllowed("unknown")
    if rescue.state != "open":
        raise NotAllowed("closed")
    return rescue


async def _key(session: AsyncSession, vault: Vault, rescue: Rescue) -> DataKey:
    conversation = await session.get_one(Conversation, rescue.conversation_id)
    return await key_of(session, vault, conversation.person_id)


def _sealed(key: DataKey, text: str, place: str) -> bytes | None:
    return key.seal(text, place) if text else None
