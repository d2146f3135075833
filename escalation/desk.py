"""What a counsellor does with a conversation: take it, answer, offer it to a colleague, hand it back. And what if they vanish.

首问负责: whoever takes a conversation first is responsible until a colleague accepts it. Claiming stills an alert as an
acknowledgement does; only words to the person, or a recorded decision, end it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import and_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import alerts, conversations, episodes, records, roster
from escalation.case_opening import open_for
from escalation.people import key_of
from escalation.policy import Policy, grave
from escalation.privacy import Vault
from escalation.tables import Case, Conversation, Episode, Staff, Transfer
from nlu.understanding import Risk

_SHARE: Final = 200  # conversations given back in one call


class NotAllowed(Exception):
    """This member of staff cannot do this now. `code`: closed, not_yours, no_offer, not_here, decided."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AlreadyTaken(Exception):
    """A colleague has the conversation."""

    def __init__(self, owner_id: int) -> None:
        super().__init__("taken")
        self.owner_id = owner_id


async def claim(
    session: AsyncSession, conversation_id: int, staff_id: int, now: datetime, policy: Policy
) -> Conversation:
    """Take a conversation from the queue or the bot. Taking one's own again changes nothing.

    Raises AlreadyTaken when a colleague was quicker, NotAllowed("closed") after its end.
    """
    conversation = await conversations.locked(session, conversation_id)
    if conversation.state == "closed":
        raise NotAllowed("closed")
    if conversation.state == "human" and conversation.owner_id is not None:
        if conversation.owner_id != staff_id:
            raise AlreadyTaken(conversation.owner_id)
        return conversation
    await _give(session, conversation, staff_id, now)
    if conversation.responder_id is None:
        conversation.responder_id = staff_id
    records.write(session, staff_id, "claim", "conversation", conversation.id, now)
    alert = await alerts.live(session, conversation.id)
    if alert is not None:
        await alerts.acknowledge(session, alert.id, staff_id, now, policy)
    await session.flush()
    return conversation


async def _give(session: AsyncSession, conversation: Conversation, staff_id: int, now: datetime) -> None:
    """Make `staff_id` the owner, of the open case too."""
    conversation.state = "human"
    conversation.owner_id, conversation.owner_since = staff_id, now
    case = None if conversation.case_id is None else await session.get(Case, conversation.case_id)
    if case is not None and case.state != "closed":
        case.owner_id, case.state = staff_id, "in_progress"


async def owned(session: AsyncSession, conversation_id: int, staff_id: int) -> Conversation:
    """The conversation, locked, if `staff_id` has it. Raises NotAllowed("not_yours") or ("closed")."""
    conversation = await conversations.locked(session, conversation_id)
    if conversation.state == "closed":
        raise NotAllowed("closed")
    if conversation.state != "human" or conversation.owner_id != staff_id:
        raise NotAllowed("not_yours")
    return conversation


async def reply_written(
    session: AsyncSession, conversation: Conversation, staff_id: int, now: datetime
) -> None:
    """The owner's words are being written to the person: nobody waits any more, and an alert ends.

    Call it with the conversation locked, in the transaction that writes the words. Raises NotAllowed("not_yours").
    """
    if conversation.state != "human" or conversation.owner_id != staff_id:
        raise NotAllowed("closed" if conversation.state == "closed" else "not_yours")
    conversation.last_human_reply_at = now
    conversation.waiting_since = None
    conversation.unjudged_since = None
    records.write(session, staff_id, "reply", "conversation", conversation.id, now)
    await episodes.human_wrote(session, conversation)
    await alerts.human_replied(session, conversation.id, staff_id, now)
    await session.flush()


async def hand_back(
    session: AsyncSession,
    conversation_id: int,
    staff_id: int,
    now: datetime,
    *,
    vault: Vault,
    reason: str = "",
    to: Literal["queue", "bot"] = "queue",
) -> Conversation:
    """Give a conversation back: to the queue, or to the bot when nobody waits and there is no danger.

    With danger open the ladder rings at once: handing back is no way to lose it. Raises NotAllowed("not_yours").
    """
    conversation = await owned(session, conversation_id, staff_id)
    records.write_reason(session, vault, staff_id, "hand_back", "conversation", conversation.id, now, reason)
    await _withdraw_offers(session, conversation.id, now)
    episode = await episodes.open_episode(session, conversation)
    if to == "bot" and episode is None and not grave(conversation.risk):
        conversation.state = "bot"
        conversation.owner_id = conversation.owner_since = conversation.waiting_since = None
        await session.flush()
        return conversation
    await conversations.to_queue(session, conversation, reason="handed_back", now=now, returned=True)
    await _ring_for(session, conversation, episode, "handed_back", now)
    await session.flush()
    return conversation


async def _ring_for(
    session: AsyncSession, conversation: Conversation, episode: Episode | None, reason: str, now: datetime
) -> None:
    """Nobody has a conversation in danger any more: ring from the first rung."""
    if not grave(conversation.risk) and episode is None:
        return
    level = conversation.risk if episode is None else episode.level
    case = await open_for(session, conversation, level, now)
    await alerts.start(
        session,
        conversation,
        level=level,
        reason=reason,
        now=now,
        episode_id=None if episode is None else episode.id,
        case_number=case.number,
    )


# --- handing to a colleague -----------------------------------------------------------------------------------------


async def transfer_offer(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    *,
    staff_id: int,
    to: int,
    reason: str,
    now: datetime,
) -> Transfer:
    """Offer one's conversation to a colleague. Until they accept, nothing changes: 首问负责.

    A newer offer takes the place of an older one. Raises NotAllowed("not_yours"), or ("not_here") for a colleague who
    cannot answer on this desk.
    """
    conversation = await owned(session, conversation_id, staff_id)
    colleague = await session.get(Staff, to)
    if (
        colleague is None
        or not colleague.active
        or colleague.id == staff_id
        or colleague.desk != conversation.desk
        or colleague.role not in ("counsellor", "supervisor")
    ):
        raise NotAllowed("not_here")
    await _withdraw_offers(session, conversation.id, now)
    key = await key_of(session, vault, conversation.person_id)
    offer = Transfer(
        conversation_id=conversation.id,
        from_id=staff_id,
        to_id=to,
        reason_sealed=key.seal(reason, "transfer.reason") if reason else None,
        state="offered",
        offered_at=now,
    )
    session.add(offer)
    records.write(session, staff_id, "transfer.offer", "conversation", conversation.id, now, str(to))
    await session.flush()
    return offer


async def transfer_accept(
    session: AsyncSession, transfer_id: int, staff_id: int, now: datetime
) -> Conversation:
    """Accept a colleague's conversation: from now on it is `staff_id` who is responsible.

    Raises NotAllowed("no_offer") when it was not offered to them or is no longer, ("not_yours") when the colleague lost it.
    """
    offer = await _offer(session, transfer_id, staff_id)
    conversation = await conversations.locked(session, offer.conversation_id)
    await session.refresh(offer)
    if offer.state != "offered":
        raise NotAllowed("no_offer")
    if conversation.state != "human" or conversation.owner_id != offer.from_id:
        raise NotAllowed("not_yours")
    offer.state, offer.decided_at = "accepted", now
    await _give(session, conversation, staff_id, now)
    conversation.responder_id = staff_id
    records.write(
        session, staff_id, "transfer.accept", "conversation", conversation.id, now, str(offer.from_id)
    )
    await session.flush()
    return conversation


async def transfer_decline(session: AsyncSession, transfer_id: int, staff_id: int, now: datetime) -> Transfer:
    """Say no: the conversation stays where it is. Raises NotAllowed("no_offer")."""
    offer = await _offer(session, transfer_id, staff_id)
    offer.state, offer.decided_at = "declined", now
    records.write(
        session, staff_id, "transfer.decline", "conversation", offer.conversation_id, now, str(offer.from_id)
    )
    await session.flush()
    return offer


async def _offer(session: AsyncSession, transfer_id: int, staff_id: int) -> Transfer:
    await session.flush()
    offer = await session.get(Transfer, transfer_id)
    if offer is None or offer.to_id != staff_id or offer.state != "offered":
        raise NotAllowed("no_offer")
    return offer


async def _withdraw_offers(session: AsyncSession, conversation_id: int, now: datetime) -> None:
    await session.execute(
        update(Transfer)
        .where(Transfer.conversation_id == conversation_id, Transfer.state == "offered")
        .values(state="withdrawn", decided_at=now)
        .execution_options(synchronize_session="fetch")
    )


# --- promise 6 ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vanished:
    """A conversation that lost its human: tell the person honestly. `why`: silence, screen."""

    conversation: Conversation
    owner_id: int
    why: Literal["silence", "screen"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What decides whether a conversation has lost its human."""

    id: int
    owner_id: int
    waiting_since: datetime
    owner_since: datetime
    risk: Risk
    risen_at: datetime | None  # of an open episode


async def vanishing(
    session: AsyncSession, now: datetime, policy: Policy
) -> dict[int, Literal["silence", "screen"]]:
    """Conversations whose human is silent or gone, by id, and why. Only reads; `vanished` acts.

    Silence counts from the message that waits, from taking the conversation or from the last rise of the risk, whichever is
    latest. A screen is gone from when it was closed or last seen, at the earliest from when the conversation was taken.
    """
    await session.flush()
    waiting = await _waiting(session, now)
    seen = await roster.last_seen(session, {w.owner_id for w in waiting})
    gone: dict[int, Literal["silence", "screen"]] = {}
    for one in waiting:
        screen = max(seen.get(one.owner_id, one.owner_since), one.owner_since)
        due = reply_due(one.waiting_since, one.owner_since, one.risk, one.risen_at, policy)
        if screen + policy.owner_gone <= now:
            gone[one.id] = "screen"
        elif due <= now:
            gone[one.id] = "silence"
    return gone


def reply_due(
    waiting_since: datetime, owner_since: datetime, risk: Risk, risen_at: datetime | None, policy: Policy
) -> datetime:
    """When whoever has the conversation must have replied, else it goes back to the queue. `risen_at`: of an open episode."""
    begun = max(waiting_since, owner_since)
    if grave(risk) and risen_at is not None:
        begun = max(begun, risen_at)
    return begun + policy.silence(risk)


async def _waiting(session: AsyncSession, now: datetime) -> list[_Waiting]:
    c = Conversation
    rows = await session.execute(
        select(c.id, c.owner_id, c.waiting_since, c.owner_since, c.risk, Episode.risen_at)
        .outerjoin(Episode, and_(Episode.id == c.episode_id, Episode.ended_at.is_(None)))
        .where(c.state == "human", c.waiting_since <= now)
    )
    return [
        _Waiting(
            row.id,
            row.owner_id or 0,
            row.waiting_since,
            row.owner_since or row.waiting_since,
            row.risk,
            row.risen_at,
        )
        for row in rows.all()
    ]


async def vanished(session: AsyncSession, now: datetime, policy: Policy) -> list[Vanished]:
    """Give back to the queue what waits for a human who is silent or gone, and ring where there is danger (promise 6)."""
    ids = list(await vanishing(session, now, policy))[:_SHARE]
    if not ids:
        return []
    held = await session.scalars(
        select(Conversation)
        .where(Conversation.id.in_(ids))
        .order_by(Conversation.id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    rows = held.all()
    still = await vanishing(session, now, policy)  # now that nobody else can change them
    lost = []
    for conversation in rows:
        why = still.get(conversation.id)
        if why is None:
            continue
        owner_id = conversation.owner_id or 0
        await _withdraw_offers(session, conversation.id, now)
        await conversations.to_queue(session, conversation, reason="owner_gone", now=now, returned=True)
        episode = await episodes.open_episode(session, conversation)
        await _ring_for(session, conversation, episode, "owner_gone", now)
        records.write(session, None, "owner_gone", "conversation", conversation.id, now, why)
        lost.append(Vanished(conversation, owner_id, why))
    await session.flush()
    return lost
