"""Who is at the page: an anonymous visitor with a random token, known to us only by its hash.

    first message -> open_session -> token in the page's sessionStorage -> every socket and request names it
    quick exit    -> revoke: the token is worth nothing from then on; the conversation, and an alert in it, go on

A visitor's address (the `sender` of their messages) is derived from the token, so that nothing about them is stored before
they write. Who comes back by return code gets a new token bound to the contact they had.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import ChatSession
from escalation.people import contact_hash
from escalation.privacy import Unreadable, Vault
from escalation.tables import Contact, Conversation, Person

NAME: Final = "webchat"
ACCOUNT: Final = "default"
_TOKEN_BYTES: Final = 32
_LIFE: Final = timedelta(hours=24)  # since last seen; a return code reaches further
_SEEN_EVERY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Visit:
    """A valid token: the session row, where its messages belong, and the contact once there is one.

    The contact can be one of another channel: who followed a one-time link goes on in the conversation they came from.
    """

    session_id: int
    channel: str
    account: str
    sender: str
    contact_id: int | None
    seen_at: datetime


def new_token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)


def open_session(
    session: AsyncSession, vault: Vault, token: str, now: datetime, contact_id: int | None = None
) -> ChatSession:
    """Write a session for `token`; with `contact_id` for somebody who came back."""
    row = ChatSession(
        token_hash=_token_hash(vault, token),
        contact_id=contact_id,
        created_at=now,
        seen_at=now,
        revoked_at=None,
    )
    session.add(row)
    return row


async def visit(session: AsyncSession, vault: Vault, token: str, now: datetime) -> Visit | None:
    """Who holds this token, or None: unknown, revoked, 24 hours unused, or the person was erased."""
    row = await session.scalar(select(ChatSession).where(ChatSession.token_hash == _token_hash(vault, token)))
    if row is None or row.revoked_at is not None or row.seen_at < now - _LIFE:
        return None
    contact_id = row.contact_id
    if contact_id is None:
        sender = _sender(vault, token)
        contact_id = await _contact_of(session, vault, sender)
        if contact_id is None:  # has not written yet
            return Visit(row.id, NAME, ACCOUNT, sender, None, row.seen_at)
    address = await address_of(session, vault, contact_id)
    return Visit(row.id, *address, contact_id, row.seen_at) if address is not None else None


async def still_open(session: AsyncSession, session_id: int) -> bool:
    """Whether a session was not revoked meanwhile (quick exit in another tab)."""
    return (
        await session.scalar(
            select(ChatSession.id).where(ChatSession.id == session_id, ChatSession.revoked_at.is_(None))
        )
    ) is not None


def wants_touch(visit: Visit, now: datetime) -> bool:
    return visit.seen_at < now - _SEEN_EVERY


async def touch(session: AsyncSession, session_id: int, now: datetime) -> None:
    await session.execute(update(ChatSession).where(ChatSession.id == session_id).values(seen_at=now))


async def revoke(session: AsyncSession, vault: Vault, token: str, now: datetime) -> int | None:
    """End the token's session. Its id, or None when there was none to end."""
    row = await session.scalar(
        select(ChatSession).where(
            ChatSession.token_hash == _token_hash(vault, token), ChatSession.revoked_at.is_(None)
        )
    )
    if row is None:
        return None
    row.revoked_at = now
    await session.flush()
    return row.id


async def conversations_of(session: AsyncSession, contact_id: int) -> set[int]:
    """Ids of all conversations of a contact, closed ones too."""
    return set(await session.scalars(select(Conversation.id).where(Conversation.contact_id == contact_id)))


def _token_hash(vault: Vault, token: str) -> bytes:
    return vault.fingerprint("chat token", token)


def _sender(vault: Vault, token: str) -> str:
    return vault.fingerprint("chat visitor", token).hex()[:32]


async def _contact_of(session: AsyncSession, vault: Vault, sender: str) -> int | None:
    found: int | None = await session.scalar(
        select(Contact.id).where(Contact.address_hash == contact_hash(vault, NAME, ACCOUNT, sender))
    )
    return found


async def address_of(session: AsyncSession, vault: Vault, contact_id: int) -> tuple[str, str, str] | None:
    """Channel, account and address of a contact, or None when the person was erased or there is no such contact."""
    found = (
        await session.execute(
            select(Contact.channel, Contact.account, Contact.address_sealed, Person.data_key)
            .join(Person, Person.id == Contact.person_id)
            .where(Contact.id == contact_id)
        )
    ).one_or_none()
    if found is None:
        return None
    try:
        address = vault.person_key(found.data_key).open(found.address_sealed, "contact.address")
    except Unreadable:
        return None
    return found.channel, found.account, address
