"""Erasing a person in the whole house: escalation destroys the key, and here the shell's own traces end with it.

Chat sessions and return codes stop working, replies still waiting to be sent are withdrawn, what a provider allowed is forgotten, and
so are the questions that knowledge kept of them.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import ChatSession, Delivery, Quota, ReturnCode
from escalation import erasure
from escalation.privacy import Vault
from escalation.tables import Contact, Erasure
from knowledge import questions


async def approve(
    session: AsyncSession, vault: Vault, erasure_id: int, *, staff_id: int, now: datetime
) -> Erasure:
    """A second person's yes: carried out everywhere, or held back (`state`, `held_by`). Raises erasure.NotAllowed."""
    asked = await erasure.approve(session, vault, erasure_id, staff_id=staff_id, now=now)
    if asked.state == "done":
        await _end_traces(session, asked.person_id, now)
    return asked


async def retry_held(session: AsyncSession, vault: Vault, now: datetime) -> int:
    """Carry out approved erasures that nothing holds any more; returns how many."""
    done = await erasure.retry_held(session, vault, now)
    for asked in done:
        await _end_traces(session, asked.person_id, now)
    return len(done)


async def _end_traces(session: AsyncSession, person_id: int, now: datetime) -> None:
    contacts = select(Contact.id).where(Contact.person_id == person_id)
    for end in (
        delete(ChatSession).where(ChatSession.contact_id.in_(contacts)),
        delete(ReturnCode).where(ReturnCode.contact_id.in_(contacts)),
        delete(Quota).where(Quota.contact_id.in_(contacts)),
        update(Delivery)
        .where(Delivery.contact_id.in_(contacts), Delivery.state == "pending")
        .values(state="failed", error="erased", settled_at=now),
    ):
        await session.execute(end.execution_options(synchronize_session=False))
    await questions.forget_person(session, person_id)
