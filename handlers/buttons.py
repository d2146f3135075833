"""A pressed button, or the number typed in its place: 有帮助, 没帮助, 找人工, a score after closing."""

from __future__ import annotations

from handlers import handoff
from handlers.speak import HUMAN, remember, say
from handlers.templates import Templates
from handlers.turn import Helped, Outcome, Rated, Turn, Unanswered


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
        actions = (Helped(rest, helped=False), Unanswered(rest))
        return Outcome((reply,), actions, _one_failure_more(turn))
    if verb == "/rate":
        return _rated(turn, texts, rest)
    return None


def _rated(turn: Turn, texts: Templates, rest: str) -> Outcome | None:
    """ "/rate CONVERSATION SCORE", from the five buttons under the question after closing."""
    conversation, _, score = rest.partition(" ")
    if not (conversation.isdecimal() and score in ("1", "2", "3", "4", "5")):
        return None
    reply = say(turn, texts, "service", "satisfaction.thanks")
    return Outcome((reply,), (Rated(int(conversation), int(score)),), turn.memory)


def _one_failure_more(turn: Turn) -> dict[str, object]:
    return remember(turn, failures=int(turn.memory.get("failures", 0)) + 1)
