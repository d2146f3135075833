"""Visitors of the web chat, by the page's own requests (bot/channels/webchat): one message and one wait for news at a time."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(slots=True)
class Visitor:
    """Somebody with the chat page open. `seen` is what the page shows: (author, words)."""

    base: str
    session: aiohttp.ClientSession
    seen: list[tuple[str, str]] = field(default_factory=list)
    token: str = ""
    _got: list[str] = field(default_factory=list)
    _have: list[str] = field(
        default_factory=list
    )  # recent ids: each look goes back a little behind the cursor
    _cursor: str = ""
    _state: str = ""
    _listening: asyncio.Task[None] | None = None

    async def says(self, text: str) -> None:
        """Send one message; returns when it is stored. Raises ConnectionError when it is not."""
        if not self.token:
            self.token = str((await self._post("session", {}))["token"])
        await self._post("send", {"id": secrets.token_urlsafe(12), "text": text})
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                news = await self._post(
                    "poll",
                    {"after": self._cursor, "have": self._have, "state": self._state, "got": self._got},
                )
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(1)
                continue
            self._got, self._cursor, self._state = [], str(news["cursor"]), str(news["state"])
            for message in news["messages"]:
                self._have = [*self._have[-99:], str(message["id"])]
                if message["from"] != "me":
                    self._got.append(str(message["id"]))
                    self.seen.append((str(message["from"]), str(message["text"])))

    async def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            async with self.session.post(
                f"{self.base}/chat/api/{what}", json=body, headers=headers
            ) as response:
                answer: dict[str, Any] = await response.json()
                if response.status >= 400:
                    raise ConnectionError(str(answer.get("error", response.status)))
                return answer
        except aiohttp.ClientError as error:
            raise ConnectionError(type(error).__name__) from None
