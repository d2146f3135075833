"""A pressed button, or the number typed in its place: 有帮助, 没帮助, 找人工, one of two or three titles."""

from __future__ import annotations

from handlers import handoff
from handlers.speak import HUMAN, remember, say
from handlers.templates import Templates
from handlers.turn import Helped, Outcome, Turn


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """The button's outcome; None when nothing was pressed or the button is not known any more."""
    verb, _, rest = turn.command.partition(" ")
    if verb == "/human":
        return handoff.to_human(turn, texts, reason="asked")
    if verb == "/helped" and rest:
        reply = say(turn, texts, "answer", "answer.helped")
        return Outcome((reply,), (Helped(rest, helped=True),), remember(turn, failures=None))
    if verb == "/not-helped" and rest:
        reply = say(turn, texts, "answer", "answer.not_helped", HUMAN)
        return Outcome((reply,), (Helped(rest, helped=False),), _one_failure_more(turn))
    return None


def _one_failure_more(turn: Turn) -> dict[str, object]:
    return remember(turn, failures=int(turn.memory.get("failures", 0)) + 1)
