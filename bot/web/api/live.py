"""The socket to an open workbench: news out, presence in. Ids, levels and states only; words are fetched, and looks recorded.

A screen that is connected can be rung (promise 5) and keeps its owner's conversations (promise 6): it is `opened` with the
connection, `seen` with each sign of life, `closed` with its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import structlog
from aiohttp import WSMsgType, web

from bot.channels import StorageUnavailable
from bot.events import News
from bot.shell import SHELL, Shell
from bot.web.api.fields import read_id
from bot.web.api.operations import SESSIONS, signed_in
from bot.web.problems import Refused
from bot.web.security import same_origin
from bot.web.sessions import COOKIE, SignedIn
from escalation import roster, staff

log = structlog.get_logger(__name__)

SESSION_ENDED = 4401
_CHECK_EVERY = 15.0  # seconds between looks whether the session still holds
_SILENT_FOR = 60.0  # a client that says nothing for so long is gone
_LARGEST = 4096  # bytes of a message from the client
# What News.extra may carry to a screen. Anything else is left out: a later sender cannot let words slip through here.
_CARRIED = frozenset(
    (
        *("alert_id", "case_number", "level", "rung", "reason", "staff_ids", "fallback_missing", "duty"),
        *(
            "state",
            "risk",
            "owner_id",
            "offered_to",
            "message_id",
            "delivery_id",
            "task_id",
            "key",
            "version",
            "by",
        ),
    )
)
_FOR_CURATORS = {"template", "entries"}


def shown(news: News) -> dict[str, Any]:
    """News as a screen gets it."""
    extra = {k: _plain(v) for k, v in (news.extra or {}).items() if k in _CARRIED}
    return {"what": news.what, "conversation_id": str(news.conversation_id), "extra": extra or None}


def _plain(value: Any) -> Any:
    """Ids as strings: a browser's numbers stop at 53 bits. Long texts are not ids or codes."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**31 else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [str(v) if isinstance(v, int) else _plain(v) for v in value]
    return str(value)[:80]


async def live(request: web.Request) -> web.StreamResponse:
    """GET /api/live, upgraded. Closed with 4401 when the session ends."""
    shell = request.config_dict[SHELL]
    if not same_origin(request):
        raise Refused(403, "origin", "请求不是从本服务的页面发出的。")
    me = await signed_in(request)
    if me.must_change_password:
        raise Refused(403, "password", "请先修改初始密码。")
    socket = web.WebSocketResponse(heartbeat=30, max_msg_size=_LARGEST, compress=False)
    if not socket.can_prepare(request):
        raise Refused(400, "not_websocket", "这个地址只接受 WebSocket 连接。")
    await socket.prepare(request)
    await _Screen(request, shell, me, socket).run()
    return socket


class _Screen:
    """One connection for as long as it lives."""

    def __init__(
        self, request: web.Request, shell: Shell, me: SignedIn, socket: web.WebSocketResponse
    ) -> None:
        self._request = request
        self._shell = shell
        self._me = me
        self._socket = socket
        self._screen_id = 0
        self._counts = me.role in ("counsellor", "supervisor")  # whether it can be rung

    async def run(self) -> None:
        try:
            # First listen, then be seen: no ring may fall between.
            async with self._shell.bus.listen() as news:
                await self._present()
                sides = [
                    asyncio.create_task(self._send(news)),
                    asyncio.create_task(self._watch_session()),
                ]
                try:
                    await self._receive()
                finally:
                    for side in sides:
                        side.cancel()
                    await asyncio.gather(*sides, return_exceptions=True)
        except StorageUnavailable:
            await self._socket.close(code=1013)  # try again later
        finally:
            await asyncio.shield(self._gone())
            await self._socket.close()

    async def _present(self) -> None:
        if not self._counts:
            return
        now = self._shell.clock()
        screen = await self._shell.storage.write(
            lambda session: roster.screen_opened(session, self._me.id, now), urgent=True
        )
        self._screen_id = screen.id
        self._shell.bus.publish(News("alert", 0, {"staff_ids": [self._me.id], "state": "screen_opened"}))

    async def _gone(self) -> None:
        if not self._screen_id:
            return
        now, screen_id = self._shell.clock(), self._screen_id
        with contextlib.suppress(StorageUnavailable):  # then its last sign of life tells, a minute later
            await self._shell.storage.write(
                lambda session: roster.screen_closed(session, screen_id, now), urgent=True
            )

    async def _receive(self) -> None:
        while True:
            try:
                message = await self._socket.receive(timeout=_SILENT_FOR)
            except TimeoutError:
                return
            if message.type is not WSMsgType.TEXT:
                return
            await self._said(message.data)

    async def _said(self, text: str) -> None:
        """A sign of life, or that somebody types. What cannot be read is passed over."""
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            return
        if not isinstance(said, dict):
            return
        if said.get("seen") is True and self._screen_id:
            now, screen_id = self._shell.clock(), self._screen_id
            with contextlib.suppress(StorageUnavailable):
                await self._shell.storage.write(lambda session: roster.screen_seen(session, screen_id, now))
        elif "typing" in said and staff.may(self._me.role, "reply"):
            with contextlib.suppress(ValueError):
                conversation_id = read_id(said["typing"])
                self._shell.bus.publish(News("typing", conversation_id, {"by": "staff"}))
                self._shell.outbox.types(conversation_id, self._me.id)

    async def _send(self, news: asyncio.Queue[News]) -> None:
        while True:
            item = await news.get()
            if not self._concerns(item):
                continue
            with contextlib.suppress(ConnectionError):
                await self._socket.send_str(json.dumps(shown(item), ensure_ascii=False))

    def _concerns(self, item: News) -> bool:
        if item.what in ("finished", "left"):
            return False  # of use to webhooks and chat pages only; screens hear of the conversation
        return self._counts or item.what in _FOR_CURATORS

    async def _watch_session(self) -> None:
        sessions = self._request.config_dict[SESSIONS]
        token = self._request.cookies.get(COOKIE)
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            with contextlib.suppress(StorageUnavailable):
                me = await sessions.current(token)
                if me is None or me.role != self._me.role:
                    await self._socket.close(code=SESSION_ENDED, message=b"session ended")
                    return
