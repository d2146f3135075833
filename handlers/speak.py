"""Small pieces the handlers share: a reply from a template, and the buttons under it."""

from __future__ import annotations

from typing import Any

from handlers.templates import Templates
from handlers.turn import Button, Reply, ReplyKind, Turn

HUMAN = Button("找人工", "/human")
HELPED = "有帮助"
NOT_HELPED = "没帮助"


def say(turn: Turn, texts: Templates, kind: ReplyKind, key: str, *buttons: Button, **own: str) -> Reply:
    """The text of `key` as a reply."""
    filled = texts.fill(key, turn.desk, **own)
    return Reply(kind=kind, text=filled.text, source=filled.source, buttons=buttons)


def remember(turn: Turn, **changes: Any) -> dict[str, Any]:
    """The memory with `changes`; a value of None forgets."""
    return {k: v for k, v in {**turn.memory, **changes}.items() if v is not None}


def is_waiting(turn: Turn) -> bool:
    """Whether a human has been called and has not come yet."""
    return turn.state == "queued"
