"""`understanding.engine: rasa`: the embedded engine with a Rasa server as a second judge (nlu/rasa). Used in the child process.

Rasa may be slow, dead, or another program: it is asked with a hard time limit, and after a few failures not at all for a
while (`Breaker`). Whatever happens to it, the embedded engine's judgement stands. Words go to Rasa in a request's body; no
error here carries them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

from bot.rasa_address import RasaAddress, address_of
from bot.settings import ConfigProblem, RasaSection
from nlu.rasa.project import as_asked
from nlu.rasa.reading import Reading, ReadingError, merge
from nlu.understanding import Understander, Understanding

_LONGEST_ANSWER = 1 << 20
_STALE = (
    http.client.RemoteDisconnected,
    BrokenPipeError,
    ConnectionResetError,
    http.client.CannotSendRequest,
)


class RasaError(Exception):
    """Rasa gave no usable answer. The text names what happened, never what was asked."""


class Breaker:
    """Closed: calls go through. After `failures` in a row open for `seconds`; then one call may try."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed, self._seconds, self._clock = failures, seconds, clock
        self._failures = 0
        self._opened = 0.0

    def allows(self) -> bool:
        """Whether a call may be made now."""
        return self._failures < self._allowed or self._clock() - self._opened >= self._seconds

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._opened = self._clock()


class RasaClient:
    """One kept-alive connection to POST /model/parse. Not for several threads at once."""

    def __init__(self, address: RasaAddress) -> None:
        parts = urlsplit(address.url)
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/model/parse"
        if address.token:  # Rasa takes its token only so
            self._path += f"?token={quote(address.token)}"
        self._timeout = address.timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        # A thread of its own, because a socket's time-out starts anew with every byte that trickles in.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rasa")

    def read(self, text: str) -> Reading:
        """What Rasa makes of a text. Raises RasaError, at the latest after the time limit."""
        asking = self._thread.submit(self._ask, json.dumps({"text": text}).encode())
        try:
            return Reading.of(json.loads(asking.result(self._timeout)))
        except TimeoutError:
            self._cut()
            raise RasaError("timeout") from None
        except (ReadingError, ValueError, RecursionError):
            raise RasaError("not an answer of our model") from None
        except (OSError, http.client.HTTPException) as error:
            status = str(error) if type(error) is http.client.HTTPException else ""  # ours, see _exchange
            raise RasaError(status or type(error).__name__) from None

    def close(self) -> None:
        last = self._connection
        self._cut()
        self._thread.shutdown(cancel_futures=True)
        if last is not None:
            last.close()

    def _ask(self, body: bytes) -> bytes:
        kept = self._connection
        if kept is not None:
            try:
                return self._exchange(kept, body)
            except _STALE:  # closed by the other side while idle
                if self._connection is not kept:  # … or by us: nobody waits any more
                    raise
        fresh = self._connection = self._make(self._host, self._port, timeout=self._timeout)
        return self._exchange(fresh, body)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> bytes:
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read(_LONGEST_ANSWER + 1)
            if response.status != 200:
                raise http.client.HTTPException(f"status {response.status}")
            if len(answer) > _LONGEST_ANSWER:
                raise http.client.HTTPException("too long")
            if response.length:  # what should still come; asked for so many bytes, it does not say so itself
                raise http.client.IncompleteRead(b"", response.length)
        except BaseException:
            connection.close()
            raise
        return answer

    def _cut(self) -> None:
        """End what the thread is waiting for."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


class RasaEngine:
    """The embedded engine and Rasa, as one engine. `trouble` says why Rasa was not heard the last time; "" when it was."""

    def __init__(
        self, own: Understander, address: RasaAddress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._own = own
        self._client = RasaClient(address)
        self._breaker = Breaker(address.failures_open, address.open_seconds, clock)
        self._sure = address.sure
        self.trouble = ""

    def understand(self, text: str, history: Sequence[str] = ()) -> Understanding:
        """Read `text` in the light of `history`; by the embedded engine alone where Rasa does not answer."""
        own = self._own.understand(text, history)
        asked = as_asked(text)
        # At critical nothing can be added that is worth a wait; an empty text says nothing.
        if own.risk == "critical" or not asked or not self._breaker.allows():
            return own
        try:
            second = self._client.read(asked)
        except RasaError as error:
            self._breaker.failed()
            self.trouble = str(error)
            return own
        self._breaker.succeeded()
        self.trouble = ""
        return merge(own, second, sure=self._sure, length=len(text))

    def close(self) -> None:
        self._client.close()


@contextlib.contextmanager
def checked(section: RasaSection) -> Iterator[RasaEngine]:
    """Both engines, for measuring: Rasa must answer at the start. Raises ConfigProblem."""
    from nlu.engine import default

    engine = RasaEngine(default(), address_of(section))
    try:
        engine.understand("你好")
        if engine.trouble:
            raise ConfigProblem(f"understanding.rasa：{section.url} 没有给出可用的回答（{engine.trouble}）")
        yield engine
    finally:
        engine.close()
