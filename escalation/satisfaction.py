"""满意度: asked after a contact closes, never after a crisis without the counsellor's yes; and 有帮助/没帮助 on an answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import safe_contact
from escalation.policy import grave
from escalation.privacy import Vault
from escalation.tables import Case, Conversation, Episode, Rescue, Satisfaction


async def had_crisis(session: AsyncSession, conversation: Conversation) -> bool:
    """Whether this contact was ever in danger: an episode, a rescue, or a case of high or above."""
    await session.flush()
    if grave(conversation.risk):
        return True
    for table in (Episode, Rescue):
        found = select(table.id).where(table.conversation_id == conversation.id).limit(1)
        if await session.scalar(found) is not None:
            return True
    risks = await session.execute(
        select(Case.risk_machine, Case.risk_assessed).where(Case.conversation_id == conversation.id)
    )
    return any(grave(machine) or grave(assessed) for machine, assessed in risks.all())


async def may_ask(
    session: AsyncSession,
    vault: Vault,
    conversation: Conversation,
    *,
    had_crisis: bool,
    counsellor_says: bool | None,
) -> bool:
    """Whether the question goes out: after a crisis only with the counsellor's yes, else unless they say no.

    Never to somebody who wants no such texts, nor where harm may be at home and nobody asked how to reach them safely.
    """
    wanted = counsellor_says is True if had_crisis else counsellor_says is not False
    if not wanted:
        return False
    refused = await safe_contact.may_write_first(session, vault, conversation.person_id, approved=True)
    return refused == ""


async def conversation_score(
    session: AsyncSession, conversation: Conversation, score: int, now: datetime
) -> Satisfaction:
    """The person's 1 to 5 on a contact; the last word counts. Raises ValueError for another number."""
    if not 1 <= score <= 5:
        raise ValueError("a score is 1 to 5")
    return await _keep(session, conversation, "conversation", score, now)


async def entry(
    session: AsyncSession, conversation: Conversation, entry_id: str, *, helped: bool, now: datetime
) -> Satisfaction:
    """有帮助 or 没帮助 on one answer; the last word counts."""
    return await _keep(session, conversation, f"entry:{entry_id}", int(helped), now)


async def _keep(
    session: AsyncSession, conversation: Conversation, about: str, score: int, now: datetime
) -> Satisfaction:
    await session.flush()
    said = await session.scalar(
        select(Satisfaction)
        .where(Satisfaction.conversation_id == conversation.id, Satisfaction.about == about)
        .limit(1)
    )
    if said is None:
        said = Satisfaction(conversation_id=conversation.id, about=about)
        session.add(said)
    said.score, said.at = score, now
    await session.flush()
    return said
