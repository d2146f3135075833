"""The understanding process: reads questions from its standard input, writes what it understood. See brain.py.

Run as `python -m bot.brain_child MEMORY_MB`. Frames are a 4-byte length and JSON; one frame in with a list of questions, one frame
out for each. It holds the models, does nothing else, and may be killed at any moment.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads: one message at a time needs one core

import contextlib
import gc
import resource
import struct
import sys
from typing import Any, BinaryIO

import orjson

_LENGTH = struct.Struct("!I")


def main() -> None:
    memory = int(sys.argv[1]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not break a frame
    try:
        from knowledge.library import Library
        from nlu.engine import Engine

        engine, library = Engine.load(), Library.load()
        engine.understand("你好")
        library.answer("你好")
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the parent may have gone already
            _send(sink, {"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    gc.collect()
    gc.freeze()
    _send(sink, {"ready": True})
    # From here on nothing it prints is seen: a library's last words may quote what it read.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (questions := _receive(source)) is not None:
        for question in questions:
            _send(sink, _think(engine, library, question))


def _think(engine: Any, library: Any, question: dict[str, Any]) -> dict[str, Any]:
    try:
        understanding = engine.understand(question["text"], question["history"])
        answer = None
        if question["answer"]:
            found = library.answer(
                question["text"],
                channel=question["channel"],
                last_entry=question["last_entry"],
                category=understanding.category,
            )
            answer = found
        return {"understanding": understanding, "answer": answer}  # orjson writes dataclasses
    except (Exception, MemoryError) as error:
        # The type only: an exception's text may hold the words.
        return {"error": type(error).__name__}


def _receive(source: BinaryIO) -> Any:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return orjson.loads(source.read(_LENGTH.unpack(head)[0]))


def _send(sink: BinaryIO, value: Any) -> None:
    body = orjson.dumps(value)
    sink.write(_LENGTH.pack(len(body)) + body)
    sink.flush()


def run() -> None:
    """`main`, ending without a word when the shell has gone."""
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # also without the flush that would fail again


if __name__ == "__main__":
    run()
