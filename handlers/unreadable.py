"""What no machine can judge (a picture, a voice without words), and messages on which understanding failed: a human looks."""

from __future__ import annotations

from handlers.speak import remember, say
from handlers.templates import Templates
from handlers.turn import Outcome, Queue, Turn


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """A holding text with the emergency numbers, once per wait, and the queue at `medium`."""
    if not (turn.unreadable or turn.understanding_failed):
        return None
    reason = "unreadable" if turn.unreadable else "understanding_failed"
    key = "holding.unreadable" if turn.unreadable else "holding.failed"
    if turn.state == "queued" and turn.memory.get("held") == key:
        return Outcome((), (Queue(reason),), turn.memory)
    return Outcome((say(turn, texts, "holding", key),), (Queue(reason),), remember(turn, held=key))
