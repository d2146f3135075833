"""危机事件: opened by high or critical risk, raised when it rises, assessed and ended by people. One episode, one alert."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation import alerts, conversations, records, review
from escalation.case_opening import open_for
from escalation.policy import DUTY, SUPERVISOR, Policy, grave
from escalation.tables import Alert, Case, Conversation, Episode, Message
from nlu.understanding import Risk, higher, risk_rank


@dataclass(frozen=True, slots=True)
class Raised:
    """What a danger led to. `opened`: a new episode; `risen`: the level of the open one rose. Neither: it was known."""

    episode: Episode
    alert: Alert
    case: Case
    opened: bool
    risen: bool


async def raise_risk(
    session: AsyncSession,
    conversation: Conversation,
    *,
    level: Risk,
    kinds: Iterable[str],
    now: datetime,
    policy: Policy,
    assessed: bool = False,
) -> Raised:
    """Danger was heard: open the conversation's episode or raise it, with case, place in the queue and alert.

    Call it for every message of high or above (ValueError below that), with the conversation locked. Under a human nothing is
    said to the person here: the owner and a supervisor are alarmed, and the safety text falls due (`safety_due`). `assessed`: a
    counsellor judged so (see `assess`); then it is not the machine's level, and the machine need not speak for them.
    """
    if not grave(level):
        raise ValueError("an episode is of high risk or above")
    episode = await open_episode(session, conversation)
    opened = episode is None
    if episode is None:
        episode = Episode(
            conversation_id=conversation.id,
            person_id=conversation.person_id,
            level=level,
            kinds=[],
            opened_at=now,
            risen_at=now,
        )
        session.add(episode)
        await session.flush()
        conversation.episode_id = episode.id
    risen = not opened and risk_rank(level) > risk_rank(episode.level)
    if risen:
        episode.level, episode.risen_at = level, now
    episode.kinds = sorted({*episode.kinds, *kinds})
    conversation.risk = higher(conversation.risk, level)
    case = await open_for(session, conversation, "none" if assessed else level, now)
    answering = conversation.state == "human"
    if not answering:
        await conversations.to_queue(session, conversation, reason="risk", now=now)
    alert = await _ring(session, conversation, episode, case, now, answering=answering, news=opened or risen)
    if answering and (opened or risen) and not assessed:
        episode.safety_due_at = now + policy.risen_grace
    await session.flush()
    return Raised(episode, alert, case, opened, risen)


async def _ring(
    session: AsyncSession,
    conversation: Conversation,
    episode: Episode,
    case: Case,
    now: datetime,
    *,
    answering: bool,
    news: bool,
) -> Alert:
    """Ring for a new or risen danger; for a known one only if nobody answers and nothing rings."""
    known = await alerts.live(session, conversation.id)
    quiet = answering or (known is not None and known.reason != "unread")
    if known is None:
        known = await alerts.of_episode(session, episode.id)
    if known is not None and not news and quiet:
        return known
    return await alerts.start(
        session,
        conversation,
        level=episode.level,
        reason="risen" if answering else "episode",
        now=now,
        episode_id=episode.id,
        case_number=case.number,
        from_rung=SUPERVISOR if answering else DUTY,
    )


async def open_episode(session: AsyncSession, conversation: Conversation) -> Episode | None:
    """The conversation's episode that has not ended."""
    if conversation.episode_id is None:
        return None
    await session.flush()
    episode = await session.get(Episode, conversation.episode_id)
    return episode if episode is not None and episode.ended_at is None else None


async def assess(
    session: AsyncSession,
    conversation: Conversation,
    *,
    staff_id: int,
    level: Risk,
    now: datetime,
    policy: Policy,
) -> Episode | None:
    """A counsellor's judgement of everything said so far becomes the level in force. The open episode, if any, is returned.

    Below high it ends the episode and its alert: a recorded decision. At high or above it opens one where there was none.
    Newer evidence above the assessment alarms again.
    """
    upto = await session.scalar(
        select(Message.id)
        .where(Message.conversation_id == conversation.id)
        .order_by(Message.id.desc())
        .limit(1)
    )
    episode = await open_episode(session, conversation)
    case = await open_for(session, conversation, conversation.risk, now)
    conversation.risk = level
    case.risk_assessed = level
    records.write(session, staff_id, "assess", "conversation", conversation.id, now, level)
    await review.assessed(session, conversation, level, now)
    if grave(level):
        if episode is None:
            raised = await raise_risk(
                session, conversation, level=level, kinds=(), now=now, policy=policy, assessed=True
            )
            episode = raised.episode
        episode.level = level
    if episode is not None:
        episode.assessed_level, episode.assessed_upto = level, upto
        if not grave(level):
            await end(session, conversation, reason="assessed", now=now, staff_id=staff_id)
            episode = None
    if conversation.state == "queued":
        await conversations.to_queue(session, conversation, reason="assessed", now=now)
    await session.flush()
    return episode


async def end(
    session: AsyncSession, conversation: Conversation, *, reason: str, now: datetime, staff_id: int | None
) -> None:
    """End the open episode, if any, and its alert. reason: assessed, closed."""
    episode = await open_episode(session, conversation)
    if episode is None:
        return
    episode.ended_at, episode.end_reason, episode.safety_due_at = now, reason, None
    conversation.episode_id = None
    ended_by = "closed" if reason == "closed" else "decision"
    await alerts.end(session, conversation.id, reason=ended_by, now=now, staff_id=staff_id)


async def assessed_level(session: AsyncSession, conversation: Conversation) -> Risk | None:
    """The counsellor's assessment that is in force, for risk.level_after."""
    if conversation.case_id is None:
        return None
    case = await session.get(Case, conversation.case_id)
    return None if case is None or case.state == "closed" else case.risk_assessed


async def safety_sent(session: AsyncSession, conversation: Conversation, now: datetime) -> None:
    """The safety text was written to the person."""
    episode = await open_episode(session, conversation)
    if episode is not None:
        episode.safety_sent_at = now


async def human_wrote(session: AsyncSession, conversation: Conversation) -> None:
    """A human wrote in time: the safety text need not go out."""
    episode = await open_episode(session, conversation)
    if episode is not None:
        episode.safety_due_at = None


async def not_reached(session: AsyncSession, conversation: Conversation, now: datetime) -> None:
    """What was said to a person in danger did not arrive: if their alert has ended, it rings again, a supervisor's."""
    episode = await open_episode(session, conversation)
    if episode is None or await alerts.live(session, conversation.id) is not None:
        return
    case = await open_for(session, conversation, episode.level, now)
    await alerts.start(
        session,
        conversation,
        level=episode.level,
        reason="cannot_reach",
        now=now,
        episode_id=episode.id,
        case_number=case.number,
        from_rung=SUPERVISOR,
    )


async def safety_due(session: AsyncSession, now: datetime) -> list[Episode]:
    """Episodes risen under a human who has not written within the grace: the safety text goes out now, once.

    They are claimed by this call: commit the text in the same transaction.
    """
    await session.flush()
    found = await session.scalars(
        select(Episode)
        .where(Episode.safety_due_at <= now, Episode.ended_at.is_(None))
        .limit(50)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    claimed = list(found.all())
    for episode in claimed:
        episode.safety_due_at, episode.safety_sent_at = None, now
    await session.flush()
    return claimed
