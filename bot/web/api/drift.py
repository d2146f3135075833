"""识别质量 on the workbench: the weekly watch on drift, and which model is in charge by whose hand. Counts only, no words."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from pydantic import Field

from bot import learning, models
from bot.web.api import shapes
from bot.web.api.fields import Asked, Given, Time
from bot.web.api.operations import Call, get
from bot.web.api.views import named, names
from escalation import drift


class DriftAsked(Asked):
    weeks: int = Field(default=drift.WEEKS, ge=2, le=52)


class WeekShown(Given):
    """One week. Shares from 0 to 1, null where there was nothing to count."""

    start: Time
    messages: int
    unsure: float | None = Field(description="机器拿不准的消息占多少")
    confidence: float | None = Field(description="平均把握")
    episodes: int = Field(description="危机事件")
    alert_rate: float | None = Field(description="危机事件除以消息")
    alarms: int = Field(description="机器报了、咨询员评估过的工单")
    false_alarms: int = Field(description="其中评估为低于高风险的")
    quiet: int = Field(description="机器没有报、咨询员评估过的工单")
    missed: int = Field(description="其中评估为高或紧急的")
    marks: int = Field(description="咨询员标记的消息")


class PromotionShown(Given):
    at: Time
    by: shapes.Named
    model: str
    before: str
    back: bool


class DriftShown(Given):
    weeks: list[WeekShown]
    unusual: list[str] = Field(description="上一整周明显不同寻常的地方")
    model: str = Field(description="这台机器下次启动时用的模型；packaged：随程序提供的")
    promotions: list[PromotionShown]


@get("/drift", "识别质量（按周）", asks=DriftAsked, gives=DriftShown, needs="drift.read", per_minute=6)
async def drift_weeks(call: Call, asked: DriftAsked) -> DriftShown:
    """Reads every message's row of these weeks, none of its words."""
    settings = call.shell.settings
    chosen = models.in_charge(settings)
    async with call.shell.storage.read(patient=True) as session:
        zone = ZoneInfo(settings.desk.timezone)
        found = await drift.weeks(session, call.me.desk, zone, call.now, asked.weeks)
        history = await learning.promotions(session)
        known = await names(session, [row.staff_id for row in history])
    return DriftShown(
        weeks=[
            WeekShown(
                start=week.start,
                messages=week.messages,
                unsure=week.unsure_share,
                confidence=week.confidence,
                episodes=week.episodes,
                alert_rate=week.alert_rate,
                alarms=week.alarms,
                false_alarms=week.false_alarms,
                quiet=week.quiet,
                missed=week.missed,
                marks=week.marks,
            )
            for week in found
        ],
        unusual=[drift.UNUSUAL[name] for name in drift.unusual(found)],
        model=models.PACKAGED if chosen is None else chosen.path.name,
        promotions=[
            PromotionShown(
                at=row.at,
                by=named(row.staff_id, known),
                model=row.model or models.PACKAGED,
                before=row.before or models.PACKAGED,
                back=row.back,
            )
            for row in history
        ],
    )
