"""复核样本: what counsellors judged otherwise than the machine, so that the machine can learn it.

A difference becomes a `ReviewItem` by itself: an assessment or a closing with another risk or category, or a mark on a message. A
curator opens it, sees the words with identifying details masked (nlu/masking.py), and accepts it with the right labels or rejects it.
Nobody here sees the words as they were written. What was accepted stays sealed with the person's own key, is read for training only
into memory, and every look and every use is on record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, records
from escalation.people import key_of, known_details
from escalation.policy import grave
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Conversation, Message, Person, ReviewItem
from nlu import masking
from nlu.understanding import INTENTS, About, Intent, Kind, Risk, Topic, risk_rank

Mark = Literal["missed", "false_alarm"]
MARKS: Final[tuple[Mark, ...]] = get_args(Mark)
REASONS: Final[dict[str, str]] = {
    "missed": "咨询员标记：漏报",
    "false_alarm": "咨询员标记：误报",
    "risk": "评估的风险与机器判断不同",
    "category": "结案的案由与机器判断不同",
}
REJECTIONS: Final[dict[str, str]] = {
    "identifying": "去不掉能认出本人的内容",
    "unclear": "看不出谁对",
    "machine_right": "机器判断没有错",
    "other": "其他",
}
HISTORY: Final = 3  # older messages of the person that go with one: what the model reads together with it
_LOOKED_THROUGH: Final = (
    200  # newest messages of a conversation among which the one that counts is looked for
)
_PLACE: Final = "review_item.words"


class NotAllowed(Exception):
    """`code`: unknown, decided, gone (the words are no longer there), empty, kinds (high or above needs a kind), too_long."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Labels:
    """What a message is said to be."""

    topic: Topic
    risk: Risk
    kinds: tuple[Kind, ...]
    category: str
    about: About


@dataclass(frozen=True, slots=True)
class Sample:
    """A review item opened: masked words, and the labels as the machine gave them (`machine`) and as proposed or accepted.

    `risk` of the proposal is None where a false alarm was marked and nobody has assessed: the curator must say.
    """

    item: ReviewItem
    text: str
    history: tuple[str, ...]
    machine: Labels
    topic: Topic
    risk: Risk | None
    kinds: tuple[Kind, ...]
    category: str
    about: About


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted item as training takes it: masked words and the curator's labels."""

    item_id: int
    person_id: int
    text: str
    history: tuple[str, ...]
    labels: Labels
    intent: Intent
    resolved: bool


# --- where items come from ------------------------------------------------------------------------------------------


async def mark(
    session: AsyncSession,
    conversation: Conversation,
    message_id: int,
    what: Mark | None,
    *,
    staff_id: int,
    now: datetime,
) -> None:
    """A counsellor says of one message that its danger was missed, or that there was none; None takes the mark back.

    Call it with the conversation locked. Raises NotAllowed: "unknown" for what is no judged message of the person here, "decided"
    where a curator has decided already.
    """
    message = await session.get(Message, message_id)
    if (
        message is None
        or message.conversation_id != conversation.id
        or message.direction != "in"
        or message.risk is None
        or message.text_sealed is None
    ):
        raise NotAllowed("unknown")
    item = await _item_of(session, message_id)
    if item is not None and item.state != "open":
        raise NotAllowed("decided")
    if item is None:
        if what is None:
            return
        item = _new_item(session, conversation, message, now)
    kept = [reason for reason in item.reasons if reason not in MARKS]
    item.reasons = kept if what is None else [what, *kept]
    item.marked_by = None if what is None else staff_id
    await _settle(session, item)
    records.write(session, staff_id, "review.mark", "conversation", conversation.id, now, what or "none")


async def marks(session: AsyncSession, message_ids: Sequence[int]) -> dict[int, Mark]:
    """The counsellors' marks on these messages."""
    rows = await session.execute(
        select(ReviewItem.message_id, ReviewItem.reasons).where(ReviewItem.message_id.in_(message_ids))
    )
    found: dict[int, Mark] = {}
    for message_id, reasons in rows:
        for name in MARKS:
            if name in reasons:
                found[message_id] = name
    return found


async def assessed(session: AsyncSession, conversation: Conversation, level: Risk, now: datetime) -> None:
    """A counsellor's level is in force: where the machine's was another, that becomes an item; where no longer, it goes.

    The message it is about is the one that a counsellor marked, else the one that the machine found gravest (the last of several).
    """
    judged = await _judged(session, conversation.id)
    if not judged:
        return
    gravest = max(judged, key=lambda m: (risk_rank(m.risk or "none"), m.id))
    machine = gravest.risk or "none"
    differs = machine != level
    items = await _items(session, conversation.id)
    marked = [item for item in items if set(item.reasons) & set(MARKS)]
    about = {item.message_id for item in marked} or {gravest.id}
    for item in items:
        if item.state != "open":
            continue
        hit = differs and item.message_id in about
        rest = [reason for reason in item.reasons if reason != "risk"]
        item.reasons = [*rest, "risk"] if hit else rest
        item.risk_assessed = level if hit or set(rest) & set(MARKS) else None
        await _settle(session, item)
    if differs and not marked and all(item.message_id != gravest.id for item in items):
        item = _new_item(session, conversation, gravest, now)
        item.reasons, item.risk_assessed = ["risk"], level
        await _settle(session, item)


async def closed(
    session: AsyncSession,
    key: DataKey,
    conversation: Conversation,
    *,
    category_before: str,
    category: str,
    now: datetime,
) -> None:
    """A contact was closed under another category than the machine's (`category_before`, "" where it named none)."""
    if not category or category == category_before:
        return
    judged = await _judged(session, conversation.id)
    if not judged:
        return
    chosen = _first_of_category(key, judged, category_before)
    item = await _item_of(session, chosen.id)
    if item is None:
        item = _new_item(session, conversation, chosen, now)
    elif item.state != "open":
        return
    item.category_machine, item.category_closed = category_before, category
    item.reasons = [*(reason for reason in item.reasons if reason != "category"), "category"]
    await _settle(session, item)


def _first_of_category(key: DataKey, judged: Sequence[Message], category: str) -> Message:
    """The message that gave the conversation its category; where none did, the one that says most."""
    lines = [conversations.open_line(key, message) for message in judged]
    named = [line for line in lines if category and line.understanding.get("category") == category]
    if named:
        return named[0].message
    return max(lines, key=lambda line: (len(line.text or ""), -line.message.id)).message


async def _judged(session: AsyncSession, conversation_id: int) -> Sequence[Message]:
    """The person's messages that the machine read, oldest first, of the newest in the conversation."""
    await session.flush()
    found = await session.scalars(
        select(Message)
        .where(
            Message.conversation_id == conversation_id,
            Message.direction == "in",
            Message.risk.is_not(None),
            Message.text_sealed.is_not(None),
        )
        .order_by(Message.id.desc())
        .limit(_LOOKED_THROUGH)
    )
    return list(reversed(found.all()))


def _new_item(
    session: AsyncSession, conversation: Conversation, message: Message, now: datetime
) -> ReviewItem:
    item = ReviewItem(
        desk=conversation.desk,
        person_id=conversation.person_id,
        conversation_id=conversation.id,
        message_id=message.id,
        reasons=[],
        weight=2,
        state="open",
        risk_machine=message.risk,
        category_machine=conversation.category,
        created_at=now,
    )
    session.add(item)
    return item


async def _settle(session: AsyncSession, item: ReviewItem) -> None:
    """Give the item its weight; one without any reason left goes."""
    if not item.reasons:
        await session.flush()
        await session.delete(item)
    elif set(item.reasons) & set(MARKS) or (
        "risk" in item.reasons and grave(item.risk_machine) != grave(item.risk_assessed)
    ):
        item.weight = 0
    else:
        item.weight = 1 if "risk" in item.reasons else 2
    await session.flush()


async def _item_of(session: AsyncSession, message_id: int) -> ReviewItem | None:
    await session.flush()
    return await session.scalar(
        select(ReviewItem)
        .where(ReviewItem.message_id == message_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def _items(session: AsyncSession, conversation_id: int) -> Sequence[ReviewItem]:
    await session.flush()
    found = await session.scalars(
        select(ReviewItem)
        .where(ReviewItem.conversation_id == conversation_id)
        .order_by(ReviewItem.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found.all()


# --- what a curator does --------------------------------------------------------------------------------------------


async def listed(
    session: AsyncSession, desk: str, state: str, *, after: int | None = None, limit: int = 100
) -> Sequence[ReviewItem]:
    """Items without any words: the open ones gravest difference first, the decided ones newest first."""
    query = select(ReviewItem).where(ReviewItem.desk == desk, ReviewItem.state == state).limit(limit)
    last = None if after is None else await session.get(ReviewItem, after)
    if state != "open":
        if last is not None:
            query = query.where(ReviewItem.id < last.id)
        return (await session.scalars(query.order_by(ReviewItem.id.desc()))).all()
    if last is not None:
        query = query.where(
            (ReviewItem.weight > last.weight)
            | ((ReviewItem.weight == last.weight) & (ReviewItem.id > last.id))
        )
    return (await session.scalars(query.order_by(ReviewItem.weight, ReviewItem.id))).all()


async def counts(session: AsyncSession, desk: str) -> dict[str, int]:
    """How many are open, accepted, rejected."""
    rows = await session.execute(
        select(ReviewItem.state, func.count()).where(ReviewItem.desk == desk).group_by(ReviewItem.state)
    )
    counted = {state: count for state, count in rows}
    return {state: counted.get(state, 0) for state in ("open", "accepted", "rejected")}


async def opened(session: AsyncSession, vault: Vault, item: ReviewItem) -> Sample:
    """The item with its words masked. Put the look on record first. Raises NotAllowed("gone")."""
    try:
        key = await key_of(session, vault, item.person_id)
    except Unreadable:
        raise NotAllowed("gone") from None
    message = await session.get(Message, item.message_id)
    line = None if message is None else conversations.open_line(key, message)
    understood = {} if line is None else line.understanding
    machine = _labels(item, understood)
    if item.words_sealed is not None:
        words = _words(key, item.words_sealed)
        text, history = words["text"], tuple(words["history"])
    elif line is None or not line.text:
        raise NotAllowed("gone")
    else:
        known = await known_details(session, key, item.person_id)
        text = masking.mask(line.text, known)
        history = tuple(masking.mask(older, known) for older in await _before(session, key, item))
    return Sample(
        item,
        text,
        history,
        machine,
        topic=item.topic or machine.topic,  # type: ignore[arg-type]
        risk=item.risk or _proposed_risk(item),
        kinds=machine.kinds if item.kinds is None else tuple(item.kinds),
        category=item.category or item.category_closed or machine.category,
        about=item.about or machine.about,  # type: ignore[arg-type]
    )


async def accept(
    session: AsyncSession,
    vault: Vault,
    item_id: int,
    *,
    desk: str,
    staff_id: int,
    text: str,
    history: Sequence[str],
    labels: Labels,
    now: datetime,
) -> ReviewItem:
    """Take an open item for training, with the words as the curator left them. What has a certain form is masked once more.

    Raises NotAllowed: unknown, decided, gone, empty, kinds.
    """
    item = await _open_item(session, item_id, desk)
    try:
        key = await key_of(session, vault, item.person_id)
    except Unreadable:
        raise NotAllowed("gone") from None
    if not text.strip():
        raise NotAllowed("empty")
    if grave(labels.risk) and not labels.kinds:
        raise NotAllowed("kinds")
    message = await session.get(Message, item.message_id)
    if message is None or (message.text_sealed is None and item.words_sealed is None):
        raise NotAllowed("gone")
    understood = conversations.open_line(key, message).understanding
    words = {
        "text": masking.mask_certain(text.strip()),
        "history": [masking.mask_certain(older.strip()) for older in history if older.strip()],
        "intent": understood.get("intent", "none"),
        "resolved": bool(understood.get("resolved", False)),
    }
    item.words_sealed = key.seal(json.dumps(words, ensure_ascii=False), _PLACE)
    item.topic, item.risk, item.category = labels.topic, labels.risk, labels.category
    item.kinds, item.about = list(labels.kinds), labels.about
    item.state, item.reject_why = "accepted", None
    item.decided_by, item.decided_at = staff_id, now
    records.write(session, staff_id, "review.accept", "review_item", item.id, now)
    await session.flush()
    return item


async def reject(
    session: AsyncSession, item_id: int, *, desk: str, staff_id: int, why: str, now: datetime
) -> ReviewItem:
    """Not for training; no words are kept with it. Raises NotAllowed: unknown, decided; ValueError for an unknown `why`."""
    if why not in REJECTIONS:
        raise ValueError("unknown reason")
    item = await _open_item(session, item_id, desk)
    item.words_sealed = None
    item.state, item.reject_why, item.decided_by, item.decided_at = "rejected", why, staff_id, now
    records.write(session, staff_id, "review.reject", "review_item", item.id, now, why)
    await session.flush()
    return item


async def reopen(
    session: AsyncSession, item_id: int, *, desk: str, staff_id: int, now: datetime
) -> ReviewItem:
    """Take a decision back: from now on training does not take it. Raises NotAllowed: unknown, decided (it is open)."""
    item = await _locked(session, item_id, desk)
    if item.state == "open":
        raise NotAllowed("decided")
    item.state, item.reject_why, item.decided_by, item.decided_at = "open", None, None, None
    records.write(session, staff_id, "review.reopen", "review_item", item.id, now)
    await session.flush()
    return item


async def _open_item(session: AsyncSession, item_id: int, desk: str) -> ReviewItem:
    item = await _locked(session, item_id, desk)
    if item.state != "open":
        raise NotAllowed("decided")
    return item


async def _locked(session: AsyncSession, item_id: int, desk: str) -> ReviewItem:
    await session.flush()
    item = await session.get(ReviewItem, item_id, with_for_update=True, populate_existing=True)
    if item is None or item.desk != desk:
        raise NotAllowed("unknown")
    return item


def _proposed_risk(item: ReviewItem) -> Risk | None:
    if item.risk_assessed is not None:
        return item.risk_assessed
    if "false_alarm" in item.reasons:
        return None
    return "high" if "missed" in item.reasons and not grave(item.risk_machine) else item.risk_machine


def _labels(item: ReviewItem, understood: dict[str, Any]) -> Labels:
    """The machine's labels as they were stored with the message."""
    return Labels(
        topic=understood.get("topic", "other"),
        risk=item.risk_machine,
        kinds=tuple(understood.get("kinds", ())),
        category=str(understood.get("category", "")) or item.category_machine,
        about=understood.get("about", "unknown"),
    )


def _words(key: DataKey, sealed: bytes) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(key.open(sealed, _PLACE))
    return words


async def _before(session: AsyncSession, key: DataKey, item: ReviewItem) -> list[str]:
    """The person's last few words before the message, oldest first."""
    rows = await session.scalars(
        select(Message)
        .where(
            Message.conversation_id == item.conversation_id,
            Message.direction == "in",
            Message.id < item.message_id,
            Message.text_sealed.is_not(None),
        )
        .order_by(Message.id.desc())
        .limit(HISTORY)
    )
    older = [conversations.opened(key, row.text_sealed, "message.text") for row in rows]
    return [text for text in reversed(older) if text and text.strip()]


# --- what training takes --------------------------------------------------------------------------------------------


async def accepted(session: AsyncSession, vault: Vault, desk: str) -> list[Accepted]:
    """Everything accepted on this desk, opened into memory. What no longer opens (a person just erased) is left out."""
    rows = await session.execute(
        select(ReviewItem, Person.data_key)
        .join(Person, Person.id == ReviewItem.person_id)
        .where(ReviewItem.desk == desk, ReviewItem.state == "accepted")
        .order_by(ReviewItem.id)
    )
    found = []
    for item, wrapped in rows:
        try:
            words = _words(vault.person_key(wrapped), item.words_sealed or b"")
        except Unreadable:
            continue
        found.append(_accepted(item, words))
    return found


def _accepted(item: ReviewItem, words: dict[str, Any]) -> Accepted:
    intent = cast(Intent, words["intent"]) if words["intent"] in INTENTS else "none"
    return Accepted(
        item.id,
        item.person_id,
        words["text"],
        tuple(words["history"]),
        Labels(item.topic, item.risk, tuple(item.kinds or ()), item.category or "", item.about),  # type: ignore[arg-type]
        intent,
        bool(words["resolved"]),
    )


async def used(session: AsyncSession, item_ids: Iterable[int], model: str, now: datetime) -> None:
    """A model was trained with these: on record for each, by the model's name."""
    for item_id in item_ids:
        item = await session.get(ReviewItem, item_id)
        if item is not None:
            item.used_at = now
            records.write(session, None, "review.train", "review_item", item_id, now, model)
    await session.flush()
