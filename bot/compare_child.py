"""The process of compare.py: one JSON object in, one out, and it ends."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads

import sys
from typing import Any

import orjson

from bot.brain_child import Knowledge


def main() -> None:
    """See the module's first line."""
    os.nice(10)  # people who write come first
    asked: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not break the answer
    after = Knowledge(asked)
    after.begin(asked["after"])
    if "look_up" in asked:
        found = after.look_up(asked["look_up"])
    else:
        from knowledge.regression import compared

        before = Knowledge(asked, like=after)
        before.begin(asked["before"])
        found = {"differences": compared(before, after, asked["questions"])}
    sink.write(orjson.dumps(found))
    sink.flush()


if __name__ == "__main__":
    main()
