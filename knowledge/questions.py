"""Questions to watch over: saved ones with the entry that must answer them, and what people asked lately.

Words of young people stay sealed with their own key, or go into memory and out again; whoever looks gets them masked
(nlu/masking.py). Before a text is published all of these are asked again (regression.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import CursorResult, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import conversations, records
from escalation.people import key_of
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Contact, Conversation, Message, Person
from knowledge.tables import KnowledgeQuestion
from nlu import masking

LONGEST: Final = 400  # characters: what the library looks at of a question
_PLACE: Final = "knowledge_question.text"


@dataclass(frozen=True, slots=True)
class Watched:
    """One question to ask again. `text` is the words themselves, for the library alone; show `masked`.

    `saved` is its row, None for one that was only asked lately, which `message_id` names. `entry_id`: which entry must answer a saved
    one, None where none may.
    """

    text: str
    masked: str
    saved: KnowledgeQuestion | None = None
    message_id: int | None = None
    entry_id: str | None = None


async def save(
    session: AsyncSession,
    vault: Vault,
    text: str,
    entry_id: str | None,
    *,
    staff_id: int,
    now: datetime,
    conversation_id: int | None = None,
) -> KnowledgeQuestion:
    """Keep a question. From a conversation it is sealed with that person's key, masked; else with the desk's.

    Raises Unreadable where the person was erased.
    """
    person_id, key = None, vault.desk
    if conversation_id is not None:
        conversation = await session.get_one(Conversation, conversation_id)
        person_id = conversation.person_id
        key = await key_of(session, vault, person_id)
        text = masking.mask(text, await _known_of(session, key, person_id))
    made = KnowledgeQuestion(
        entry_id=entry_id,
        person_id=person_id,
        conversation_id=conversation_id,
        text_sealed=key.seal(text[:LONGEST], _PLACE),
        saved_by=staff_id,
        saved_at=now,
    )
    session.add(made)
    await session.flush()
    records.write(
        session, staff_id, "entry.question.save", "knowledge_question", made.id, now, entry_id or ""
    )
    return made


async def remove(session: AsyncSession, question_id: int, *, staff_id: int, now: datetime) -> bool:
    """Forget a saved question; False where there is none."""
    await session.flush()
    row = await session.get(KnowledgeQuestion, question_id)
    if row is None:
        return False
    await session.delete(row)
    records.write(session, staff_id, "entry.question.remove", "knowledge_question", question_id, now)
    await session.flush()
    return True


async def saved(
    session: AsyncSession, vault: Vault, *, entry_id: str | None = None, limit: int = 1000
) -> list[Watched]:
    """The saved questions, newest first; of one entry alone if wanted. What no longer opens is left out."""
    query = select(KnowledgeQuestion).order_by(KnowledgeQuestion.id.desc()).limit(limit)
    if entry_id is not None:
        query = query.where(KnowledgeQuestion.entry_id == entry_id)
    await session.flush()
    found = []
    for row in await session.scalars(query):
        try:
            key = vault.desk if row.person_id is None else await key_of(session, vault, row.person_id)
            text = key.open(row.text_sealed, _PLACE)
        except Unreadable:
            continue
        found.append(Watched(text, masking.mask(text, []), saved=row, entry_id=row.entry_id))
    return found


async def recent(
    session: AsyncSession, vault: Vault, desk: str, *, since: datetime, limit: int = 300
) -> list[Watched]:
    """What people wrote lately that is no danger and short enough to be a question, newest first, each wording once.

    Opened into memory. Put on record which of them are shown to somebody.
    """
    rows = await session.execute(
        select(Message, Conversation.person_id, Person.data_key)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .join(Person, Person.id == Conversation.person_id)
        .where(
            Conversation.desk == desk,
            Message.direction == "in",
            Message.kind == "text",
            Message.received_at >= since,
            Message.text_sealed.is_not(None),
            Message.risk.in_(("none", "low")),
            Person.data_key.is_not(None),
        )
        .order_by(Message.id.desc())
        .limit(limit)
    )
    found: dict[str, Watched] = {}
    known: dict[int, list[str]] = {}
    for message, person_id, wrapped in rows.all():
        try:
            key = vault.person_key(wrapped)
            text = conversations.opened(key, message.text_sealed, "message.text") or ""
        except Unreadable:
            continue
        if not 2 <= len(text.strip()) <= LONGEST:
            continue
        if person_id not in known:
            known[person_id] = await _known_of(session, key, person_id)
        found.setdefault(
            text.strip(),
            Watched(text.strip(), masking.mask(text.strip(), known[person_id]), message_id=message.id),
        )
    return list(found.values())


async def forget_person(session: AsyncSession, person_id: int) -> None:
    """A person was erased: the questions that hold their words go with them."""
    await session.execute(
        delete(KnowledgeQuestion)
        .where(KnowledgeQuestion.person_id == person_id)
        .execution_options(synchronize_session=False)
    )


async def expire(session: AsyncSession) -> int:
    """Forget questions of conversations whose words' time is over; returns how many."""
    words = exists().where(
        Message.conversation_id == KnowledgeQuestion.conversation_id, Message.text_sealed.is_not(None)
    )
    ended = await session.execute(
        delete(KnowledgeQuestion)
        .where(KnowledgeQuestion.conversation_id.is_not(None), ~words)
        .execution_options(synchronize_session=False)
    )
    return cast(CursorResult[Any], ended).rowcount


async def _known_of(session: AsyncSession, key: DataKey, person_id: int) -> list[str]:
    """What the desk knows that points to the person: their alias and their addresses."""
    person = await session.get_one(Person, person_id)
    known = [conversations.opened(key, person.alias_sealed, "person.alias")]
    contacts = await session.scalars(select(Contact).where(Contact.person_id == person_id))
    known += [conversations.opened(key, c.address_sealed, "contact.address") for c in contacts]
    return [detail for detail in known if detail]
