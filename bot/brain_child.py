"""The understanding process: reads questions from its standard input, writes what it understood. See brain.py.

Run as `python -m bot.brain_child MEMORY_MB`. Frames are a 4-byte length and JSON: first one in with the options and one out when
it is ready, then one in with a list of questions and one out for each. It holds the models, does nothing else, and may be
killed at any moment.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads: one message at a time needs one core

import contextlib
import gc
import hashlib
import resource
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_LENGTH = struct.Struct("!I")


def main() -> None:
    memory = int(sys.argv[1]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not break a frame
    try:
        options = _receive(source) or {}
        embedded, model_trouble = _embedded(options)
        engine, library = _engine(options, embedded), _library(options)
        engine.understand("你好")
        library.answer("你好")
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the parent may have gone already
            _send(sink, {"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    gc.collect()
    gc.freeze()
    trouble = getattr(engine, "trouble", "")
    _send(sink, {"ready": True, "rasa_trouble": trouble, "model_trouble": model_trouble})
    # From here on nothing it prints is seen: a library's last words may quote what it read.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (questions := _receive(source)) is not None:
        for question in questions:
            _send(sink, _think(engine, library, question))


def _embedded(options: dict[str, Any]) -> tuple[Any, str]:
    """The engine with the desk's own model; where that cannot be trusted, with the packaged one, and why."""
    from nlu.engine import Engine

    if not options.get("model"):
        return Engine.load(), ""
    path = Path(options["model"])
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != options["model_sha256"]:
            raise ValueError("the file is not the one that was promoted")
        return Engine.load(path), ""
    except Exception as error:
        return Engine.load(), f"{path.name}: {type(error).__name__}: {error}"


def _engine(options: dict[str, Any], engine: Any) -> Any:
    """The embedded engine; with Rasa beside it where that is configured."""
    if not options.get("rasa"):
        return engine
    from bot.rasa_address import RasaAddress
    from bot.rasa_engine import RasaEngine

    return RasaEngine(engine, RasaAddress(**options["rasa"]))


def _library(options: dict[str, Any]) -> Any:
    from knowledge.library import Library

    spec = options.get("encoder", "packaged")
    if spec == "packaged":
        return Library.load()
    from knowledge.entries import load_entries
    from nlu.sentences import encoder_of

    titles = [entry.title for entry in load_entries()]
    return Library.load(encoder=encoder_of(spec, centre_on=titles))


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
        return {  # orjson writes dataclasses
            "understanding": understanding,
            "answer": answer,
            "rasa_trouble": getattr(engine, "trouble", ""),
        }
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
