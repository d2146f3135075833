"""未答问题: what the service could not answer, so that curators see what is missing.

A question becomes an item in the commit that ends its turn: where no entry answered it, where the person said that the entry did not
help, or where a counsellor answered in their own words. Nothing of danger is ever one. The words stay the message's, under the
person's key; a curator sees them with identifying details masked (nlu/masking.py), and every look is on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, people, records
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Conversation, Message, Person, Unanswered
from nlu import masking
from nlu.understanding import Risk, Understanding, risk_rank

Reason = Literal["nothing", "not_helped", "human"]
REASONS: Final[dict[Reason, str]] = {
    "nothing": "没有条目能答",
    "not_helped": "来访者说没帮助",
    "human": "咨询员自己回答",
}
State = Literal["open", "taken", "dismissed"]
STATES: Final[tuple[State, ...]] = get_args(State)
DISMISSALS: Final[dict[str, str]] = {
    "no_question": "不是问题",
    "not_ours": "不属于服务范围",
    "answered": "已有条目能答",
    "single": "只对这一个人有意义",
    "other": "其他",
}

NEWEST: Final = 2000
"""Open questions that are looked through and put together; what is older is counted."""

_SHORTEST, _LONGEST = 4, 400  # characters: less says nothing, more is a story, and stories go to people
_LOOKED_BACK: Final = (
    20  # the person's messages before a counsellor's reply among which its question is looked for
)
# Areas in which nothing is put together or shown to curators, whatever the level.
_DANGER: Final = ("safety", "psychological.crisis", "legal.protection")
_ASKS: Final = re.compile(
    r"[?？]|[吗嘛呢么]\W*$|怎么|怎样|咋|什么|啥|多少|哪|几[岁天年个号点]|为何|如何|能不能|可不可以|是不是|会不会|有没有|要不要|"
    r"该不该|算不算|能否|是否|凭什么|谁"
)


class NotAllowed(Exception):
    """`code`: unknown, decided, open (nothing to take back)."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Question:
    """An open item with its words, as they were written: for putting together in memory, never for showing."""

    item: Unanswered
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """An item as a curator may see it: the question and, where a counsellor answered, the answer, both masked."""

    item: Unanswered
    text: str
    reply: str | None


# --- where items come from ------------------------------------------------------------------------------------------


def got_no_answer(
    session: AsyncSession,
    conversation: Conversation,
    message_id: int,
    text: str,
    understood: Understanding,
    at: datetime,
) -> None:
    """The bot had nothing to say to this message. Passed over where it is no question to keep."""
    meant = {
        "risk": understood.risk,
        "kinds": understood.kinds,
        "topic": understood.topic,
        "category": understood.category,
    }
    if _may_be_kept(conversation.risk, meant, text):
        session.add(_new(conversation, message_id, "nothing", understood.category, at))


async def did_not_help(
    session: AsyncSession, key: DataKey, conversation: Conversation, message_id: int, entry_id: str
) -> None:
    """The person says of the answer to their message `message_id` that it did not help."""
    message = await session.get(Message, message_id)
    if message is None or message.conversation_id != conversation.id:
        return
    line = conversations.open_line(key, message)
    if message.risk is None or not _may_be_kept(
        conversation.risk, line.understanding | {"risk": message.risk}, line.text
    ):
        return
    item = await _item(session, conversation, line, "not_helped")
    item.answered_by = entry_id


async def human_answered(
    session: AsyncSession, vault: Vault, conversation: Conversation, reply: Message
) -> None:
    """A counsellor wrote `reply`: what the person asked since the counsellor's words before becomes an item."""
    if risk_rank(conversation.risk) >= risk_rank("medium") or conversation.episode_id is not None:
        return
    try:
        key = await people.key_of(session, vault, conversation.person_id)
    except Unreadable:
        return
    for line in await _since_last_reply(session, key, conversation.id, reply.id):
        message = line.message
        if (
            message.risk is not None
            and _ASKS.search(line.text or "")
            and _may_be_kept(conversation.risk, line.understanding | {"risk": message.risk}, line.text)
        ):
            item = await _item(session, conversation, line, "human")
            item.reply_id = reply.id
            return


def _may_be_kept(level: Risk, understood: Mapping[str, Any], text: str | None) -> bool:
    """Whether a message is a question, and neither it nor its conversation anything of danger."""
    category = str(understood.get("category") or "")
    return (
        risk_rank(level) < risk_rank("medium")
        and risk_rank(understood["risk"]) < risk_rank("medium")
        and not understood.get("kinds")
        and understood.get("topic", "safety") != "safety"
        and not category.startswith(_DANGER)
        and _SHORTEST <= len((text or "").strip()) <= _LONGEST
    )


async def _since_last_reply(
    session: AsyncSession, key: DataKey, conversation_id: int, reply_id: int
) -> list[conversations.Line]:
    """The person's messages since a counsellor wrote before `reply_id`, newest first."""
    await session.flush()
    before = await session.scalar(
        select(func.max(Message.id)).where(
            Message.conversation_id == conversation_id, Message.author == "staff", Message.id < reply_id
        )
    )
    found = await session.scalars(
        select(Message)
        .where(
            Message.conversation_id == conversation_id,
            Message.direction == "in",
            Message.id < reply_id,
            Message.id > (before or 0),
            Message.text_sealed.is_not(None),
        )
        .order_by(Message.id.desc())
        .limit(_LOOKED_BACK)
    )
    return [conversations.open_line(key, message) for message in found]


async def _item(
    session: AsyncSession, conversation: Conversation, line: conversations.Line, reason: Reason
) -> Unanswered:
    """The message's item with this reason; a new one where there is none."""
    await session.flush()
    item = await session.scalar(
        select(Unanswered)
        .where(Unanswered.message_id == line.message.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if item is None:
        category = str(line.understanding.get("category") or "")
        item = _new(conversation, line.message.id, reason, category, line.message.received_at)
        session.add(item)
    elif reason not in item.reasons:
        item.reasons = [*item.reasons, reason]
    return item


def _new(
    conversation: Conversation, message_id: int, reason: Reason, category: str, at: datetime
) -> Unanswered:
    return Unanswered(
        desk=conversation.desk,
        at=at,
        reasons=[reason],
        state="open",
        category=category,
        person_id=conversation.person_id,
        conversation_id=conversation.id,
        message_id=message_id,
    )


# --- what a curator sees and does -----------------------------------------------------------------------------------


async def questions(session: AsyncSession, vault: Vault, desk: str) -> list[Question]:
    """The newest open questions whose words can still be read, newest first: NEWEST at most."""
    rows = await session.execute(
        select(Unanswered, Message.text_sealed, Person.data_key)
        .join(Message, Message.id == Unanswered.message_id)
        .join(Person, Person.id == Unanswered.person_id)
        .where(Unanswered.desk == desk, Unanswered.state == "open")
        .order_by(Unanswered.id.desc())
        .limit(NEWEST)
    )
    found = []
    for item, sealed, wrapped in rows:
        try:
            text = conversations.opened(vault.person_key(wrapped), sealed, "message.text")
        except Unreadable:
            continue
        if text and text.strip():
            found.append(Question(item, text))
    return found


async def counts(session: AsyncSession, desk: str) -> dict[str, int]:
    """How many are open, taken, dismissed; and `gone`: open ones whose words have ended."""
    rows = await session.execute(
        select(Unanswered.state, Unanswered.message_id.is_(None), func.count())
        .where(Unanswered.desk == desk)
        .group_by(Unanswered.state, Unanswered.message_id.is_(None))
    )
    counted = dict.fromkeys((*STATES, "gone"), 0)
    for state, gone, count in rows:
        counted["gone" if gone and state == "open" else state] += count
    return counted


async def settled(
    session: AsyncSession, desk: str, state: str, *, after: int | None = None, limit: int = 100
) -> Sequence[Unanswered]:
    """What was taken or dismissed, the newest first. No words."""
    query = select(Unanswered).where(Unanswered.desk == desk, Unanswered.state == state)
    if after is not None:
        query = query.where(Unanswered.id < after)
    return (await session.scalars(query.order_by(Unanswered.id.desc()).limit(limit))).all()


async def examples(
    session: AsyncSession, vault: Vault, items: Iterable[Unanswered], *, replies: bool = False
) -> list[Example]:
    """These items with their words masked. Put the look on record first. What can no longer be read is left out."""
    shown = []
    for item in items:
        if item.person_id is None or item.message_id is None:
            continue
        try:
            key = await people.key_of(session, vault, item.person_id)
        except Unreadable:
            continue
        known = await people.known_details(session, key, item.person_id)
        text = await _words(session, key, item.message_id)
        if not text:
            continue
        reply = await _words(session, key, item.reply_id) if replies and item.reply_id else None
        shown.append(Example(item, masking.mask(text, known), reply and masking.mask(reply, known)))
    return shown


async def _words(session: AsyncSession, key: DataKey, message_id: int) -> str | None:
    sealed = await session.scalar(select(Message.text_sealed).where(Message.id == message_id))
    return conversations.opened(key, sealed, "message.text")


async def take(
    session: AsyncSession, item_ids: Sequence[int], entry_id: str, *, desk: str, staff_id: int, now: datetime
) -> None:
    """These questions are taken up by a draft of `entry_id`. Raises NotAllowed: unknown, decided."""
    for item in await _open(session, item_ids, desk):
        item.state, item.taken_into = "taken", entry_id
        item.settled_by, item.settled_at = staff_id, now
        records.write(session, staff_id, "unanswered.take", "unanswered", item.id, now, entry_id)
    await session.flush()


async def dismiss(
    session: AsyncSession, item_ids: Sequence[int], why: str, *, desk: str, staff_id: int, now: datetime
) -> None:
    """Nothing is to be written for these. Raises NotAllowed: unknown, decided; ValueError for an unknown `why`."""
    if why not in DISMISSALS:
        raise ValueError("unknown reason")
    for item in await _open(session, item_ids, desk):
        item.state, item.dismissed_why = "dismissed", why
        item.settled_by, item.settled_at = staff_id, now
        records.write(session, staff_id, "unanswered.dismiss", "unanswered", item.id, now, why)
    await session.flush()


async def reopen(
    session: AsyncSession, item_ids: Sequence[int], *, desk: str, staff_id: int, now: datetime
) -> None:
    """Take a decision back. Drafts stay as they are. Raises NotAllowed: unknown, open."""
    for item in await _locked(session, item_ids, desk):
        if item.state == "open":
            raise NotAllowed("open")
        item.state, item.taken_into, item.dismissed_why = "open", None, None
        item.settled_by = item.settled_at = None
        records.write(session, staff_id, "unanswered.reopen", "unanswered", item.id, now)
    await session.flush()


async def _open(session: AsyncSession, item_ids: Sequence[int], desk: str) -> Sequence[Unanswered]:
    items = await _locked(session, item_ids, desk)
    if any(item.state != "open" for item in items):
        raise NotAllowed("decided")
    return items


async def _locked(session: AsyncSession, item_ids: Sequence[int], desk: str) -> Sequence[Unanswered]:
    await session.flush()
    found = await session.scalars(
        select(Unanswered)
        .where(Unanswered.id.in_(item_ids), Unanswered.desk == desk)
        .order_by(Unanswered.id)  # everybody locks in the same order
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    items = found.all()
    if len(items) != len(set(item_ids)):
        raise NotAllowed("unknown")
    return items


# --- their end ------------------------------------------------------------------------------------------------------


async def unlink(
    session: AsyncSession, *, person_id: int | None = None, conversations_of: Sequence[int] = ()
) -> None:
    """The words have ended, of a person or of conversations: nothing leads to them any more; count and time stay."""
    whose = (
        Unanswered.conversation_id.in_(conversations_of)
        if person_id is None
        else Unanswered.person_id == person_id
    )
    await session.execute(
        update(Unanswered)
        .where(whose)
        .values(person_id=None, conversation_id=None, message_id=None, reply_id=None)
        .execution_options(synchronize_session=False)
    )
