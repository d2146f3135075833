"""One open page's socket. The first frame says who it is; after that words come in and what the page lacks goes out.

    page -> us: hello {token, after, have} · send {id, text, command?} · got {ids} · typing · ping
    us -> page: ready · stored {id, message_id} · refused {id?, error, message, numbers}
                messages {messages, cursor} · state {state} · typing · pong

`stored` is said only after the commit. A page that hears nothing sends again with the same id. The socket closes with 4401 when
the token is worth nothing (any more), 1008 after too much nonsense, 1009 when a frame is too large.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from bot.channels import StorageUnavailable
from bot.channels.webchat import frames
from bot.channels.webchat.bell import LOOK_EVERY, Page
from bot.channels.webchat.frames import Refused
from bot.channels.webchat.sessions import Visit
from bot.web.security import peer

if TYPE_CHECKING:
    from bot.channels.webchat.channel import WebChat

log = structlog.get_logger(__name__)
ENDED: Final = 4401
_HELLO_WITHIN: Final = 10.0
_STOP_WITHIN: Final = 5.0
_MOST_NONSENSE: Final = 10
_TYPING_EVERY: Final = 2.0
_REMEMBERED: Final = 300


class Socket:
    """Serves one connection from greeting to close."""

    def __init__(self, chat: WebChat, request: web.Request) -> None:
        self._chat = chat
        self._request = request
        # Heartbeat notices a peer that vanished without a word; no compression: it would cost each page some 200 KB.
        self._ws = web.WebSocketResponse(
            heartbeat=30, timeout=5, max_msg_size=chat.largest_frame, compress=False
        )
        self._address = peer(request, chat.shell.settings.server.trusted_proxies)
        self._contact_id: int | None = None
        self._after: int | None = 0
        self._have: set[int] = set()
        self._state = ""
        self._nonsense = 0
        self._typed_at = 0.0

    async def serve(self) -> web.WebSocketResponse:
        await self._ws.prepare(self._request)
        visit = await self._greeted()
        if visit is None:
            return self._ws
        self._contact_id = visit.contact_id
        with self._chat.bell.page(visit.session_id) as page:
            await self._chat.bell.watch(page, await self._chat.conversations(visit.contact_id))
            await self._tell({"type": "ready"})
            carrying = asyncio.create_task(self._carry(page))
            try:
                async for message in self._ws:
                    await self._hear(message.type, message.data, visit, page)
            finally:
                await self._stop(carrying, page)
        return self._ws

    async def close(self) -> None:
        await self._ws.close(code=WSCloseCode.GOING_AWAY)

    async def _stop(self, carrying: asyncio.Task[None], page: Page) -> None:
        """Let it end by itself: a task cancelled while it reads would cost the pool its connection."""
        page.gone = True
        page.wake.set()
        try:
            async with asyncio.timeout(_STOP_WITHIN):
                await carrying
        except TimeoutError:
            log.warning("webchat.carry_stuck", session_id=page.session_id)

    async def _greeted(self) -> Visit | None:
        """Wait for the first frame. None when the socket was closed instead."""
        try:
            async with asyncio.timeout(_HELLO_WITHIN):
                first = await self._ws.receive()
            if first.type is not WSMsgType.TEXT:
                raise Refused("bad_frame", "发来的内容格式不对。")
            hello = frames.hello(frames.read(first.data))
            self._after, self._have = hello.after, set(hello.have)
            return await self._chat.visit(hello.token)
        except TimeoutError:
            await self._ws.close(code=WSCloseCode.POLICY_VIOLATION)
        except StorageUnavailable:
            await self._ws.close(code=WSCloseCode.TRY_AGAIN_LATER)
        except Refused as refused:
            if not self._ws.closed:
                await self._tell({"type": "refused", **self._chat.refusal(refused)})
                ended = refused.code == "ended"
                await self._ws.close(code=ENDED if ended else WSCloseCode.POLICY_VIOLATION)
        return None

    # --- in -------------------------------------------------------------------------------------------------------

    async def _hear(self, kind: WSMsgType, data: Any, visit: Visit, page: Page) -> None:
        if (
            kind is WSMsgType.ERROR
        ):  # too large, or not a WebSocket frame: aiohttp has closed with the code for it
            log.info("webchat.socket_broken", session_id=visit.session_id)
            return
        client_id = ""
        try:
            frame = frames.read(data) if kind is WSMsgType.TEXT else {}
            if isinstance(frame.get("id"), str):
                client_id = frame["id"][:64]
            await self._obey(frame, visit, page)
        except Refused as refused:
            await self._refuse(refused, client_id)
        except StorageUnavailable:
            await self._refuse(
                Refused("unavailable", "现在存不上，正在重试。你写的都还在这一页里。", 503), client_id
            )

    async def _obey(self, frame: Mapping[str, Any], visit: Visit, page: Page) -> None:
        match frame.get("type"):
            case "send":
                message = frames.send(frame, self._chat.settings.max_text)
                stored = await self._chat.store(visit, message, self._address)
                self._contact_id = stored.contact_id
                await self._chat.bell.watch(page, [stored.conversation_id])
                await self._tell(
                    {"type": "stored", "id": message.client_id, "message_id": str(stored.message_id)}
                )
                page.wake.set()
            case "got":
                await self._chat.got(self._contact_id, frames.ids(frame, "ids"))
            case "typing":
                if time.monotonic() - self._typed_at >= _TYPING_EVERY:
                    self._typed_at = time.monotonic()
                    self._chat.person_types(page.conversations)
            case "ping":
                await self._tell({"type": "pong"})
            case _:
                raise Refused("bad_frame", "发来的内容格式不对。")

    async def _refuse(self, refused: Refused, client_id: str) -> None:
        log.info("webchat.refused", path="/chat/ws", code=refused.code)
        told = {"type": "refused", **self._chat.refusal(refused)}
        await self._tell({**told, "id": client_id} if client_id else told)
        self._nonsense += refused.status == 400
        if self._nonsense >= _MOST_NONSENSE:
            await self._ws.close(code=WSCloseCode.POLICY_VIOLATION)

    # --- out ------------------------------------------------------------------------------------------------------

    async def _carry(self, page: Page) -> None:
        """Tell the page what it lacks, now and whenever something happens."""
        try:
            while not self._ws.closed and not page.gone:
                if page.revoked:
                    await self._ws.close(code=ENDED)
                    return
                await self._catch_up(page)
                if not await page.woken(LOOK_EVERY):
                    page.revoked = not await self._chat.is_open(page.session_id)
        except ConnectionError:
            return  # the page is gone and will come back with its cursor
        except StorageUnavailable:
            await self._ws.close(code=WSCloseCode.TRY_AGAIN_LATER)
        except Exception as error:
            log.error("webchat.carry_failed", session_id=page.session_id, error=type(error).__name__)
            await self._ws.close(code=WSCloseCode.INTERNAL_ERROR)

    async def _catch_up(self, page: Page) -> None:
        if page.counsellor_types:
            page.counsellor_types = False
            await self._tell({"type": "typing"})
        contact_id = self._contact_id
        if contact_id is None:
            return
        while True:
            found, self._after = await self._chat.look(contact_id, self._after, self._have)
            if not found:
                break
            self._have.update(int(one["id"]) for one in found)
            self._have = set(sorted(self._have)[-_REMEMBERED:])
            await self._tell({"type": "messages", "messages": found, "cursor": str(self._after)})
        state = await self._chat.answering(contact_id)
        if state != self._state:
            self._state = state
            await self._tell({"type": "state", "state": state})

    async def _tell(self, frame: Mapping[str, Any]) -> None:
        await self._ws.send_str(frames.dumps(frame))
