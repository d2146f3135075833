"""An SMS provider with the generic interface of docs/sms-adapter.md: persons with telephones, sends taken, receipts given.

It pushes messages signed (or with a token) and again while it is answered 503; it takes sends only with the right proof, sends
nothing twice under one id, counts segments on its own, and reports what became of each. What a person sees is in `Telephone.texts`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import orjson
from aiohttp import web


@dataclass(slots=True)
class Fault:
    """What happens to one send: `status` (with `error`) instead of taking it, `seconds` of waiting before the answer;
    `served` takes the message all the same."""

    status: int = 0
    error: str = ""
    seconds: float = 0
    served: bool = False
    retry_after: int | None = None


@dataclass(slots=True)
class Telephone:
    """A person's telephone."""

    centre: SmsCentre
    number: str
    texts: list[str] = field(default_factory=list)
    dead: bool = False  # taken by the provider, never delivered

    async def says(self, text: str, *, message_id: str = "", **more: Any) -> list[int]:
        """Write to the desk; the statuses of the one or more tries."""
        fields = {"id": message_id or secrets.token_hex(8), "from": self.number, "text": text, **more}
        return await self.centre.push("", fields)


@dataclass(slots=True)
class Taken:
    """A send that was taken."""

    fields: dict[str, Any]
    segments: int


class SmsCentre:
    """One account at the provider. `webhook` is http://…/sms/{account}."""

    def __init__(
        self,
        *,
        webhook: str = "",
        secret: str = "simulated",  # noqa: S107 (only played)
        auth: Literal["hmac", "token"] = "hmac",
        form: bool = False,
        receipts: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.webhook = webhook
        self.secret = secret
        self.auth = auth
        self.form = form
        self.receipts = receipts
        self.clock = clock
        self.telephones: dict[str, Telephone] = {}
        self.taken: list[Taken] = []
        self.refused: list[int] = []
        self.addresses: list[str] = []  # path and query of every call to us
        self.faults: deque[Fault] = deque()
        self.templates: dict[str, str] = {}  # id -> wording; when set, only these are sent
        self._ids: set[str] = set()
        self._reporting: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve; returns the URL to send to."""
        app = web.Application()
        app.router.add_post("/send", self._send)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        address = self._runner.addresses[0]
        return f"http://{address[0]}:{address[1]}/send"

    async def close(self) -> None:
        for task in self._reporting:
            task.cancel()
        await asyncio.gather(*self._reporting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def telephone(self, number: str = "") -> Telephone:
        """A telephone by number; an invented number (of a range nobody is given) when none is."""
        number = number or f"199{secrets.randbelow(10**8):08d}"
        return self.telephones.setdefault(number, Telephone(self, number))

    async def push(self, path: str, fields: dict[str, Any], *, tries: int = 5) -> list[int]:
        """POST to the desk, again while nobody answers, or with 503 or 404 (a receipt that came too early).
        Gives the statuses, 0 for no answer."""
        if self.form:
            body = aiohttp.FormData({k: str(v) for k, v in fields.items()})().decode().encode()
            content_type = "application/x-www-form-urlencoded"
        else:
            body, content_type = orjson.dumps(fields), "application/json"
        statuses: list[int] = []
        for n in range(tries):
            if n:
                await asyncio.sleep(0.1 * 2**n)
            headers = {"Content-Type": content_type, **self.proof(body)}
            try:
                async with self._http().post(self.webhook + path, data=body, headers=headers) as response:
                    statuses.append(response.status)
            except aiohttp.ClientError:
                statuses.append(0)
            if statuses[-1] not in (0, 404, 503):
                break
        return statuses

    def proof(self, body: bytes, *, at: int | None = None) -> dict[str, str]:
        """The headers that the desk asks for."""
        if self.auth == "token":
            return {"Authorization": f"Bearer {self.secret}"}
        timestamp = str(int(self.clock()) if at is None else at)
        return {"X-Qingting-Timestamp": timestamp, "X-Qingting-Signature": self._mac(timestamp, body)}

    def _mac(self, timestamp: str, body: bytes) -> str:
        return (
            "sha256="
            + hmac.new(self.secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        )

    async def _send(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.addresses.append(str(request.rel_url))
        if not self._proven(request, body):
            return self._no(403, "signature")
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not fault.served:
            await asyncio.sleep(fault.seconds)
            return self._no(fault.status, fault.error, fault.retry_after)
        answer = self._take(orjson.loads(body))
        if fault is not None:
            await asyncio.sleep(fault.seconds)
            return self._no(fault.status, fault.error) if fault.status else answer
        return answer

    def _take(self, fields: dict[str, Any]) -> web.Response:
        number = str(fields.get("to"))
        text = fields.get("text")
        if self.templates:
            text = self.templates.get(str(fields.get("template")))
            if text is None:
                return self._no(400, "template_refused")
        if not isinstance(text, str) or number not in self.telephones:
            return self._no(400, "unknown_number" if isinstance(text, str) else "malformed")
        identifier = str(fields["id"])
        if identifier not in self._ids:
            self._ids.add(identifier)
            self.taken.append(Taken(fields, segments(text)))
            telephone = self.telephones[number]
            if not telephone.dead:
                telephone.texts.append(text)
            if self.receipts:
                self._report(f"p-{identifier}", telephone)
        return web.json_response({"id": f"p-{identifier}"})

    def _report(self, identifier: str, telephone: Telephone) -> None:
        fields = {"id": identifier, "state": "failed" if telephone.dead else "delivered"}
        if telephone.dead:
            fields["code"] = "expired"

        async def report() -> None:
            await asyncio.sleep(0.02)
            await self.push("/receipts", fields, tries=8)

        task = asyncio.create_task(report())
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)

    def _proven(self, request: web.Request, body: bytes) -> bool:
        if self.auth == "token":
            return request.headers.get("Authorization") == f"Bearer {self.secret}"
        timestamp = request.headers.get("X-Qingting-Timestamp", "0")
        fresh = abs(int(timestamp) - self.clock()) < 300
        return fresh and request.headers.get("X-Qingting-Signature") == self._mac(timestamp, body)

    def _no(self, status: int, error: str, retry_after: int | None = None) -> web.Response:
        self.refused.append(status)
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        return web.json_response({"error": error}, status=status, headers=headers)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._session


def segments(text: str) -> int:
    """What the provider bills for a Chinese text: 70 UTF-16 units, or 67 each when there are several."""
    units = len(text.encode("utf-16-be", "surrogatepass")) // 2
    return 1 if units <= 70 else -(-units // 67)
