"""Who writes to us: finds the person behind an address, or makes a new one with a data key of their own."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Contact, Person


def contact_hash(vault: Vault, channel: str, account: str, address: str) -> bytes:
    """The keyed fingerprint by which a contact is found again. The address itself is kept sealed."""
    return vault.fingerprint("contact", channel, account, address)


async def contact_for(
    session: AsyncSession, vault: Vault, *, desk: str, channel: str, account: str, address: str, now: datetime
) -> tuple[Person, Contact]:
    """The person and contact of `address` on the desk's `account` of `channel`; made when it is new.

    Two processes may meet the same new address at once: the fingerprint is unique, and the later one takes the first's.
    """
    fingerprint = contact_hash(vault, channel, account, address)
    found = await _known(session, fingerprint)
    if found is not None:
        return found
    person = Person(desk=desk, data_key=vault.new_person_key(), created_at=now)
    contact = Contact(channel=channel, account=account, address_hash=fingerprint, created_at=now)
    contact.address_sealed = vault.person_key(person.data_key).seal(address, "contact.address")
    try:
        async with session.begin_nested():
            session.add(person)
            await session.flush()  # gives the person its id
            contact.person_id = person.id
            session.add(contact)
    except IntegrityError:
        found = await _known(session, fingerprint)
        if found is None:
            raise
        return found
    return person, contact


async def _known(session: AsyncSession, fingerprint: bytes) -> tuple[Person, Contact] | None:
    row = (
        await session.execute(
            select(Person, Contact)
            .join(Contact, Contact.person_id == Person.id)
            .where(Contact.address_hash == fingerprint)
        )
    ).first()
    return None if row is None else (row[0], row[1])


async def key_of(session: AsyncSession, vault: Vault, person_id: int) -> DataKey:
    """The person's data key. Raises privacy.Unreadable for an erased person."""
    wrapped = await session.scalar(select(Person.data_key).where(Person.id == person_id))
    return vault.person_key(wrapped)


async def known_details(session: AsyncSession, key: DataKey, person_id: int) -> list[str]:
    """What the desk knows that points to the person: their alias and their addresses. For masking what they wrote."""
    person = await session.get_one(Person, person_id)
    sealed = [(person.alias_sealed, "person.alias")]
    contacts = await session.scalars(select(Contact.address_sealed).where(Contact.person_id == person_id))
    sealed += [(address, "contact.address") for address in contacts]
    known = []
    for value, place in sealed:
        try:
            known.append(key.open(value, place) if value else "")
        except Unreadable:
            continue
    return [detail for detail in known if detail]


async def stop_proactive(session: AsyncSession, person_id: int, now: datetime) -> None:
    """退订: no more texts on our own initiative. Answers, safety texts and the risk check go on."""
    person = await session.get(Person, person_id)
    if person is not None and person.proactive_stopped_at is None:
        person.proactive_stopped_at = now
