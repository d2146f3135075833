"""Rows made into what the workbench shows: cards of a list, the thread with marked words, everything beside it.

Reading only. Words are opened here, for a reader whose look the caller has put on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels.wechat.quota import quota_left
from bot.settings import Settings
from bot.tables import Delivery
from bot.web.api import shapes
from escalation import desk, review
from escalation.policy import Policy
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import (
    Alert,
    AlertEvent,
    Case,
    Conversation,
    Episode,
    Message,
    Note,
    Nuisance,
    Person,
    Rescue,
    RescueNotice,
    Staff,
    Transfer,
)

_PREVIEW = 40  # characters of the last words shown in a list
_EARLIER = 20
_SURROGATE = re.compile("[\ud800-\udfff]")  # a browser can send a lone one; JSON cannot carry it


def opened(key: DataKey | None, sealed: bytes | None, place: str) -> str | None:
    """The words behind a sealed value; None where there are none, or the person was erased."""
    if key is None or sealed is None:
        return None
    try:
        return _SURROGATE.sub("\ufffd", key.open(sealed, place))
    except Unreadable:
        return None


def person_key(vault: Vault, wrapped: bytes | None) -> DataKey | None:
    """A person's data key, None once erased."""
    try:
        return vault.person_key(wrapped)
    except Unreadable:
        return None


async def names(session: AsyncSession, ids: Iterable[int | None]) -> dict[int, str]:
    """Staff names by id."""
    wanted = {i for i in ids if i is not None}
    if not wanted:
        return {}
    rows = await session.execute(select(Staff.id, Staff.name).where(Staff.id.in_(wanted)))
    return {row.id: row.name for row in rows}


def named(staff_id: int, known: Mapping[int, str]) -> shapes.Named:
    return shapes.Named(id=staff_id, name=known.get(staff_id, "（已离开）"))


def _maybe(staff_id: int | None, known: Mapping[int, str]) -> shapes.Named | None:
    return None if staff_id is None else named(staff_id, known)


# --- cards ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Beside:
    """What cards show that is not in the conversation's own row, by conversation (or person) id."""

    owners: dict[int, str]
    persons: dict[int, tuple[DataKey | None, str | None]]
    alerts: dict[int, str]
    nuisances: set[int]
    unread: dict[int, int]
    previews: dict[int, str]
    cases: dict[int, str]
    offers: dict[int, int]
    deadlines: dict[int, datetime]


async def cards(
    session: AsyncSession,
    vault: Vault,
    rows: Sequence[Conversation],
    *,
    reader_id: int,
    now: datetime,
    policy: Policy,
    previews: bool,
) -> list[shapes.Card]:
    """Cards in the order of `rows`; a few queries however many there are."""
    if not rows:
        return []
    beside = await _beside(session, vault, rows, reader_id, now, policy, previews)
    return [shapes.Card(**_card(row, beside)) for row in rows]


def _card(row: Conversation, beside: _Beside) -> dict[str, Any]:
    return {
        "id": row.id,
        "channel": row.channel,
        "state": row.state,
        "risk": row.risk,
        "topic": row.topic,
        "category": row.category,
        "person_alias": beside.persons[row.person_id][1],
        "owner": _maybe(row.owner_id, beside.owners),
        "waiting_since": row.waiting_since,
        "deadline_at": beside.deadlines.get(row.id),
        "last_inbound_at": row.last_inbound_at,
        "opened_at": row.opened_at,
        "episode_open": row.episode_id is not None,
        "alert_state": beside.alerts.get(row.id),
        "nuisance": row.person_id in beside.nuisances,
        "unread": beside.unread.get(row.id, 0),
        "preview": beside.previews.get(row.id),
        "case_number": beside.cases.get(row.id),
        "transfer_offered_to_me": beside.offers.get(row.id),
    }


async def _beside(
    session: AsyncSession,
    vault: Vault,
    rows: Sequence[Conversation],
    reader_id: int,
    now: datetime,
    policy: Policy,
    previews: bool,
) -> _Beside:
    ids = [row.id for row in rows]
    people = await session.execute(
        select(Person.id, Person.data_key, Person.alias_sealed).where(
            Person.id.in_({r.person_id for r in rows})
        )
    )
    persons = {}
    for person_id, wrapped, alias in people:
        key = person_key(vault, wrapped)
        persons[person_id] = (key, opened(key, alias, "person.alias"))
    alerts = await session.execute(
        select(Alert.conversation_id, Alert.state)
        .where(Alert.conversation_id.in_(ids), Alert.state != "ended")
        .order_by(Alert.id)
    )
    marks = await session.scalars(
        select(Nuisance.person_id).where(
            Nuisance.person_id.in_(list(persons)),
            Nuisance.confirmed_by.is_not(None),
            Nuisance.ended_at.is_(None),
            Nuisance.until > now,
        )
    )
    numbers = await session.execute(
        select(Case.conversation_id, Case.number).where(Case.conversation_id.in_(ids)).order_by(Case.id)
    )
    offers = await session.execute(
        select(Transfer.conversation_id, Transfer.id).where(
            Transfer.conversation_id.in_(ids), Transfer.to_id == reader_id, Transfer.state == "offered"
        )
    )
    return _Beside(
        owners=await names(session, [r.owner_id for r in rows]),
        persons=persons,
        alerts={row[0]: row[1] for row in alerts},
        nuisances=set(marks),
        unread=await _unread(session, ids),
        previews=await _previews(session, rows, persons) if previews else {},
        cases={row[0]: row[1] for row in numbers},
        offers={row[0]: row[1] for row in offers},
        deadlines=await _deadlines(session, rows, policy),
    )


async def _deadlines(
    session: AsyncSession, rows: Sequence[Conversation], policy: Policy
) -> dict[int, datetime]:
    """By when the owner of each must have replied (promise 6)."""
    risen: dict[int, datetime] = {}
    if episodes := [r.episode_id for r in rows if r.episode_id is not None]:
        found = await session.execute(
            select(Episode.conversation_id, Episode.risen_at).where(
                Episode.id.in_(episodes), Episode.ended_at.is_(None)
            )
        )
        risen = {row[0]: row[1] for row in found}
    return {
        r.id: desk.reply_due(
            r.waiting_since, r.owner_since or r.waiting_since, r.risk, risen.get(r.id), policy
        )
        for r in rows
        if r.state == "human" and r.waiting_since is not None
    }


async def _unread(session: AsyncSession, ids: Sequence[int]) -> dict[int, int]:
    """Messages of the person since the last words of a counsellor."""
    last = (
        select(Message.conversation_id, func.max(Message.id).label("upto"))
        .where(Message.conversation_id.in_(ids), Message.author == "staff")
        .group_by(Message.conversation_id)
        .subquery()
    )
    counted = await session.execute(
        select(Message.conversation_id, func.count())
        .outerjoin(last, last.c.conversation_id == Message.conversation_id)
        .where(
            Message.conversation_id.in_(ids),
            Message.direction == "in",
            Message.kind != "event",
            Message.id > func.coalesce(last.c.upto, 0),
        )
        .group_by(Message.conversation_id)
    )
    return {row[0]: row[1] for row in counted}


async def _previews(
    session: AsyncSession,
    rows: Sequence[Conversation],
    persons: Mapping[int, tuple[DataKey | None, str | None]],
) -> dict[int, str]:
    """The person's last words, shortened."""
    last = (
        select(func.max(Message.id))
        .where(
            Message.conversation_id.in_([r.id for r in rows]),
            Message.direction == "in",
            Message.kind != "event",
        )
        .group_by(Message.conversation_id)
    )
    found = await session.execute(
        select(Message.conversation_id, Message.kind, Message.text_sealed).where(Message.id.in_(last))
    )
    keys = {r.id: persons[r.person_id][0] for r in rows}
    previews = {}
    for conversation_id, kind, sealed in found:
        words = opened(keys[conversation_id], sealed, "message.text") or _KINDS.get(kind, "")
        previews[conversation_id] = words if len(words) <= _PREVIEW else words[: _PREVIEW - 1] + "…"
    return previews


_KINDS = {"image": "［图片］", "voice": "［语音］", "location": "［位置］", "link": "［链接］"}


# --- the thread -----------------------------------------------------------------------------------------------------


async def thread(
    session: AsyncSession,
    key: DataKey | None,
    conversation_id: int,
    *,
    before: int | None = None,
    limit: int = 50,
) -> list[shapes.MessageShown]:
    """The last `limit` messages (of those older than `before`), oldest first."""
    chosen = select(Message).where(Message.conversation_id == conversation_id)
    if before is not None:
        chosen = chosen.where(Message.id < before)
    rows = list(await session.scalars(chosen.order_by(Message.id.desc()).limit(limit)))[::-1]
    return await shown_messages(session, key, rows)


async def shown_messages(
    session: AsyncSession, key: DataKey | None, rows: Sequence[Message]
) -> list[shapes.MessageShown]:
    """Messages of one person with their deliveries and what was understood."""
    authors = await names(session, [m.staff_id for m in rows])
    outgoing = [m.id for m in rows if m.direction == "out"]
    deliveries = {}
    if outgoing:
        found = await session.scalars(
            select(Delivery).where(Delivery.message_id.in_(outgoing)).order_by(Delivery.id)
        )
        deliveries = {d.message_id: shapes.DeliveryShown(state=d.state, error=d.error) for d in found}
    marks = await review.marks(session, [m.id for m in rows if m.direction == "in"])
    return [_message(m, key, authors, deliveries.get(m.id), marks.get(m.id)) for m in rows]


async def one_message(session: AsyncSession, key: DataKey | None, message_id: int) -> shapes.MessageShown:
    return (await shown_messages(session, key, [await session.get_one(Message, message_id)]))[0]


def _message(
    row: Message,
    key: DataKey | None,
    authors: Mapping[int, str],
    delivery: shapes.DeliveryShown | None,
    mark: review.Mark | None,
) -> shapes.MessageShown:
    text = opened(key, row.text_sealed, "message.text")
    understood = _object(opened(key, row.understanding_sealed, "message.understanding"))
    meta = _object(opened(key, row.meta_sealed, "message.meta"))
    spans = [
        shapes.MarkedWords(start=_units(text, s["start"]), end=_units(text, s["end"]), reason=s["reason"])
        for s in understood.get("spans", ())
    ]
    reasons = list(dict.fromkeys(s.reason for s in spans))
    return shapes.MessageShown(
        id=row.id,
        direction=row.direction,
        author=row.author,
        staff_name=None if row.staff_id is None else authors.get(row.staff_id),
        kind=row.kind,
        text=text,
        at=row.received_at,
        state=row.state,
        risk=row.risk,
        kinds=list(understood.get("kinds", ())),
        spans=spans,
        explanation="；".join(reasons),
        mark=mark,
        template=row.template,
        buttons=[shapes.Choice(label=b["label"], value=b["value"]) for b in meta.pop("buttons", None) or ()],
        delivery=delivery,
        meta=meta or None,
    )


def _units(text: str | None, place: int) -> int:
    """A place in code points as a place in UTF-16 units."""
    return place + sum(c > "\uffff" for c in (text or "")[:place])


def _object(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


# --- everything beside the thread -----------------------------------------------------------------------------------


async def notes(session: AsyncSession, key: DataKey | None, conversation_id: int) -> list[shapes.NoteShown]:
    rows = list(
        await session.scalars(select(Note).where(Note.conversation_id == conversation_id).order_by(Note.id))
    )
    authors = await names(session, [n.staff_id for n in rows])
    return [
        shapes.NoteShown(
            id=n.id,
            staff=named(n.staff_id, authors),
            at=n.at,
            text=opened(key, n.text_sealed, "note.text") or "",
        )
        for n in rows
    ]


async def episode(session: AsyncSession, conversation: Conversation) -> shapes.EpisodeShown | None:
    """The open episode, else the last one."""
    row = await session.scalar(
        select(Episode).where(Episode.conversation_id == conversation.id).order_by(Episode.id.desc()).limit(1)
    )
    if row is None:
        return None
    return shapes.EpisodeShown(
        id=row.id,
        level=row.level,
        kinds=[str(k) for k in row.kinds],
        opened_at=row.opened_at,
        assessed_level=row.assessed_level,
        safety_sent_at=row.safety_sent_at,
        ended_at=row.ended_at,
    )


async def alerts(session: AsyncSession, rows: Sequence[Alert]) -> list[shapes.AlertShown]:
    """Alerts with everything that happened to them."""
    if not rows:
        return []
    steps = list(
        await session.scalars(
            select(AlertEvent).where(AlertEvent.alert_id.in_([a.id for a in rows])).order_by(AlertEvent.id)
        )
    )
    known = await names(session, [s.staff_id for s in steps] + [a.acknowledged_by for a in rows])
    events: dict[int, list[shapes.AlertStep]] = {}
    for s in steps:
        events.setdefault(s.alert_id, []).append(
            shapes.AlertStep(
                at=s.at,
                what=s.what,
                rung=s.rung,
                staff=_maybe(s.staff_id, known),
                means=s.means,
                detail=s.detail,
            )
        )
    return [
        shapes.AlertShown(
            id=a.id,
            conversation_id=a.conversation_id,
            case_number=a.case_number,
            level=a.level,
            state=a.state,
            rung=a.rung,
            reason=a.reason,
            started_at=a.started_at,
            next_at=a.next_at,
            acknowledged_by=_maybe(a.acknowledged_by, known),
            events=events.get(a.id, []),
        )
        for a in rows
    ]


async def alert_of(session: AsyncSession, conversation_id: int) -> shapes.AlertShown | None:
    """The alert under way, else the last one."""
    row = await session.scalar(
        select(Alert)
        .where(Alert.conversation_id == conversation_id)
        .order_by((Alert.state == "ended"), Alert.id.desc())
        .limit(1)
    )
    return (await alerts(session, [row]))[0] if row is not None else None


async def case_of(session: AsyncSession, conversation: Conversation) -> shapes.CaseShown | None:
    row = await session.scalar(
        select(Case).where(Case.conversation_id == conversation.id).order_by(Case.id.desc()).limit(1)
    )
    if row is None:
        return None
    return shapes.CaseShown(
        number=row.number,
        state=row.state,
        version=row.version,
        category=row.category,
        risk_assessed=row.risk_assessed,
        result=row.result,
    )


async def rescues(
    session: AsyncSession, key: DataKey | None, conversation_id: int
) -> list[shapes.RescueShown]:
    rows = list(
        await session.scalars(
            select(Rescue).where(Rescue.conversation_id == conversation_id).order_by(Rescue.id)
        )
    )
    if not rows:
        return []
    told = list(
        await session.scalars(
            select(RescueNotice)
            .where(RescueNotice.rescue_id.in_([r.id for r in rows]))
            .order_by(RescueNotice.at)
        )
    )
    known = await names(
        session, [r.opened_by for r in rows] + [r.approved_by for r in rows] + [n.by_id for n in told]
    )
    return [_rescue(row, key, [n for n in told if n.rescue_id == row.id], known) for row in rows]


def _rescue(
    row: Rescue, key: DataKey | None, told: Sequence[RescueNotice], known: Mapping[int, str]
) -> shapes.RescueShown:
    return shapes.RescueShown(
        id=row.id,
        state=row.state,
        opened_by=named(row.opened_by, known),
        opened_at=row.opened_at,
        place=opened(key, row.place_sealed, "rescue.place"),
        identity=opened(key, row.identity_sealed, "rescue.identity"),
        legal_basis=opened(key, row.legal_basis_sealed, "rescue.legal_basis") or "",
        guardian_may_harm=row.guardian_may_harm,
        approved_by=_maybe(row.approved_by, known),
        approved_at=row.approved_at,
        not_awaited_reason=opened(key, row.not_awaited_reason_sealed, "rescue.not_awaited_reason"),
        notices=[
            shapes.NoticeShown(
                told=n.told,
                by=named(n.by_id, known),
                at=n.at,
                detail=opened(key, n.detail_sealed, "rescue_notice.detail"),
            )
            for n in told
        ],
        result=opened(key, row.result_sealed, "rescue.result"),
        closed_at=row.closed_at,
    )


async def nuisance_of(
    session: AsyncSession, key: DataKey | None, person_id: int, now: datetime
) -> shapes.NuisanceShown | None:
    """The mark in force or waiting for a supervisor."""
    row = await session.scalar(
        select(Nuisance)
        .where(
            Nuisance.person_id == person_id,
            Nuisance.ended_at.is_(None),
            Nuisance.until.is_(None) | (Nuisance.until > now),
        )
        .order_by(Nuisance.id.desc())
        .limit(1)
    )
    return await nuisance(session, key, row) if row is not None else None


async def nuisance(session: AsyncSession, key: DataKey | None, row: Nuisance) -> shapes.NuisanceShown:
    known = await names(session, [row.proposed_by, row.confirmed_by])
    return shapes.NuisanceShown(
        id=row.id,
        proposed_by=named(row.proposed_by, known),
        proposed_at=row.proposed_at,
        reason=opened(key, row.reason_sealed, "nuisance.reason"),
        confirmed_by=_maybe(row.confirmed_by, known),
        until=row.until,
    )


def safe_contact(key: DataKey | None, person: Person) -> shapes.SafeContactShown | None:
    """How the person can be reached safely, as far as they said."""
    said = _object(opened(key, person.safe_contact_sealed, "person.safe_contact"))
    if not said:
        return None
    return shapes.SafeContactShown(
        how=str(said.get("how", "")),
        when=str(said.get("when", "")),
        may_say_who=bool(said.get("may_say_who", False)),
        words=str(said.get("words", "")),
    )


async def earlier(session: AsyncSession, conversation: Conversation) -> list[shapes.EarlierContact]:
    """The same person's other conversations, newest first."""
    rows = await session.scalars(
        select(Conversation)
        .where(Conversation.person_id == conversation.person_id, Conversation.id != conversation.id)
        .order_by(Conversation.id.desc())
        .limit(_EARLIER)
    )
    return [
        shapes.EarlierContact(
            conversation_id=r.id, opened_at=r.opened_at, channel=r.channel, risk=r.risk, category=r.category
        )
        for r in rows
    ]


async def quota(
    session: AsyncSession, conversation: Conversation, now: datetime, settings: Settings
) -> shapes.QuotaShown:
    """What the provider still lets us send to this person; only WeChat has such a limit."""
    if conversation.channel != "wechat":
        return shapes.QuotaShown(left=None, until=None, text=None)
    verified = all(a.verified for a in settings.wechat if a.account == conversation.account)
    shown = await quota_left(
        session, conversation.contact_id, now, verified=verified, timezone=settings.desk.timezone
    )
    return shapes.QuotaShown(left=shown.left, until=shown.until, text=shown.text)


async def transfer_of(
    session: AsyncSession, vault: Vault, key: DataKey | None, conversation_id: int
) -> shapes.TransferShown | None:
    """The open offer to hand the conversation over."""
    row = await session.scalar(
        select(Transfer)
        .where(Transfer.conversation_id == conversation_id, Transfer.state == "offered")
        .order_by(Transfer.id.desc())
        .limit(1)
    )
    if row is None:
        return None
    known = await names(session, [row.from_id, row.to_id])
    reason = opened(key, row.reason_sealed, "transfer.reason")
    return shapes.TransferShown(
        id=row.id,
        from_=shapes.Named(id=row.from_id, name=known.get(row.from_id, "")),
        to=shapes.Named(id=row.to_id, name=known.get(row.to_id, "")),
        reason=reason,
        offered_at=row.offered_at,
    )


async def card_parts(
    session: AsyncSession,
    vault: Vault,
    row: Conversation,
    *,
    reader_id: int,
    now: datetime,
    policy: Policy,
) -> dict[str, Any]:
    """The card's fields for the full view of one conversation."""
    return _card(row, await _beside(session, vault, [row], reader_id, now, policy, previews=True))
