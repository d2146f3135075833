"""The promises' durations as config.yml gives them, for the ladder, the pipeline and the workbench."""

from __future__ import annotations

from datetime import timedelta

from bot.settings import EscalationSection, Settings, UnderstandingSection
from escalation.policy import Policy


def policy_of(section: EscalationSection) -> Policy:
    """The promises' durations as this desk runs them."""

    def seconds(value: float) -> timedelta:
        return timedelta(seconds=value)

    return Policy(
        rung_critical=seconds(section.rung_critical),
        rung_high=seconds(section.rung_high),
        acknowledged_critical=seconds(section.acknowledged_critical),
        acknowledged_high=seconds(section.acknowledged_high),
        silence_critical=seconds(section.silence_critical),
        silence_high=seconds(section.silence_high),
        silence_other=seconds(section.silence_other),
        owner_gone=seconds(section.owner_gone),
        risen_grace=seconds(section.risen_grace),
        unread_rings_after=seconds(section.unread_rings_after),
        webhooks={rung: tuple(w.name for w in section.webhooks if rung in w.rungs) for rung in (0, 1, 2)},
        telephone=section.fallback_telephone.url is not None,
    )


def weaker_than_promised(settings: Settings) -> list[str]:
    """What is set weaker than promises 4 to 6 allow, for an operator: "escalation.rung_critical：120，承诺是不超过 60"."""
    escalation, understanding = settings.escalation, settings.understanding
    promised, understood = EscalationSection(), UnderstandingSection()
    longer = [
        (f"escalation.{name}", value, getattr(promised, name))
        for name, value in escalation
        if isinstance(value, float)
    ]
    longer += [
        (f"understanding.{name}", getattr(understanding, name), getattr(understood, name))
        for name in ("limit_seconds", "failures_page")
    ]
    lines = [f"{name}：{value:g}，承诺是不超过 {most:g}" for name, value, most in longer if value > most]
    window, least = understanding.failures_window_seconds, understood.failures_window_seconds
    if window < least:
        lines.append(f"understanding.failures_window_seconds：{window:g}，承诺是不少于 {least:g}")
    return lines
