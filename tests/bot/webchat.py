"""A web chat page as the protocol sees it: for tests of the server's side."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from bot.channels import webchat
from bot.channels.webchat.pages import BUILT
from bot.settings import Settings, WebchatSection
from bot.shell import Shell

WIDGET = Path(webchat.__file__).parents[2] / "web" / "widget"


def make(shell: Shell) -> webchat.WebChat:
    return webchat.make(shell, shell.settings.webchat)


def settings(**chat: Any) -> Settings:
    return Settings(webchat=WebchatSection(**chat))


class Page:
    """One tab. Keeps frames it was not asked about yet, as a browser keeps events."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self.http = http
        self.url = url
        self.token = ""
        self.cursor = ""
        self.have: list[str] = []
        self.seen: list[str] = []  # texts of replies, in the order they came
        self.ws: ClientWebSocketResponse | None = None
        self._kept: list[dict[str, Any]] = []

    async def post(self, path: str, body: Any, *, token: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        async with self.http.post(f"{self.url}/chat/api/{path}", json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, (await answer.json()) if text else {}

    async def begin(self) -> Page:
        status, body = await self.post("session", {})
        assert status == 201
        self.token = body["token"]
        return self

    async def connect(self, *, ready: bool = True) -> ClientWebSocketResponse:
        self.ws = await self.http.ws_connect(f"{self.url}/chat/ws")
        self._kept = []
        await self.tell(type="hello", token=self.token, after=self.cursor, have=self.have)
        if ready:
            await self.hear("ready")
        return self.ws

    async def drop(self) -> None:
        """The network goes, without a closing handshake."""
        assert self.ws is not None
        assert self.ws._response.connection is not None
        self.ws._response.connection.transport.abort()  # type: ignore[union-attr]
        await self.ws.close()

    async def tell(self, **frame: Any) -> None:
        assert self.ws is not None
        await self.ws.send_json(frame)

    async def hear(self, kind: str, *, within: float = 5) -> dict[str, Any]:
        """The next frame of this type; others are kept for later."""
        for at, frame in enumerate(self._kept):
            if frame["type"] == kind:
                return self._kept.pop(at)
        assert self.ws is not None
        async with asyncio.timeout(within):
            while True:
                message = await self.ws.receive()
                assert message.type is WSMsgType.TEXT, (message.type, message.data)
                frame: dict[str, Any] = message.json()
                if frame["type"] == kind:
                    return frame
                self._kept.append(frame)

    async def closed(self) -> int:
        """Read until the server closes; the close code."""
        assert self.ws is not None
        async with asyncio.timeout(5):
            while (await self.ws.receive()).type is WSMsgType.TEXT:
                pass
        return int(self.ws.close_code or 0)

    async def send(self, text: str, *, id_: str = "", **more: Any) -> dict[str, Any]:
        """Send by socket and wait until it is stored."""
        await self.tell(type="send", id=id_ or new_id(), text=text, **more)
        return await self.hear("stored")

    async def replies(self, count: int, *, receipt: bool = True) -> list[str]:
        """Wait until `count` replies in all were seen; tells the server which ones came."""
        while len(self.seen) < count:
            self.take(await self.hear("messages"))
            if receipt:
                await self.tell(type="got", ids=self.have[-100:])
        return self.seen

    def take(self, frame: dict[str, Any]) -> None:
        for one in frame["messages"]:
            assert one["id"] not in self.have, "a message came twice"
            self.have.append(one["id"])
            if one["from"] != "me":
                self.seen.append(one["text"])
        self.cursor = frame["cursor"]


def new_id() -> str:
    return secrets.token_hex(16)


def built() -> Path:
    """The page's built files, made anew when a source is newer. Fails with what to run where npm has not run yet."""
    sources = [*(WIDGET / "src").iterdir(), WIDGET / "build.mjs"]
    made = [BUILT / name for name in ("chat.html", "chat.css", "chat.js", "widget.js")]
    newest = max(source.stat().st_mtime for source in sources)
    if all(file.exists() and file.stat().st_mtime >= newest for file in made):
        return BUILT
    node = shutil.which("node")
    if node is None or not (WIDGET / "node_modules").exists():
        pytest.fail("the chat page is not built: cd bot/web/widget && npm ci && npm run build")
    subprocess.run([node, "build.mjs"], cwd=WIDGET, check=True, capture_output=True)
    return BUILT
