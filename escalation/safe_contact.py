"""安全联系方式: how and when a person can be reached safely, and whether we may say who we are.

Needed before anything goes out on our own initiative (promise 12). Where the harm may be at home there is no exception.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import records
from escalation.privacy import Unreadable, Vault
from escalation.tables import Case, Conversation, Episode, Person

HOME_KINDS: Final = frozenset({"domestic_abuse", "sexual_abuse"})
_HOME_CATEGORIES: Final = (
    "legal.protection.domestic_violence",
    "legal.protection.sexual_offence",
    "safety.abuse",
)
Refusal = Literal["", "erased", "stopped", "home", "not_asked"]


@dataclass(frozen=True, slots=True)
class SafeContact:
    """What the person said. `how` and `when` in their or the counsellor's words, `words` what we may write."""

    how: str
    when: str = ""
    may_say_who: bool = False
    words: str = ""


async def record(
    session: AsyncSession, vault: Vault, person_id: int, said: SafeContact, *, staff_id: int, now: datetime
) -> None:
    """Keep what the person said, sealed with their key. Raises privacy.Unreadable for an erased person."""
    person = await session.get_one(Person, person_id)
    text = json.dumps(asdict(said), ensure_ascii=False)
    person.safe_contact_sealed = vault.person_key(person.data_key).seal(text, "person.safe_contact")
    records.write(session, staff_id, "safe_contact", "person", person_id, now)
    await session.flush()


def read(vault: Vault, person: Person) -> SafeContact | None:
    """What the person said, None where they were not asked or it cannot be read."""
    if person.safe_contact_sealed is None:
        return None
    try:
        said = json.loads(
            vault.person_key(person.data_key).open(person.safe_contact_sealed, "person.safe_contact")
        )
        return SafeContact(**said)
    except (Unreadable, ValueError, TypeError):
        return None


async def may_write_first(
    session: AsyncSession, vault: Vault, person_id: int, *, approved: bool = False
) -> Refusal:
    """Whether something may go out on our own initiative: "" yes, else why not.

    stopped: the person wants none. not_asked: nobody asked how to reach them; a supervisor may approve one neutral text
    (`approved`). home: the harm may be at home and they did not say how to reach them; nobody can approve that.
    """
    person = await session.get_one(Person, person_id)
    if person.data_key is None:
        return "erased"
    if person.proactive_stopped_at is not None:
        return "stopped"
    if read(vault, person) is not None:
        return ""
    if await harm_at_home(session, person_id):
        return "home"
    return "" if approved else "not_asked"


async def harm_at_home(session: AsyncSession, person_id: int) -> bool:
    """Whether any episode, conversation or case of this person is about harm that may sit at home."""
    await session.flush()
    kinds = await session.scalars(select(Episode.kinds).where(Episode.person_id == person_id))
    if any(HOME_KINDS.intersection(k) for k in kinds.all()):
        return True
    for table in (Conversation, Case):
        about = or_(*(table.category.startswith(c) for c in _HOME_CATEGORIES))
        if await session.scalar(select(table.id).where(table.person_id == person_id, about).limit(1)):
            return True
    return False
