"""The level in force in a conversation: it builds over messages, fades when distress is over, and listens to counsellors.

High and critical never fade by themselves, neither with time nor by what the person writes: a machine may raise them, only a person
lowers or ends them (episodes.py). Someone who is made to write "我没事" must still be looked after.
"""

from __future__ import annotations

from typing import Final

from nlu.understanding import RISKS, Risk, Understanding, higher, risk_rank

# Two marked messages in one sitting, the second one leaning towards danger, are a danger.
_SITTING_MINUTES: Final = 60.0
_LEANING: Final = 0.35  # risk_score: the probability of high or above
_DAY_MINUTES: Final = 24 * 60.0
_GRAVE_KINDS: Final = frozenset({"suicide", "self_harm", "domestic_abuse", "sexual_abuse", "violence"})


def level_after(
    before: Risk,
    understanding: Understanding,
    *,
    assessed: Risk | None = None,
    resolved: bool | None = None,
    minutes_since_last: float | None = None,
) -> Risk:
    """The conversation's level after a message: never below the message's own.

    before: the level in force. assessed: a counsellor's assessment of the messages before this one; what is not above it
    adds nothing. resolved: it is over in the person's own words (default: as understood). minutes_since_last:
    since the person's message before; None for the first.
    """
    said = understanding.risk
    standing = _rested(before, minutes_since_last)
    if understanding.resolved if resolved is None else resolved:
        standing = _lowered(standing)
    if assessed is not None and risk_rank(said) <= risk_rank(assessed):
        return higher(said, standing)
    if _builds(before, understanding, minutes_since_last):
        return "high"
    return higher(said, standing)


def _builds(before: Risk, understanding: Understanding, minutes: float | None) -> bool:
    return (
        before == "medium"
        and understanding.risk == "medium"
        and not understanding.resolved
        and understanding.risk_score >= _LEANING
        and bool(_GRAVE_KINDS.intersection(understanding.kinds))
        and minutes is not None
        and minutes <= _SITTING_MINUTES
    )


def _rested(level: Risk, minutes: float | None) -> Risk:
    """Below high, a day of silence takes one step down, a week takes all."""
    if minutes is None or risk_rank(level) >= risk_rank("high") or minutes < _DAY_MINUTES:
        return level
    return "none" if minutes >= 7 * _DAY_MINUTES else _lowered(level)


def _lowered(level: Risk) -> Risk:
    """One step down; but high and critical stay as they are, for only a person ends them."""
    grave = risk_rank(level) >= risk_rank("high")
    return level if level == "none" or grave else RISKS[risk_rank(level) - 1]
