"""About the desk itself: hours, privacy, cost, who is this; greeting, thanks, goodbye; no more texts."""

from __future__ import annotations

from handlers.speak import HUMAN, remember, say
from handlers.templates import Templates
from handlers.turn import Action, Outcome, StopProactive, Turn
from nlu.understanding import Intent, risk_rank

_ANSWERS: dict[Intent, str] = {
    "hours": "service.hours",
    "privacy": "service.privacy",
    "cost": "service.cost",
    "identity": "service.identity",
    "greeting": "greeting.hello",
    "thanks": "greeting.thanks",
    "goodbye": "greeting.goodbye",
    "stop": "service.stopped",
}


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """The service text for the intent. A message with marked distress is never answered with one alone."""
    key = _ANSWERS.get(turn.understanding.intent)
    if turn.command == "/welcome":
        key = "greeting.hello"
    elif turn.command == "/stop":  # an SMS that is nothing but an opt-out word
        key = "service.stopped"
    if key is None or (
        risk_rank(turn.understanding.risk) >= risk_rank("medium") and key != "service.stopped"
    ):
        return None
    actions: tuple[Action, ...] = (StopProactive(),) if key == "service.stopped" else ()
    buttons = (
        (HUMAN,) if key in ("service.hours", "service.privacy", "service.identity", "greeting.hello") else ()
    )
    return Outcome((say(turn, texts, "service", key, *buttons),), actions, remember(turn))
