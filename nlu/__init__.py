"""Understanding: what does a message mean, and how much danger is in it. Called by bot/pipeline.py for every message.

    understand(text, history) -> Understanding     the engine: normaliser, phrases with scope, model, context
    fallback.judge(text)      -> Understanding | None   the separate lexicon of promise 4, when the engine has failed
    classify.classify_lines(lines)                 the same over JSON lines, for `qingting classify`

No I/O but its own files. Nothing in this room keeps, logs or raises a message's text.
"""

import os
from typing import TYPE_CHECKING, Any

# Before numpy loads: one message at a time needs one core, and more threads than that only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from .understanding import (
    INTENTS,
    KINDS,
    RISKS,
    TOPICS,
    About,
    Intent,
    Kind,
    Risk,
    Span,
    Topic,
    Understanding,
    higher,
    risk_rank,
)

if TYPE_CHECKING:
    from .engine import Engine, understand

__all__ = [
    "INTENTS",
    "KINDS",
    "RISKS",
    "TOPICS",
    "About",
    "Engine",
    "Intent",
    "Kind",
    "Risk",
    "Span",
    "Topic",
    "Understanding",
    "higher",
    "risk_rank",
    "understand",
]


def __getattr__(name: str) -> Any:
    """The engine is loaded by who uses it: the shell's own process only speaks of what was understood."""
    if name in ("Engine", "understand"):
        from . import engine

        return getattr(engine, name)
    raise AttributeError(name)
