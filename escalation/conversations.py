"""A conversation's place: with the bot, in the queue, with a human; what it remembers; its thread for who may read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import nuisance, records
from escalation.people import key_of
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.queue_rank import RETURNED, queue_rank, raised_rank
from escalation.tables import Conversation, Message

# Reasons of `to_queue` where no machine could judge what was written (promise 4).
UNJUDGED: Final = frozenset({"unreadable", "understanding_failed", "turn_failed"})

__all__ = [
    "UNJUDGED", "Closed", "Line", "heard", "locked", "open_line", "opened", "opened_object", "queue_rank", "recall", "remember",
    "thread", "to_queue",
]  # fmt: skip


class Closed(Exception):
    """The conversation is closed (or was never there)."""


async def locked(session: AsyncSession, conversation_id: int) -> Conversation:
    """The conversation, fresh and held until the commit. Raises Closed where there is none.

    On PostgreSQL SELECT … FOR UPDATE; on SQLite the writer is alone. What was changed before in this session is kept.
    """
    await session.flush()
    found = await session.scalar(
        select(Conversation)
        .where(Conversation.id == conversation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise Closed
    return found


async def to_queue(
    session: AsyncSession,
    conversation: Conversation,
    *,
    reason: str,
    now: datetime,
    returned: bool = False,
    marked: bool | None = None,
) -> None:
    """Put the conversation in the queue, or in its right place if it is there.

    A closed one is opened again: its last message crossed the closing, and somebody has to see it.

    `reason` is one of handlers.turn.Queue's; with one of UNJUDGED it rings if nobody looks (alerts.unreadable_waiting).
    `returned`: it had a human and lost them, and goes before everybody but high and critical (promise 6).
    `marked`: whether the person has a nuisance mark, where the caller knows; else it is looked up.
    """
    conversation.closed_at = None
    if reason in UNJUDGED and (
        conversation.unjudged_since is None
        or await records.looked_since(session, conversation.id, conversation.unjudged_since)
    ):
        conversation.unjudged_since = now
    if conversation.state == "human" and not returned:
        return  # somebody has it
    conversation.state = "queued"
    conversation.owner_id = conversation.owner_since = None
    conversation.waiting_since = conversation.waiting_since or now
    if marked is None:
        marked = await nuisance.active(session, conversation.person_id, now)
    rank = queue_rank(conversation.risk, marked)
    conversation.queue_rank = min(rank, RETURNED) if returned else rank


def heard(conversation: Conversation, at: datetime) -> None:
    """The person wrote: from now on they wait, unless they did already. For every inbound message, its risk in force."""
    conversation.last_inbound_at = at
    if conversation.state == "queued":
        conversation.queue_rank = raised_rank(conversation.queue_rank, conversation.risk)
    if conversation.state in ("queued", "human") and conversation.waiting_since is None:
        conversation.waiting_since = at


def recall(key: DataKey, memory_sealed: bytes | None) -> dict[str, Any]:
    """What the handlers remember of a conversation; {} at first, or where it can no longer be read."""
    if memory_sealed is None:
        return {}
    try:
        remembered = json.loads(key.open(memory_sealed, "conversation.memory"))
    except (Unreadable, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def remember(key: DataKey, conversation: Conversation, memory: Mapping[str, Any]) -> None:
    """Keep what the handlers want to know next time, sealed with the person's key."""
    text = json.dumps(dict(memory), ensure_ascii=False)
    conversation.memory_sealed = key.seal(text, "conversation.memory") if memory else None


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a thread, opened. `text` is None where it can no longer be read (erased, expired).

    `meta` and `understanding` are the JSON objects stored with the message ({} where there is none).
    """

    message: Message
    text: str | None
    meta: dict[str, Any] = field(default_factory=dict)
    understanding: dict[str, Any] = field(default_factory=dict)


async def thread(
    session: AsyncSession,
    vault: Vault,
    conversation_id: int,
    before: int | None = None,
    limit: int = 50,
) -> list[Line]:
    """The last `limit` messages (before message `before`), oldest first. Looking is for the caller to put on record."""
    person_id = await session.scalar(select(Conversation.person_id).where(Conversation.id == conversation_id))
    if person_id is None:
        return []
    try:
        key: DataKey | None = await key_of(session, vault, person_id)
    except Unreadable:
        key = None
    query = select(Message).where(Message.conversation_id == conversation_id)
    if before is not None:
        query = query.where(Message.id < before)
    newest: Sequence[Message] = (await session.scalars(query.order_by(Message.id.desc()).limit(limit))).all()
    return [open_line(key, message) for message in reversed(newest)]


def open_line(key: DataKey | None, message: Message) -> Line:
    """One message with its sealed parts opened, as far as they can be."""
    return Line(
        message,
        opened(key, message.text_sealed, "message.text"),
        opened_object(key, message.meta_sealed, "message.meta"),
        opened_object(key, message.understanding_sealed, "message.understanding"),
    )


def opened(key: DataKey | None, sealed: bytes | None, place: str) -> str | None:
    """A sealed text; None where there is none or it can no longer be read."""
    if key is None or sealed is None:
        return None
    try:
        return key.open(sealed, place)
    except Unreadable:
        return None


def opened_object(key: DataKey | None, sealed: bytes | None, place: str) -> dict[str, Any]:
    """A sealed JSON object; {} where there is none or it can no longer be read."""
    text = opened(key, sealed, place)
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
