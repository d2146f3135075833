"""Second station: a verified message is stored once and committed; only then may the channel acknowledge it.

Promises 1 and 2. Many requests share a commit: while one commit is on its way to the disk, the messages that arrive gather for
the next. The key of a message is (channel, account, sender, provider's id), kept as a keyed hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import InboundMessage, StorageUnavailable, Stored
from bot.events import Bus, News
from bot.queue import Queue
from bot.storage import Storage
from bot.storage.together import Together
from escalation.columns import table_of
from escalation.ids import new_id
from escalation.people import contact_hash
from escalation.privacy import Vault
from escalation.tables import Contact, Conversation, Message, Person
from nlu import fallback


@dataclass(slots=True)
class _Thread:
    """Where a sender's messages go."""

    contact_id: int
    person_id: int
    data_key: bytes | None
    conversation_id: int = 0


# The statements, made once: they run many times a second, for many messages at a time.
_KNOWN = (
    select(Message.dedupe_hash, Message.id, Message.conversation_id, Conversation.contact_id)
    .join(Conversation, Conversation.id == Message.conversation_id)
    .where(Message.dedupe_hash.in_(bindparam("keys", expanding=True)))
)
_SENDERS = (
    select(Contact.address_hash, Contact.id, Person.id, Person.data_key)
    .join(Person, Person.id == Contact.person_id)
    .where(Contact.address_hash.in_(bindparam("hashes", expanding=True)), Person.data_key.is_not(None))
    .with_for_update(read=True, key_share=True, of=Person)  # an erasure waits for us, or we for it
)
_OPEN = (
    select(Conversation.contact_id, Conversation.id)
    .where(
        Conversation.contact_id.in_(bindparam("contact_ids", expanding=True)), Conversation.state != "closed"
    )
    .order_by(Conversation.id)
)
_INSERT = {table: insert(table_of(table)) for table in (Person, Contact, Conversation, Message)}


class InboxService:
    """Stores inbound messages. One per process; `start` before the first `receive`."""

    def __init__(self, storage: Storage, vault: Vault, queue: Queue, bus: Bus, *, desk: str) -> None:
        self._vault = vault
        self._queue = queue
        self._bus = bus
        self._desk = desk
        self._store = Together(storage, self._write)
        self._open = False

    async def start(self) -> None:
        self._open = True

    async def close(self) -> None:
        """Take no more messages: whoever still asks is told that nothing was stored."""
        self._open = False

    async def receive(self, message: InboundMessage) -> Stored:
        """Store one message; returns after the commit. Raises StorageUnavailable."""
        if not self._open:
            raise StorageUnavailable("closing")
        try:
            stored = await self._store(message)
        except StorageUnavailable:
            raise
        except Exception as error:
            raise StorageUnavailable(type(error).__name__) from None
        if stored.new and _asks_nothing(message):
            self._bus.publish(News("finished", extra={"message_id": stored.message_id}))
        elif stored.new:
            # The fallback lexicon is quick enough to sort the bells by: danger does not wait behind questions.
            urgent = fallback.judge(message.text) is not None
            await self._queue.ring([stored.conversation_id], urgent=urgent)
            self._bus.publish(News("message", stored.conversation_id))
        return stored

    async def _write(self, session: AsyncSession, messages: Sequence[InboundMessage]) -> list[Stored]:
        keys = [
            self._vault.fingerprint("message", m.channel, m.account, m.sender, m.provider_id)
            for m in messages
        ]
        known = await self._known(session, keys)
        fresh = [message for message, key in zip(messages, keys, strict=True) if key not in known]
        threads = await self._threads(session, fresh) if fresh else {}
        rows: dict[bytes, dict[str, Any]] = {}
        outcomes: list[Stored] = []
        for message, key in zip(messages, keys, strict=True):
            if key in known:
                outcomes.append(known[key])
                continue
            thread = threads[_address(message)]
            row = rows[key] = self._row(message, key, thread)
            outcomes.append(Stored(row["id"], row["conversation_id"], thread.contact_id, new=True))
            known[key] = Stored(row["id"], row["conversation_id"], thread.contact_id, new=False)
        if rows:
            await session.execute(_INSERT[Message], list(rows.values()))
        return outcomes

    def _row(self, message: InboundMessage, key: bytes, thread: _Thread) -> dict[str, Any]:
        seal = self._vault.person_key(thread.data_key).seal
        meta = dict(message.meta)
        if message.unreadable:
            meta["unreadable"] = True
        finished = _asks_nothing(message)
        return {
            "id": new_id(),
            "conversation_id": thread.conversation_id,
            "direction": "in",
            "author": "person",
            "kind": message.kind,
            "dedupe_hash": key,
            "text_sealed": seal(message.text, "message.text"),
            "meta_sealed": seal(json.dumps(meta), "message.meta") if meta else None,
            "state": "answered" if finished else "received",
            "risk": "none" if finished else None,
            "received_at": message.received_at,
            "finished_at": message.received_at if finished else None,
        }

    async def _known(self, session: AsyncSession, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """Which of these messages are here already."""
        rows = await session.execute(_KNOWN, {"keys": keys})
        return {
            key: Stored(message_id, conversation_id, contact_id, new=False)
            for key, message_id, conversation_id, contact_id in rows
            if key is not None
        }

    async def _threads(
        self, session: AsyncSession, messages: Sequence[InboundMessage]
    ) -> dict[tuple[str, str, str], _Thread]:
        """The contact and open conversation of every sender; made where there is none."""
        first = {_address(m): m for m in reversed(messages)}
        hashes = {contact_hash(self._vault, *address): address for address in first}
        found = await session.execute(_SENDERS, {"hashes": list(hashes)})
        threads = {hashes[h]: _Thread(contact_id, person_id, key) for h, contact_id, person_id, key in found}
        await _find_open(session, threads.values())
        if without := [t for t in threads.values() if not t.conversation_id]:
            # Another gateway may be opening one at this moment (PostgreSQL): wait for it, then look again.
            await session.execute(
                select(Contact.id)
                .where(Contact.id.in_([t.contact_id for t in without]))
                .order_by(Contact.id)
                .with_for_update()
            )
            await _find_open(session, without)
        await self._make_missing(session, first, hashes, threads)
        return threads

    async def _make_missing(
        self,
        session: AsyncSession,
        first: dict[tuple[str, str, str], InboundMessage],
        hashes: dict[bytes, tuple[str, str, str]],
        threads: dict[tuple[str, str, str], _Thread],
    ) -> None:
        persons, contacts, conversations = [], [], []
        for address_hash, address in hashes.items():
            message = first[address]
            thread = threads.get(address)
            if thread is None:
                wrapped = self._vault.new_person_key()
                key = self._vault.person_key(wrapped)
                thread = threads[address] = _Thread(new_id(), new_id(), wrapped)
                persons.append(
                    {
                        "id": thread.person_id,
                        "desk": self._desk,
                        "data_key": wrapped,
                        "created_at": message.received_at,
                        "legal_hold": False,
                    }
                )
                network = message.network_address
                contacts.append(
                    {
                        "id": thread.contact_id,
                        "person_id": thread.person_id,
                        "channel": message.channel,
                        "account": message.account,
                        "address_hash": address_hash,
                        "address_sealed": key.seal(message.sender, "contact.address"),
                        "network_address_sealed": key.seal(network, "contact.network_address")
                        if network
                        else None,
                        "followed": True,
                        "created_at": message.received_at,
                    }
                )
            if not thread.conversation_id:
                thread.conversation_id = new_id()
                conversations.append(
                    {
                        "id": thread.conversation_id,
                        "desk": self._desk,
                        "person_id": thread.person_id,
                        "contact_id": thread.contact_id,
                        "channel": message.channel,
                        "account": message.account,
                        "state": "bot",
                        "risk": "none",
                        "topic": "other",
                        "category": "",
                        "queue_rank": 0,
                        "opened_at": message.received_at,
                    }
                )
        for table, rows in ((Person, persons), (Contact, contacts), (Conversation, conversations)):
            if rows:
                await session.execute(_INSERT[table], rows)


async def _find_open(session: AsyncSession, threads: Iterable[_Thread]) -> None:
    """Fill in the open conversation of each, where there is one."""
    by_contact = {t.contact_id: t for t in threads}
    if not by_contact:
        return
    for contact_id, conversation_id in await session.execute(_OPEN, {"contact_ids": list(by_contact)}):
        by_contact[contact_id].conversation_id = conversation_id


def _asks_nothing(message: InboundMessage) -> bool:
    """An event that is only noted (a menu page looked at, an unfollowing): it is finished when it is stored."""
    return (
        message.kind == "event"
        and not (message.text or message.unreadable)
        and not message.meta.keys() & {"command", "opt_out"}
    )


def _address(message: InboundMessage) -> tuple[str, str, str]:
    return message.channel, message.account, message.sender
