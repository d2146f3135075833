"""The alert ladder as a state machine (promise 5). bot/ladder.py turns the handle; nothing here rings a bell itself.

    ringing --step--> ringing one rung higher … after the top everybody, again and again
    ringing --acknowledge--> paused --step when the pause is over--> ringing
    ringing, paused --human_replied, decide--> ended

One alert per episode: `start` and `raise_again` find the one there is. Rows are changed under a lock, so two processes that turn
the handle at once ring a rung once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import case as when
from sqlalchemy import exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import records
from escalation.case_opening import open_for
from escalation.people import key_of
from escalation.policy import DUTY, SUPERVISOR, TELEPHONE, Policy
from escalation.privacy import Vault
from escalation.roster import Duty
from escalation.tables import Alert, AlertEvent, Conversation, Note, Record
from nlu.understanding import Risk, higher

# What a person may decide about an alert instead of writing to the young person.
DECISIONS: Final[dict[str, str]] = {
    "spoken": "已通过其他方式联系到本人",
    "no_danger": "核实后没有危险",
    "rescue": "已启动紧急救援",
    "handed_over": "已由他人接手",
    "same_person": "同一人，在另一会话中处理",
    "restored": "故障已恢复",
}
SCREEN: Final = "screen"
PHONE: Final = "telephone"
BANNER: Final = "banner"
_UNCONFIRMED_AFTER: Final = timedelta(seconds=30)


class NotFound(Exception):
    """There is no such alert."""


@dataclass(frozen=True, slots=True)
class Ring:
    """One rung to be rung now: whose screens, by which means. Case number, level and ids; never words.

    means: "screen", "webhook:<name>", "telephone", or "banner" where a fallback telephone is missing.
    """

    alert_id: int
    conversation_id: int
    case_number: str
    level: Risk
    reason: str
    rung: int
    staff_ids: tuple[int, ...]
    means: tuple[str, ...]


# --- starting and raising -------------------------------------------------------------------------------------------


async def start(
    session: AsyncSession,
    conversation: Conversation,
    *,
    level: Risk,
    reason: str,
    now: datetime,
    episode_id: int | None = None,
    case_number: str | None = None,
    from_rung: int = DUTY,
) -> Alert:
    """Make the conversation's alert ring at once, from `from_rung` up.

    reason: episode, unread, owner_gone, handed_back, risen, cannot_reach. If the conversation has an alert under way, or its episode had
    one, that one rings again: ten messages are not ten alerts.
    """
    alert = await live(session, conversation.id)
    if alert is None and episode_id is not None:
        alert = await of_episode(session, episode_id)
    if alert is not None:
        alert.episode_id = episode_id or alert.episode_id
        alert.case_number = case_number or alert.case_number
        return await raise_again(session, alert, level=level, reason=reason, now=now, from_rung=from_rung)
    alert = Alert(
        conversation_id=conversation.id,
        episode_id=episode_id,
        case_number=case_number,
        desk=conversation.desk,
        reason=reason,
        level=level,
        state="ringing",
        rung=from_rung,
        from_rung=from_rung,
        next_rung=from_rung,
        rounds=0,
        started_at=now,
        next_at=now,
    )
    session.add(alert)
    await session.flush()
    _event(session, alert, now, "started", detail=reason)
    return alert


async def raise_again(
    session: AsyncSession, alert: Alert, *, level: Risk, reason: str, now: datetime, from_rung: int = DUTY
) -> Alert:
    """Ring at once again: the risk rose, or nobody has it any more. Whoever was rung already is rung again with it."""
    under_way = alert.state != "ended"
    alert.level = higher(alert.level, level) if under_way else level
    alert.next_rung = max(alert.rung, from_rung) if under_way else from_rung
    alert.from_rung = from_rung
    alert.rung = alert.next_rung
    alert.rounds = 0
    alert.state = "ringing"
    alert.reason = reason
    alert.next_at = now
    alert.acknowledged_by = alert.acknowledged_at = alert.ended_at = alert.end_reason = None
    _event(session, alert, now, "raised", detail=reason)
    await session.flush()
    return alert


async def live(session: AsyncSession, conversation_id: int) -> Alert | None:
    """The conversation's alert that has not ended, held until the commit."""
    await session.flush()
    return await session.scalar(
        select(Alert)
        .where(
            Alert.conversation_id == conversation_id,
            Alert.state != "ended",
            Alert.reason != "understanding_down",
        )
        .order_by(Alert.id.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def of_episode(session: AsyncSession, episode_id: int) -> Alert | None:
    """The episode's alert, ended or not, held until the commit."""
    return await session.scalar(
        select(Alert)
        .where(Alert.episode_id == episode_id)
        .order_by(Alert.id.desc())
        .limit(1)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


# --- what people do -------------------------------------------------------------------------------------------------


async def acknowledge(
    session: AsyncSession, alert_id: int, staff_id: int, now: datetime, policy: Policy
) -> Alert:
    """Somebody has seen it: silence for 2 min (critical) or 5 min (others), then the ladder climbs on.

    A second acknowledgement within the pause does not lengthen it. Raises NotFound.
    """
    alert = await _locked(session, alert_id)
    if alert.state == "ringing":
        _pause(session, alert, staff_id, now, policy)
        await session.flush()
    return alert


def _pause(session: AsyncSession, alert: Alert, staff_id: int, now: datetime, policy: Policy) -> None:
    alert.state = "paused"
    alert.acknowledged_by, alert.acknowledged_at = staff_id, now
    alert.next_at = now + policy.acknowledged(alert.level)
    _event(session, alert, now, "acknowledged", staff_id=staff_id)


async def human_replied(session: AsyncSession, conversation_id: int, staff_id: int, now: datetime) -> None:
    """A human wrote to the person: that ends the conversation's alert."""
    alert = await live(session, conversation_id)
    if alert is not None:
        _end(session, alert, "human_reply", now, staff_id=staff_id)
        await session.flush()


async def decide(
    session: AsyncSession,
    vault: Vault,
    alert_id: int,
    *,
    staff_id: int,
    decision: str,
    note: str = "",
    now: datetime,
) -> Alert:
    """A recorded decision (one of DECISIONS) ends the alert. `note` becomes an internal note of the conversation.

    Raises NotFound, or ValueError for an unknown decision. An alert that has ended is left as it ended.
    """
    if decision not in DECISIONS:
        raise ValueError("unknown decision")
    alert = await _locked(session, alert_id)
    if alert.state == "ended":
        return alert
    _end(session, alert, "decision", now, staff_id=staff_id, detail=decision)
    records.write(session, staff_id, "alert.decide", "conversation", alert.conversation_id, now, decision)
    if note:
        person_id = await session.scalar(
            select(Conversation.person_id).where(Conversation.id == alert.conversation_id)
        )
        assert person_id is not None
        key = await key_of(session, vault, person_id)
        session.add(
            Note(
                conversation_id=alert.conversation_id,
                staff_id=staff_id,
                at=now,
                text_sealed=key.seal(note, "note.text"),
            )
        )
    await session.flush()
    return alert


async def end(
    session: AsyncSession, conversation_id: int, *, reason: str, now: datetime, staff_id: int | None = None
) -> None:
    """End the conversation's alert by a decision put on record elsewhere (an assessment, a closed case)."""
    alert = await live(session, conversation_id)
    if alert is not None:
        _end(session, alert, reason, now, staff_id=staff_id)
        await session.flush()


def _end(
    session: AsyncSession,
    alert: Alert,
    reason: str,
    now: datetime,
    *,
    staff_id: int | None,
    detail: str | None = None,
) -> None:
    alert.state, alert.ended_at, alert.end_reason, alert.next_at = "ended", now, reason, None
    _event(session, alert, now, "ended", staff_id=staff_id, detail=detail or reason)


# --- climbing -------------------------------------------------------------------------------------------------------


async def any_due(session: AsyncSession, now: datetime) -> bool:
    """Whether a rung is due. Cheap enough to ask every second."""
    found = await session.scalar(
        select(Alert.id).where(Alert.state.in_(("ringing", "paused")), Alert.next_at <= now).limit(1)
    )
    return found is not None


async def due(session: AsyncSession, now: datetime, limit: int = 50) -> list[Alert]:
    """The alerts whose next rung is due, critical first, held until the commit. What another process holds is left to it."""
    await session.flush()
    found = await session.scalars(
        select(Alert)
        .where(Alert.state.in_(("ringing", "paused")), Alert.next_at <= now)
        .order_by(when((Alert.level == "critical", 0), else_=1), Alert.next_at, Alert.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    return list(found.all())


async def step(session: AsyncSession, alert: Alert, duty: Duty, now: datetime, policy: Policy) -> list[Ring]:
    """Ring what is due and set when to go on. [] when nothing is due (another process was quicker).

    Rungs nobody can reach are put on record as skipped and the next is rung instead. The top always rings: the telephone, or a
    banner on every screen while none is configured. From then on everybody rings at every step, until a human acts.
    """
    if alert.state == "ended" or alert.next_at is None or alert.next_at > now:
        return []
    if alert.state == "paused":
        alert.state = "ringing"
        _event(session, alert, now, "resumed")
    rings = await _ring_owner(session, alert, duty, now)
    rung = alert.from_rung
    while rung <= alert.next_rung or (not rings and rung <= TELEPHONE):
        ring = _ring(session, alert, rung, duty, now, policy)
        if ring is not None:
            rings.append(ring)
        rung += 1
    alert.rung = max(alert.rung, rung - 1)
    if rung > TELEPHONE:
        alert.rounds += 1
        alert.from_rung, alert.next_rung = DUTY, TELEPHONE
    else:
        alert.from_rung = alert.next_rung = rung
    alert.next_at = now + policy.rung(alert.level)
    await session.flush()
    return rings


async def _ring_owner(session: AsyncSession, alert: Alert, duty: Duty, now: datetime) -> list[Ring]:
    """Risk that rises under a human also alarms that human."""
    if alert.reason != "risen":
        return []
    owner = await session.scalar(
        select(Conversation.owner_id).where(Conversation.id == alert.conversation_id)
    )
    if owner is None or owner not in duty.live:
        return []
    _event(session, alert, now, "rung", rung=DUTY, staff_id=owner, means=SCREEN)
    return [_make_ring(alert, DUTY, (owner,), (SCREEN,))]


def _ring(
    session: AsyncSession, alert: Alert, rung: int, duty: Duty, now: datetime, policy: Policy
) -> Ring | None:
    if rung == TELEPHONE:
        if policy.telephone:
            _event(session, alert, now, "rung", rung=rung, means=PHONE)
            return _make_ring(alert, rung, (), (PHONE,))
        _event(session, alert, now, "fallback_missing", rung=rung)
        return _make_ring(alert, rung, (), (BANNER,))
    people, screens = duty.people(rung), duty.screens(rung)
    # A robot does not make somebody there, and an empty rung must not cost its minute; but below the telephone, when nobody
    # stands on the roster at all, whoever reads the group is better than nobody.
    rings_robots = people or rung == SUPERVISOR
    webhooks = tuple(f"webhook:{name}" for name in policy.webhooks.get(rung, ())) if rings_robots else ()
    if not screens and not webhooks:
        _event(session, alert, now, "skipped", rung=rung, detail="unreachable" if people else "nobody")
        return None
    for staff_id in screens:
        _event(session, alert, now, "rung", rung=rung, staff_id=staff_id, means=SCREEN)
    for name in webhooks:
        _event(session, alert, now, "rung", rung=rung, means=name)
    return _make_ring(alert, rung, people, ((SCREEN,) if screens else ()) + webhooks)


def _make_ring(alert: Alert, rung: int, staff_ids: tuple[int, ...], means: tuple[str, ...]) -> Ring:
    return Ring(
        alert_id=alert.id,
        conversation_id=alert.conversation_id,
        case_number=alert.case_number or "",
        level=alert.level,
        reason=alert.reason,
        rung=rung,
        staff_ids=staff_ids,
        means=means,
    )


# --- what became of a ring ------------------------------------------------------------------------------------------


async def carried(session: AsyncSession, ring: Ring, means: str, now: datetime, *, error: str = "") -> None:
    """A webhook or the telephone took the ring (`error` empty) or did not (`error`: a code)."""
    session.add(
        AlertEvent(
            alert_id=ring.alert_id,
            at=now,
            what="failed" if error else "delivered",
            rung=ring.rung,
            staff_id=None,
            means=means,
            detail=error or None,
        )
    )
    await session.flush()


async def unreached(session: AsyncSession, ring: Ring, now: datetime) -> None:
    """Nothing of a rung got through: do not wait its time out, climb on at once."""
    await session.flush()
    await session.execute(
        update(Alert)
        .where(
            Alert.id == ring.alert_id, Alert.state == "ringing", Alert.rung == ring.rung, Alert.rounds == 0
        )
        .values(next_at=now)
        .execution_options(synchronize_session=False)
    )


async def unconfirmed(session: AsyncSession, now: datetime) -> list[Ring]:
    """Rings by webhook or telephone whose outcome nobody wrote down: the process that rang died. They are rung again.

    Each is returned once: the caller rings, then `carried` writes the outcome; before that "rung" is written anew.
    """
    await session.flush()
    later = AlertEvent.__table__.alias("later")
    open_rings = await session.execute(
        select(Alert, AlertEvent)
        .join(AlertEvent, AlertEvent.alert_id == Alert.id)
        .where(
            Alert.state == "ringing",
            AlertEvent.what == "rung",
            or_(AlertEvent.means == PHONE, AlertEvent.means.startswith("webhook:")),
            AlertEvent.at <= now - _UNCONFIRMED_AFTER,
            ~exists().where(
                later.c.alert_id == AlertEvent.alert_id,
                later.c.id > AlertEvent.id,
                later.c.rung == AlertEvent.rung,
                later.c.means == AlertEvent.means,
            ),
        )
        .with_for_update(of=Alert, skip_locked=True)
    )
    rings = []
    for alert, event in open_rings.all():
        assert event.rung is not None
        assert event.means is not None
        _event(session, alert, now, "rung", rung=event.rung, means=event.means)
        rings.append(_make_ring(alert, event.rung, (), (event.means,)))
    await session.flush()
    return rings


async def events(session: AsyncSession, alert_id: int, limit: int = 500) -> Sequence[AlertEvent]:
    """What happened with an alert, oldest first (the last `limit`)."""
    found = await session.scalars(
        select(AlertEvent).where(AlertEvent.alert_id == alert_id).order_by(AlertEvent.id.desc()).limit(limit)
    )
    return tuple(reversed(found.all()))


# --- alerts that are not an episode's -------------------------------------------------------------------------------


async def unreadable_waiting(session: AsyncSession, now: datetime, policy: Policy) -> list[Alert]:
    """Ring for conversations in the queue that hold what no machine could judge, unopened for 10 minutes (promise 4).

    Opened means: a look by a member of staff is on record since. Each rings once from here; then the ladder has it.
    """
    await session.flush()
    looked = exists().where(
        Record.object == "conversation",
        Record.object_id == Conversation.id,
        Record.action == "look",
        Record.at >= Conversation.unjudged_since,
    )
    found = await session.scalars(
        select(Conversation)
        .where(
            Conversation.unjudged_since <= now - policy.unread_rings_after,
            Conversation.state == "queued",
            ~looked,
        )
        .limit(50)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    started = []
    for conversation in found.all():
        conversation.unjudged_since = None
        if await live(session, conversation.id) is not None:
            continue  # it rings already
        level = higher(conversation.risk, "medium")
        case = await open_for(session, conversation, level, now)
        started.append(
            await start(
                session,
                conversation,
                level=level,
                reason="unread",
                now=now,
                episode_id=conversation.episode_id,
                case_number=case.number,
            )
        )
    return started


async def understanding_down(session: AsyncSession, conversation: Conversation, now: datetime) -> Alert:
    """Understanding failed three times in five minutes: page a supervisor (promise 4). One page at a time.

    `conversation` is the one whose message failed last; the alert is the desk's and only a decision ends it.
    """
    await session.flush()
    found = await session.scalar(
        select(Alert)
        .where(Alert.desk == conversation.desk, Alert.reason == "understanding_down", Alert.state != "ended")
        .limit(1)
    )
    if found is not None:
        return found
    alert = Alert(
        conversation_id=conversation.id,
        episode_id=None,
        case_number=None,
        desk=conversation.desk,
        reason="understanding_down",
        level="high",
        state="ringing",
        rung=SUPERVISOR,
        from_rung=SUPERVISOR,
        next_rung=SUPERVISOR,
        rounds=0,
        started_at=now,
        next_at=now,
    )
    session.add(alert)
    await session.flush()
    _event(session, alert, now, "started", detail="understanding_down")
    await session.flush()
    return alert


async def _locked(session: AsyncSession, alert_id: int) -> Alert:
    await session.flush()
    alert = await session.scalar(
        select(Alert).where(Alert.id == alert_id).with_for_update().execution_options(populate_existing=True)
    )
    if alert is None:
        raise NotFound
    return alert


def _event(
    session: AsyncSession,
    alert: Alert,
    now: datetime,
    what: str,
    *,
    rung: int | None = None,
    staff_id: int | None = None,
    means: str | None = None,
    detail: str | None = None,
) -> None:
    session.add(
        AlertEvent(
            alert_id=alert.id, at=now, what=what, rung=rung, staff_id=staff_id, means=means, detail=detail
        )
    )
