"""Distress that is not danger: heard, taken seriously, and from `medium` on brought to a human."""

from __future__ import annotations

from handlers.speak import HUMAN, is_waiting, remember, say
from handlers.templates import Templates
from handlers.turn import Outcome, Queue, Turn
from nlu.understanding import risk_rank


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """A warm word and the queue at medium; an open question at low; while waiting, a short sign of life."""
    if is_waiting(turn):
        return _while_waiting(turn, texts)
    if risk_rank(turn.risk) >= risk_rank("medium"):
        key = "care.medium" if turn.desk.human_on_duty else "handoff.queued_nobody"
        first = say(turn, texts, "handoff", "care.medium")
        replies = (first,) if key == "care.medium" else (first, say(turn, texts, "handoff", key))
        return Outcome(replies, (Queue("distress"),), remember(turn, failures=None))
    if turn.understanding.topic == "psychological" and turn.understanding.risk == "low":
        return Outcome((say(turn, texts, "fallback", "care.low", HUMAN),), (), remember(turn))
    return None


def _while_waiting(turn: Turn, texts: Templates) -> Outcome:
    """Said once, then silence: the person writes to a human, and every line is seen."""
    if turn.memory.get("held"):
        return Outcome((), (), turn.memory)
    return Outcome(
        (say(turn, texts, "holding", "holding.queued"),), (), remember(turn, held="holding.queued")
    )
