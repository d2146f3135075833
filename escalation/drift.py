"""The watch on drift: whether understanding still fits what young people write, week by week, from levels and counts alone.

No text is read, nothing is decrypted: `message.risk_score`, episodes and closed cases say enough. A model does not change by itself;
language does (new words, a new game, a new cruelty), and these figures move first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Float, case, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from escalation.ids import first_id
from escalation.policy import grave
from escalation.tables import Case, Conversation, Episode, Message, ReviewItem

# The score is the probability of high or above, a level is given around 0.5: between these the machine is not sure.
UNSURE: Final = (0.3, 0.7)
WEEKS: Final = 12
_LEAST_MESSAGES: Final = 100  # fewer in a week, or …
_LEAST_CASES: Final = 10  # … fewer assessed cases, and a share says nothing
UNUSUAL: Final[dict[str, str]] = {
    "unsure": "上周拿不准的消息明显比前几周多：可能有了新的说法，请看复核样本。",
    "alerts": "上周引起警报的消息明显比前几周多：看看是真的多了，还是误报多了。",
    "false_alarms": "上周误报明显比前几周多：请看复核样本，考虑重新训练。",
    "missed": "上周有机器没有看出的危险（咨询员评估为高或紧急）：请先看这些复核样本。",
}
# From so many times the usual share on a week is called unusual.
_UNUSUAL: Final = 1.5


@dataclass(frozen=True, slots=True)
class Week:
    """One week from Monday by the desk's clock. Counts; the shares are None where nothing was counted.

    alarms: dangers the machine saw (assessed ones). false_alarms: of these, assessed below high by a counsellor. quiet: assessed cases
    that the machine held below high. missed: of these, assessed high or above.
    """

    start: datetime
    messages: int
    unsure: int
    confidence: float | None  # mean of max(score, 1 - score)
    episodes: int
    alarms: int
    false_alarms: int
    quiet: int
    missed: int
    marks: int  # messages that counsellors marked as missed or false alarm

    @property
    def unsure_share(self) -> float | None:
        return self.unsure / self.messages if self.messages else None

    @property
    def alert_rate(self) -> float | None:
        """Episodes for each message."""
        return self.episodes / self.messages if self.messages else None

    @property
    def false_alarm_share(self) -> float | None:
        return self.false_alarms / self.alarms if self.alarms else None


async def weeks(
    session: AsyncSession, desk: str, zone: ZoneInfo, now: datetime, count: int = WEEKS
) -> list[Week]:
    """The last `count` weeks, the present one last. Reads ranges of the primary key: a week costs a week's messages."""
    local = now.astimezone(zone)
    monday = (local - timedelta(days=local.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [monday - timedelta(weeks=back) for back in reversed(range(count))]
    return [await _week(session, desk, start, start + timedelta(weeks=1)) for start in starts]


async def _week(session: AsyncSession, desk: str, start: datetime, end: datetime) -> Week:
    low, high = UNSURE
    score = Message.risk_score
    sure = case((score >= 0.5, score), else_=1 - score)
    counted = (
        await session.execute(
            select(
                func.count(),
                func.coalesce(func.sum(case((score.between(low, high), 1), else_=0)), 0),
                func.avg(cast(sure, Float)),
            )
            .select_from(Message)
            .join(Conversation, Conversation.id == Message.conversation_id)
            .where(
                Conversation.desk == desk,
                Message.id >= first_id(start),
                Message.id < first_id(end),
                Message.direction == "in",
                score.is_not(None),
            )
        )
    ).one()
    episodes = await session.scalar(
        select(func.count())
        .select_from(Episode)
        .join(Conversation, Conversation.id == Episode.conversation_id)
        .where(Conversation.desk == desk, Episode.opened_at >= start, Episode.opened_at < end)
    )
    closed = await session.execute(
        select(Case.risk_machine, Case.risk_assessed, func.count())
        .where(
            Case.desk == desk,
            Case.closed_at >= start,
            Case.closed_at < end,
            Case.risk_assessed.is_not(None),
        )
        .group_by(Case.risk_machine, Case.risk_assessed)
    )
    judged = [(grave(machine), grave(assessed), many) for machine, assessed, many in closed]
    marks = await session.scalar(
        select(func.count())
        .select_from(ReviewItem)
        .where(
            ReviewItem.desk == desk,
            ReviewItem.marked_by.is_not(None),
            ReviewItem.created_at >= start,
            ReviewItem.created_at < end,
        )
    )
    return Week(
        start=start,
        messages=counted[0],
        unsure=int(counted[1]),
        confidence=None if counted[2] is None else float(counted[2]),
        episodes=episodes or 0,
        alarms=sum(many for machine, _, many in judged if machine),
        false_alarms=sum(many for machine, assessed, many in judged if machine and not assessed),
        quiet=sum(many for machine, _, many in judged if not machine),
        missed=sum(many for machine, assessed, many in judged if not machine and assessed),
        marks=marks or 0,
    )


def unusual(found: list[Week]) -> list[str]:
    """What the last whole week has more of than the weeks before it: unsure, alerts, false_alarms, missed. Empty: nothing to say."""
    if len(found) < 4:
        return []
    *before, last, _present = found
    told = []
    for name, hits, of, least in (
        ("unsure", "unsure", "messages", _LEAST_MESSAGES),
        ("alerts", "episodes", "messages", _LEAST_MESSAGES),
        ("false_alarms", "false_alarms", "alarms", _LEAST_CASES),
    ):
        then = sum(getattr(week, of) for week in before)
        if getattr(last, of) < least or then < least:
            continue
        usual = sum(getattr(week, hits) for week in before) / then
        if getattr(last, hits) / getattr(last, of) > max(usual * _UNUSUAL, usual + 0.02):
            told.append(name)
    if last.missed:
        told.append("missed")  # one is enough to look at
    return told
