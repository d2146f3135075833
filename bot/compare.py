"""A change of entries tried out before it is published: two libraries built beside each other in a process of its own.

It takes seconds and megabytes that a serving process must not spend, and it ends with the question. Words go to it by pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from bot.brain import PACKAGED, LookedUp, answer_from
from knowledge.answer import Candidate
from knowledge.overlay import Overlay
from knowledge.regression import Difference, Said

_SECONDS: Final = 120  # a busy machine builds slowly; a large encoder reads every wording
_one_at_a_time = asyncio.Lock()


class CannotCompare(Exception):
    """The process ended, or took too long."""


async def differences(
    before: Overlay, after: Overlay, questions: Sequence[str], *, encoder: str = PACKAGED
) -> list[Difference]:
    """Which of the questions would be answered otherwise. Raises CannotCompare."""
    if not questions:
        return []
    found = await _ask(
        {
            "encoder": encoder,
            "before": before.as_json(),
            "after": after.as_json(),
            "questions": list(questions),
        }
    )
    return [
        Difference(one["number"], Said(**one["before"]), Said(**one["after"]), one["text_changed"])
        for one in found["differences"]
    ]


async def looked_up(
    after: Overlay, question: str, *, last_entry: str = "", limit: int = 5, encoder: str = PACKAGED
) -> LookedUp:
    """What knowledge would say to one question. Raises CannotCompare."""
    asked = {"text": question, "channel": "web", "category": "", "last_entry": last_entry, "limit": limit}
    found = await _ask({"encoder": encoder, "after": after.as_json(), "look_up": asked})
    return LookedUp(answer_from(found["answer"]), tuple(Candidate(**one) for one in found["candidates"]))


async def _ask(asked: dict[str, Any]) -> dict[str, Any]:
    async with _one_at_a_time:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bot.compare_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # a library's last words may quote what it read
        )
        try:
            async with asyncio.timeout(_SECONDS):
                said, _ = await process.communicate(orjson.dumps(asked))
            found: dict[str, Any] = orjson.loads(said)
        except (TimeoutError, orjson.JSONDecodeError, OSError):
            raise CannotCompare from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    return found
