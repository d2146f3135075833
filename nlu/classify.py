"""`qingting classify`: JSON lines in, JSON lines out, same order, one at a time, so that any size streams through.

In: {"id", "text", "history": [older messages of the same person, oldest first]}.
Out: {"id", "topic", "risk", "risk_score", "kinds", "category", "about"}; for a line that cannot be read
{"id": its id or null, "error": why}. An error never quotes the line. `python -m nlu.classify < in > out` does the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .engine import default
from .understanding import Understander


def classify_lines(lines: Iterable[str], engine: Understander | None = None) -> Iterator[str]:
    """One answer for each line that is not blank, without the line's end."""
    chosen = engine or default()
    for line in lines:
        if line.strip():
            yield json.dumps(_classified(line, chosen), ensure_ascii=False)


def _classified(line: str, engine: Understander) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {"id": None, "error": "not JSON"}
    if not isinstance(row, dict):
        return {"id": None, "error": "not an object"}
    name = row.get("id")
    text, history = row.get("text"), row.get("history") or []
    if not isinstance(text, str):
        return {"id": name, "error": "text must be a string"}
    if not isinstance(history, list) or not all(isinstance(older, str) for older in history):
        return {"id": name, "error": "history must be a list of strings"}
    seen = engine.understand(text, history)
    return {
        "id": name,
        "topic": seen.topic,
        "risk": seen.risk,
        "risk_score": round(seen.risk_score, 6),
        "kinds": list(seen.kinds),
        "category": seen.category,
        "about": seen.about,
    }


def main() -> None:
    """Standard input to standard output, a line at a time."""
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for answer in classify_lines(sys.stdin):
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
