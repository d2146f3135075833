"""The promises' durations as config.yml gives them, for the ladder, the pipeline and the workbench."""

from __future__ import annotations

from datetime import timedelta

from bot.settings import EscalationSection
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


def longer_than_promised(section: EscalationSection) -> list[str]:
    """Durations set longer than promises 4 to 6 allow, as "escalation.rung_critical: 120 s, promised 60 s"."""
    promised = EscalationSection()
    return [
        f"escalation.{name}: {value:g} s, promised {getattr(promised, name):g} s"
        for name, value in section
        if isinstance(value, float) and value > getattr(promised, name)
    ]
