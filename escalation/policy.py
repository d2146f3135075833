"""How long each promise allows: the durations of promises 4 to 6, and by what means a rung of the ladder can be rung.

`Policy()` is the promise itself. An operator may shorten it; the shell makes one from `escalation:` in config.yml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from nlu.understanding import Risk, risk_rank

DUTY: Final = 0  # 值班咨询员
BACKUP: Final = 1  # 备班咨询员
SUPERVISOR: Final = 2  # 督导
TELEPHONE: Final = 3  # the fallback telephone
RUNGS: Final = (DUTY, BACKUP, SUPERVISOR, TELEPHONE)


@dataclass(frozen=True, slots=True)
class Policy:
    """Durations of promises 4 to 6, and the webhooks (names, by rung) and telephone that can be rung.

    Levels below high use the values of high where a ladder runs for them (an unread message of promise 4).
    """

    rung_critical: timedelta = timedelta(seconds=60)
    rung_high: timedelta = timedelta(seconds=180)
    acknowledged_critical: timedelta = timedelta(seconds=120)
    acknowledged_high: timedelta = timedelta(seconds=300)
    silence_critical: timedelta = timedelta(seconds=120)
    silence_high: timedelta = timedelta(seconds=300)
    silence_other: timedelta = timedelta(seconds=1800)
    owner_gone: timedelta = timedelta(seconds=60)
    risen_grace: timedelta = timedelta(seconds=60)
    unread_rings_after: timedelta = timedelta(seconds=600)
    webhooks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    telephone: bool = False

    def rung(self, level: Risk) -> timedelta:
        """How long one rung rings before the next is tried."""
        return self.rung_critical if level == "critical" else self.rung_high

    def acknowledged(self, level: Risk) -> timedelta:
        """How long an acknowledgement keeps the ladder still."""
        return self.acknowledged_critical if level == "critical" else self.acknowledged_high

    def silence(self, level: Risk) -> timedelta:
        """How long a person may wait for the counsellor who has the conversation."""
        if level == "critical":
            return self.silence_critical
        return self.silence_high if level == "high" else self.silence_other


def grave(level: Risk | None) -> bool:
    """High or critical: what promise 5 is about."""
    return level is not None and risk_rank(level) >= risk_rank("high")
