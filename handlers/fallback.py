"""Low confidence: never a guess. The first time another wording or a human is offered, the second time the human comes."""

from __future__ import annotations

from handlers.speak import HUMAN, remember, say
from handlers.templates import Templates
from handlers.turn import Outcome, Queue, Turn, Unanswered


def handle(turn: Turn, texts: Templates) -> Outcome:
    """Always an outcome."""
    if not turn.text.strip() and turn.kind == "text":
        return Outcome((say(turn, texts, "fallback", "fallback.empty"),), (), turn.memory)
    if turn.kind == "event" and not turn.command:
        return Outcome(memory=turn.memory)
    failures = int(turn.memory.get("failures", 0)) + 1
    if failures >= 2:
        reply = say(turn, texts, "handoff", "handoff.failures")
        return Outcome((reply,), (Queue("failures"), Unanswered()), remember(turn, failures=None))
    key = "fallback.unsure" if turn.understanding.topic != "other" else "fallback.out_of_scope"
    reply = say(turn, texts, "fallback", key, HUMAN)
    return Outcome((reply,), (Unanswered(),), remember(turn, failures=failures))
