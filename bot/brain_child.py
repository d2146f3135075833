"""The understanding process: reads questions from its standard input, writes what it understood. See brain.py.

Run as `python -m bot.brain_child MEMORY_MB`. Frames are a 4-byte length and JSON: first one in with the options, one in with what the
desk changed of the shipped entries, and one out when it is ready. Then either a list of questions, and one out for each; or
{"entries": …}, newer ones to answer from; {"how_far": true}, whether they are in use; or {"look_up": …}, a question of the staff. It
holds the models, does nothing else, and may be killed at any moment.
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
import threading
from pathlib import Path
from typing import Any, BinaryIO

import orjson

_LENGTH = struct.Struct("!I")
_YIELD_SECONDS = 0.0005  # how long the building of a library may keep an answer waiting at a time


def main() -> None:
    memory = int(sys.argv[1]) * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not break a frame
    try:
        options = _receive(source) or {}
        embedded, model_trouble = _embedded(options)
        engine = _engine(options, embedded)
        engine.understand("你好")
        knowledge = Knowledge(options)
        overlay = _receive(source)
        if overlay is None:  # the parent has gone
            return
        knowledge.begin(overlay)
    except Exception as error:
        with contextlib.suppress(BrokenPipeError):  # the parent may have gone already
            _send(sink, {"error": f"{type(error).__name__}: {error}"})
        raise SystemExit(1) from None
    gc.collect()
    gc.freeze()
    _send(sink, {"ready": True, "model_trouble": model_trouble} | _state(engine, knowledge))
    # From here on nothing it prints is seen: a library's last words may quote what it read.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while (asked := _receive(source)) is not None:
        if isinstance(asked, list):
            for question in asked:
                _send(sink, _think(engine, knowledge, question))
        elif "look_up" in asked:
            _send(sink, _look_up(knowledge, asked["look_up"]) | _state(engine, knowledge))
        else:
            if "entries" in asked:
                knowledge.follow(asked["entries"])
            _send(sink, _state(engine, knowledge))


def _embedded(options: dict[str, Any]) -> tuple[Any, str]:
    """The engine with the desk's own model; where that cannot be trusted, with the packaged one, and why."""
    from nlu.engine import Engine

    thresholds = options.get("thresholds")
    if not options.get("model"):
        return Engine.load(thresholds=thresholds), ""
    path = Path(options["model"])
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != options["model_sha256"]:
            raise ValueError("the file is not the one that was promoted")
        return Engine.load(path, thresholds), ""
    except Exception as error:
        return Engine.load(thresholds=thresholds), f"{path.name}: {type(error).__name__}: {error}"


def _engine(options: dict[str, Any], engine: Any) -> Any:
    """The embedded engine; with Rasa beside it where that is configured."""
    if not options.get("rasa"):
        return engine
    from bot.rasa_address import RasaAddress
    from bot.rasa_engine import RasaEngine

    return RasaEngine(engine, RasaAddress(**options["rasa"]))


class Knowledge:
    """The library in use, and the next one while it is being built in a thread beside it.

    What goes wrong with new entries must cost nobody an answer: those before stay in use, and `trouble` says why.
    """

    def __init__(self, options: dict[str, Any], *, like: Knowledge | None = None) -> None:
        """`like`: another whose encoder and shipped entries are shared."""
        from knowledge.entries import shipped

        self.trouble = ""
        self._library: Any = None
        self._shipped = list(shipped().values())
        titles = [entry.title for entry in self._shipped]
        self._encoder: Any = like._encoder if like else _encoder(options, titles)
        self._overdue = options.get("overdue", "caution")
        self._wanted: dict[str, Any] | None = None
        self._building: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def building(self) -> bool:
        return self._building is not None

    def begin(self, overlay: dict[str, Any]) -> None:
        """Build the first library. Entries of the desk that cannot be used must not keep danger from being understood: they,
        and the shipped ones they stand for, are left out."""
        try:
            self._library = self._made(overlay)
        except Exception as error:
            self.trouble = type(error).__name__
            own = {str(fields.get("id")) for fields in overlay["entries"]}
            hidden = [*overlay["hidden"], *own]
            self._library = self._made(overlay | {"entries": [], "hidden": hidden})

    def follow(self, overlay: dict[str, Any]) -> None:
        """Build these in the background, and change over when they are ready. Of several the last counts."""
        with self._lock:
            self._wanted = overlay
            if self._building is None:
                self._building = threading.Thread(target=self._build, daemon=True)
                self._building.start()

    def answer(self, question: str, *, channel: str = "web", **hints: str) -> Any:
        """What is said to a question; `hints` are Library.answer's."""
        from knowledge.answer import NOTHING

        library = self._library
        return NOTHING if library is None else library.answer(question, channel=channel, **hints)

    def look_up(self, asked: dict[str, Any]) -> dict[str, Any]:
        """For staff: the answer, and the nearest entries with why."""
        near = {"last_entry": asked["last_entry"], "category": asked["category"]}
        answer = self.answer(asked["text"], channel=asked["channel"], **near)
        library = self._library
        found = [] if library is None else library.candidates(asked["text"], limit=asked["limit"], **near)
        return {"answer": answer, "candidates": found}

    def _build(self) -> None:
        while True:
            with self._lock:
                overlay, self._wanted = self._wanted, None
                if overlay is None:
                    self._building = None
                    return
            before = sys.getswitchinterval()
            sys.setswitchinterval(_YIELD_SECONDS)
            try:
                self._library, self.trouble = self._made(overlay), ""
            except (Exception, MemoryError) as error:
                self.trouble = type(error).__name__
            finally:
                sys.setswitchinterval(before)

    def _made(self, overlay: dict[str, Any]) -> Any:
        from knowledge.library import Library
        from knowledge.overlay import Overlay

        entries = Overlay.from_json(overlay).over(self._shipped)
        if not entries:
            return None
        library = Library.load(entries=entries, encoder=self._encoder, overdue=self._overdue)
        library.answer("你好")
        return library


def _encoder(options: dict[str, Any], titles: list[str]) -> Any:
    """The encoder that the desk configured, else the packaged one; None where its weights are not installed."""
    from nlu.encoder import WEIGHTS, Encoder
    from nlu.sentences import encoder_of

    spec = options.get("encoder", "packaged")
    if spec == "packaged":
        return Encoder.load() if WEIGHTS.exists() else None

    return encoder_of(spec, centre_on=titles)


def _think(engine: Any, knowledge: Knowledge, question: dict[str, Any]) -> dict[str, Any]:
    try:
        understanding = engine.understand(question["text"], question["history"])
        answer = None
        if question["answer"]:
            answer = knowledge.answer(
                question["text"],
                channel=question["channel"],
                last_entry=question["last_entry"],
                category=understanding.category,
            )
        # orjson writes dataclasses
        return {"understanding": understanding, "answer": answer} | _state(engine, knowledge)
    except (Exception, MemoryError) as error:
        # The type only: an exception's text may hold the words.
        return {"error": type(error).__name__}


def _look_up(knowledge: Knowledge, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return knowledge.look_up(asked)
    except (Exception, MemoryError) as error:
        return {"error": type(error).__name__}


def _state(engine: Any, knowledge: Knowledge) -> dict[str, Any]:
    """What goes with every answer: what is wrong, and whether newer entries are being built."""
    return {
        "rasa_trouble": getattr(engine, "trouble", ""),
        "entries_trouble": knowledge.trouble,
        "building": knowledge.building,
    }


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
