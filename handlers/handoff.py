"""To a human: on the person's word, on dissatisfaction, and silence while a human is answering (promise 6)."""

from __future__ import annotations

from handlers.speak import remember, say
from handlers.templates import Templates
from handlers.turn import Outcome, Queue, Reply, StopProactive, Turn


def silent_for_human(turn: Turn, texts: Templates) -> Outcome | None:
    """A counsellor has the conversation and is answering: nothing is said; an opt-out is still noted."""
    if not turn.human_is_answering:
        return None
    stop = (StopProactive(),) if turn.understanding.intent == "stop" else ()
    return Outcome(actions=stop, memory=turn.memory)


def handle(turn: Turn, texts: Templates) -> Outcome | None:
    """ "人工", and "没用"."""
    intent = turn.understanding.intent
    if intent == "human":
        return to_human(turn, texts, reason="asked")
    if intent == "dissatisfied":
        first = say(turn, texts, "handoff", "handoff.dissatisfied")
        return Outcome((first,), (Queue("dissatisfied"),), remember(turn, failures=None))
    return None


def to_human(turn: Turn, texts: Templates, *, reason: str) -> Outcome:
    """Put the conversation in the queue and say honestly how long it may take."""
    return Outcome((queued(turn, texts),), (Queue(reason),), remember(turn, failures=None))


def queued(turn: Turn, texts: Templates) -> Reply:
    """What happens next, by whether anybody is there."""
    key = "handoff.queued" if turn.desk.human_on_duty else "handoff.queued_nobody"
    return say(turn, texts, "handoff", key)
