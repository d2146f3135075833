"""Web chat: the page's requests, parsed in, and what the page has not seen, carried out. No decisions are made here.

    POST /chat/api/session      a token, when the first message is about to be sent
    GET  /chat/ws               the socket (socket.py)
    POST /chat/api/send         the same by requests, for networks that break sockets:
    POST /chat/api/poll           store a message · wait for news
    POST /chat/api/leave        quick exit: what was not stored yet is stored, then the token is worth nothing
    POST /chat/api/return-code  make a code      POST /chat/api/return  a code for a new token
    POST /chat/api/link         a one-time link (bot/one_time_links.py) for a new token

Tokens travel in the Authorization header or a first frame, never in a URL; there are no cookies, so no foreign page can act for a
visitor. Nothing here limits how often a person may write: limits are for return codes only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import structlog
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import one_time_links
from bot.channels import (
    MAX_TEXT,
    InboundMessage,
    OutboundMessage,
    SendFailed,
    Sent,
    StorageUnavailable,
    Stored,
)
from bot.channels.webchat import frames, return_codes, sessions, thread
from bot.channels.webchat.bell import LOOK_EVERY, Bell, Page
from bot.channels.webchat.frames import Refused, Send
from bot.channels.webchat.pages import Pages, emergency
from bot.channels.webchat.sessions import ACCOUNT, NAME, Visit
from bot.channels.webchat.socket import Socket
from bot.events import News
from bot.settings import WebchatSection
from bot.shell import Shell
from bot.storage.engine import is_unavailable
from bot.web.security import peer
from escalation.ids import new_id
from escalation.tables import Conversation

log = structlog.get_logger(__name__)
POLL_SECONDS: Final = 25.0
# A look-up's database part takes this long whether the code was known, unknown, ended or its owner erased.
_LOOK_UP_SECONDS: Final = 0.25
_EVERYBODY: Final = b"everybody"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebChat:
    """The web chat of this desk (one per process; any number of processes)."""

    name = NAME
    account = ACCOUNT
    passive_seconds = 0.0
    can_push = False  # the page fetches; a delivery ends when the page says that it has the message

    def __init__(self, shell: Shell, settings: WebchatSection) -> None:
        self.shell = shell
        self.settings = settings
        self.bell = Bell(shell.bus)
        self.pages = Pages(shell.settings)
        # A character can take 12 bytes of JSON (an emoji as two \\u escapes). Up to MAX_TEXT the answer can name the count.
        self.largest_frame = max(settings.max_text, MAX_TEXT) * 12 + 8_192
        self._slow_hash = return_codes.SlowHash(shell.vault)
        self._tries_here = return_codes.Tries(5, within=600)
        self._tries_all = return_codes.Tries(30, within=60)
        self._links_here = return_codes.Tries(20, within=600)
        self._codes_made = return_codes.Tries(5, within=3600)
        self._sockets: set[Socket] = set()

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Nothing when the operator switched the web chat off."""
        if not self.settings.enabled:
            return []
        return [
            web.get("/chat", self._chat),
            web.get("/chat/", self._chat),
            web.get("/widget.js", self._asset),
            web.get("/chat/assets/{name}", self._asset),
            web.get("/chat/ws", self._socket),
            web.post("/chat/api/session", self._answering(self._open_session)),
            web.post("/chat/api/send", self._answering(self._send)),
            web.post("/chat/api/poll", self._answering(self._poll)),
            web.post("/chat/api/leave", self._answering(self._leave)),
            web.post("/chat/api/return-code", self._answering(self._make_code)),
            web.post("/chat/api/return", self._answering(self._come_back)),
            web.post("/chat/api/link", self._answering(self._follow_link)),
        ]

    async def send(self, message: OutboundMessage) -> Sent:
        """Never called by the sender (`can_push` is False)."""
        raise SendFailed("pull_only")

    async def hang_up(self) -> None:
        """The service stops: close sockets and end polls now, so that the pages go to whoever serves next."""
        self.bell.hang_up()
        await asyncio.gather(*(socket.close() for socket in list(self._sockets)), return_exceptions=True)

    async def close(self) -> None:
        await self.hang_up()
        await self.bell.close()

    # --- what socket and requests share ---------------------------------------------------------------------------

    async def visit(self, token: str) -> Visit:
        """Who holds `token`. Raises Refused("ended") when nobody does any more."""
        now = self.shell.clock()
        async with self._reading() as session:
            found = await sessions.visit(session, self.shell.vault, token, now) if token else None
        if found is None:
            raise Refused(
                "ended", "这次聊天已经结束或过期。可以用返回码接着聊，也可以直接开始新的对话。", 401
            )
        if sessions.wants_touch(found, now):
            await self.shell.storage.write(lambda s: sessions.touch(s, found.session_id, now))
        return found

    async def store(self, visit: Visit, message: Send, network_address: str) -> Stored:
        """One message into the inbox; returns after the commit. Raises Refused("unavailable")."""
        meta = {"client_id": message.client_id}
        if message.command:
            meta["command"] = message.command
        try:
            return await self.shell.inbox.receive(
                InboundMessage(
                    channel=visit.channel,
                    account=visit.account,
                    sender=visit.sender,
                    provider_id=message.client_id,
                    kind="text",
                    text=message.text,
                    received_at=self.shell.clock(),
                    meta=meta,
                    network_address=network_address,
                )
            )
        except StorageUnavailable:
            raise _unavailable() from None

    async def look(
        self, contact_id: int, after: int | None, have: frozenset[int] | set[int]
    ) -> tuple[list[dict[str, Any]], int]:
        """What the page lacks, and the cursor to ask with next time."""
        # "Now" is put ahead by the overlap that every look goes back: what was said just before stays hidden.
        begun = new_id() + thread.OVERLAP if after is None else after
        async with self._reading() as session:
            found = await thread.read(session, self.shell.vault, contact_id, after=after, have=have)
        return found, max([begun, *(int(one["id"]) for one in found)])

    async def answering(self, contact_id: int) -> str:
        """Who answers now: bot, queued (a human was asked for), human, closed."""
        async with self._reading() as session:
            state: str | None = await session.scalar(
                select(Conversation.state)
                .where(Conversation.contact_id == contact_id)
                .order_by(Conversation.id.desc())
                .limit(1)
            )
        return state or "bot"

    async def conversations(self, contact_id: int | None) -> set[int]:
        if contact_id is None:
            return set()
        async with self._reading() as session:
            return await sessions.conversations_of(session, contact_id)

    async def is_open(self, session_id: int) -> bool:
        async with self._reading() as session:
            return await sessions.still_open(session, session_id)

    async def got(self, contact_id: int | None, message_ids: Sequence[int]) -> None:
        """The page has these replies: record it and tell the counsellor's screen."""
        if contact_id is None or not message_ids:
            return
        now = self.shell.clock()
        changed = await self.shell.storage.write(
            lambda session: thread.settle(session, contact_id, message_ids, now)
        )
        for conversation in changed:
            self.shell.bus.publish(News("delivery", conversation, {"state": "delivered"}))

    def person_types(self, conversations: set[int]) -> None:
        if conversations:
            self.shell.bus.publish(News("typing", max(conversations), {"by": "person"}))

    def refusal(self, refused: Refused) -> dict[str, Any]:
        """What every refusal carries: what happened, and the numbers that always work (promise 12)."""
        return {**refused.as_dict(), "numbers": emergency(self.shell.settings.desk)}

    # --- pages ----------------------------------------------------------------------------------------------------

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return self.pages.chat(request)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        return self.pages.asset(request)

    # --- requests -------------------------------------------------------------------------------------------------

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        socket = Socket(self, request)
        self._sockets.add(socket)
        try:
            return await socket.serve()
        finally:
            self._sockets.discard(socket)

    async def _open_session(self, request: web.Request) -> web.Response:
        return _json({"token": await self._new_session(None)}, 201)

    async def _send(self, request: web.Request) -> web.Response:
        message = frames.send(await self._body(request), self.settings.max_text)
        visit = await self.visit(_token(request))
        stored = await self.store(visit, message, self._address(request))
        return _json({"stored": message.client_id, "message_id": str(stored.message_id)})

    async def _poll(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        asked = frames.hello(body)
        visit = await self.visit(_token(request))
        await self.got(visit.contact_id, frames.ids(body, "got"))
        if visit.contact_id is None:
            raise Refused("nothing_yet", "还没有对话。", 409)
        with self.bell.page(visit.session_id) as page:
            await self.bell.watch(page, await self.conversations(visit.contact_id))
            return _json(await self._wait(page, visit.contact_id, asked, str(body.get("state", "")), request))

    async def _wait(
        self, page: Page, contact_id: int, asked: frames.Hello, known_state: str, request: web.Request
    ) -> dict[str, Any]:
        until = time.monotonic() + POLL_SECONDS
        while True:
            found, cursor = await self.look(contact_id, asked.after, asked.have)
            state = await self.answering(contact_id)
            left = until - time.monotonic()
            typing, page.counsellor_types = page.counsellor_types, False
            gone = request.transport is None or request.transport.is_closing()
            if page.revoked or not await self.is_open(page.session_id):
                raise Refused("ended", "这次聊天已经结束。", 401)
            if (
                found
                or typing
                or state != known_state
                or asked.after is None
                or left <= 0
                or gone
                or self.bell.closing
            ):
                return {"messages": found, "cursor": str(cursor), "state": state, "typing": typing}
            await page.woken(min(left, LOOK_EVERY))

    async def _leave(self, request: web.Request) -> web.Response:
        """The body comes by sendBeacon, which sets no headers: the token is in it."""
        body = await self._body(request)
        token = body.get("token", "")
        token = token if isinstance(token, str) else ""
        unsent = frames.unsent(body, self.settings.max_text)
        if unsent:
            # Words on their way when the person had to leave are still words (promise 1), with or without a token.
            try:
                visit = await self.visit(token)
            except Refused:
                visit = await self.visit(await self._new_session(None))
            for message in unsent:
                await self.store(visit, message, self._address(request))
        now = self.shell.clock()
        ended = await self.shell.storage.write(
            lambda session: sessions.revoke(session, self.shell.vault, token, now)
        )
        if ended is not None:
            self.bell.revoke(ended)
        return web.Response(status=204)

    async def _make_code(self, request: web.Request) -> web.Response:
        visit = await self.visit(_token(request))
        if visit.contact_id is None:
            raise Refused("nothing_yet", "先发一条消息，再来拿返回码。", 409)
        self._allow(self._codes_made, str(visit.contact_id).encode())
        contact_id, now = visit.contact_id, self.shell.clock()
        code = return_codes.new_code()
        code_hash = await self._slow_hash(code)
        await self.shell.storage.write(lambda session: return_codes.keep(session, contact_id, code_hash, now))
        return _json({"code": code}, 201)

    async def _come_back(self, request: web.Request) -> web.Response:
        typed = (await self._body(request)).get("code", "")
        self._allow(self._tries_here, _neighbourhood(self._address(request)))
        self._allow(self._tries_all, _EVERYBODY)
        code_hash = await self._slow_hash(typed if isinstance(typed, str) else "")
        answer_at = time.monotonic() + _LOOK_UP_SECONDS
        now = self.shell.clock()

        async def work(session: AsyncSession) -> str | None:
            return await self._session_for(
                session, await return_codes.contact_behind(session, code_hash, now), now
            )

        token = await self.shell.storage.write(work)
        await asyncio.sleep(answer_at - time.monotonic())
        if token is None:
            raise Refused(
                "unknown_code", "没有找到这个返回码。请看看有没有写错；也可以直接开始新的对话。", 404
            )
        return _json({"token": token}, 201)

    async def _follow_link(self, request: web.Request) -> web.Response:
        link = (await self._body(request)).get("link", "")
        self._allow(self._links_here, _neighbourhood(self._address(request)))
        now = self.shell.clock()

        async def work(session: AsyncSession) -> str | None:
            contact_id = await one_time_links.redeem(session, self.shell.vault, link, now)
            return await self._session_for(session, contact_id, now)

        token = await self.shell.storage.write(work) if isinstance(link, str) else None
        if token is None:
            raise Refused("unknown_link", "这个链接已经用过或过期了。可以直接在这里写，开始新的对话。", 404)
        return _json({"token": token}, 201)

    async def _session_for(self, session: AsyncSession, contact_id: int | None, now: datetime) -> str | None:
        if contact_id is None or await sessions.address_of(session, self.shell.vault, contact_id) is None:
            return None
        token = sessions.new_token()
        sessions.open_session(session, self.shell.vault, token, now, contact_id)
        return token

    async def _new_session(self, contact_id: int | None) -> str:
        token, now = sessions.new_token(), self.shell.clock()

        async def work(session: AsyncSession) -> None:
            sessions.open_session(session, self.shell.vault, token, now, contact_id)
            await session.flush()

        await self.shell.storage.write(work)
        return token

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        """A session to read with. Raises StorageUnavailable like a write does."""
        try:
            async with self.shell.storage.read() as session:
                yield session
        except Exception as error:
            if is_unavailable(error):
                raise StorageUnavailable(type(error).__name__) from None
            raise

    # --- reading requests, writing answers ------------------------------------------------------------------------

    def _answering(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except Refused as error:
                refused = error
            except StorageUnavailable:
                refused = _unavailable()
            log.info("webchat.refused", path=request.path, code=refused.code)
            response = _json(self.refusal(refused), refused.status)
            if "retry_after" in refused.details:
                response.headers["Retry-After"] = str(refused.details["retry_after"])
            if refused.status == 413:
                response.force_close()  # the rest of the body is not read
            return response

        return answer

    async def _body(self, request: web.Request) -> Mapping[str, Any]:
        """The request's JSON object. Reads no more than the largest frame."""
        if (request.content_length or 0) > self.largest_frame:
            raise _too_large()
        read = bytearray()
        async for part in request.content.iter_chunked(65_536):
            read += part
            if len(read) > self.largest_frame:
                raise _too_large()
        return frames.read(bytes(read))

    def _address(self, request: web.Request) -> str:
        return peer(request, self.shell.settings.server.trusted_proxies)

    def _allow(self, tries: return_codes.Tries, key: bytes) -> None:
        wait = tries.wait(key, time.monotonic())
        if wait > 0:
            seconds = int(wait) + 1
            raise Refused(
                "wait",
                f"试的次数太多了，请 {seconds} 秒后再试。不用等也可以直接开始新的对话。",
                429,
                retry_after=seconds,
            )


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _neighbourhood(address: str) -> bytes:
    """What counts as one address: an IPv4 address, or the 64 bits an IPv6 household is given."""
    if ":" in address and "." not in address:
        groups = address.split("%")[0].split("::")[0].split(":")
        return ":".join(groups[:4]).encode()
    return address.encode("utf-8", "replace")


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        text=frames.dumps(value),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _unavailable() -> Refused:
    return Refused("unavailable", "现在存不上，正在重试。你写的都还在这一页里。", 503, retry_after=3)


def _too_large() -> Refused:
    return Refused("too_large", "这一条太大了，没有收下。请分成几条发，你写的都还在。", 413)
