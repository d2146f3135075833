"""The order of the queue: risk, then waiting time. A nuisance mark lowers the rank, never for critical."""

from __future__ import annotations

from typing import Final

from nlu.understanding import RISKS, Risk

# Ranks leave room between the levels; only their order means anything.
_STEP: Final = 10
RETURNED: Final = 16  # behind every high, before every medium: who had a human and lost them (promise 6)


def queue_rank(risk: Risk, nuisance: bool = False) -> int:
    """Place in the queue, smaller first: critical 0, high 10, medium 20, low 30, none 40; then by waiting time.

    A nuisance mark puts a person behind others of their level when high, behind everybody below that, and never
    touches critical.
    """
    rank = (len(RISKS) - 1 - RISKS.index(risk)) * _STEP
    if not nuisance or risk == "critical":
        return rank
    return rank + _STEP // 2 if risk == "high" else len(RISKS) * _STEP


def raised_rank(rank: int, risk: Risk) -> int:
    """The place of somebody in the queue whose risk is now `risk`: never further back, and a nuisance mark stays in force
    (what it does not cover, critical, goes by queue_rank)."""
    lowered = {queue_rank(r, True) for r in RISKS if r != "critical"}
    return rank if rank in lowered else min(rank, queue_rank(risk))
