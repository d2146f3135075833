"""Third station: what to say and do about one understood message.

    respond(turn, texts) asks each handler in the order below; the first that has an answer decides.

The order matters. Crisis first: nothing may stand between danger and a human. A human who is answering silences everything
after it. What no machine can read goes to a human before anything guesses at it. A pressed button means just what it says. Only
then come the person's wishes (a human, hours, privacy), the question itself, and the honest "I am not sure".
"""

from __future__ import annotations

from collections.abc import Callable

from handlers import buttons, care, crisis, fallback, faq, handoff, service, unreadable
from handlers.templates import Templates
from handlers.turn import Outcome, Turn

Handler = Callable[[Turn, Templates], Outcome | None]

ORDER: tuple[Handler, ...] = (
    crisis.handle,
    handoff.silent_for_human,
    unreadable.handle,
    buttons.handle,
    handoff.handle,
    service.handle,
    faq.handle,
    care.handle,
    fallback.handle,
)


def respond(turn: Turn, texts: Templates) -> Outcome:
    """The outcome of one message. Total: the last handler always answers."""
    for handler in ORDER:
        outcome = handler(turn, texts)
        if outcome is not None:
            return outcome
    raise AssertionError("fallback answers everything")


__all__ = ["Handler", "respond"]
