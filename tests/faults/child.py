"""The real understanding process with an engine that fails on demand: what a bad model or a bad message could do to it."""

import sys
import time
from typing import Any

import nlu.engine
from bot import brain_child

_understand = nlu.engine.Engine.understand


def _failing(self: Any, text: str, history: Any = ()) -> Any:
    if "RAISE" in text:
        raise RuntimeError(text)
    if "HANG" in text:
        time.sleep(60)
    if "EAT" in text:
        hoard = []
        while True:
            hoard.append(bytearray(16 * 1024 * 1024))
    if "DIE" in text:
        raise SystemExit(9)
    if "BABBLE" in text:
        print("a stray print must not break a frame")
    if "QUOTE" in text:
        print(text, file=sys.stderr, flush=True)
        print(text, flush=True)
        raise KeyboardInterrupt(text)  # not an Exception, as a panic of a Rust library is not
    return _understand(self, text, history)


nlu.engine.Engine.understand = _failing  # type: ignore[method-assign]

if __name__ == "__main__":
    brain_child.run()
