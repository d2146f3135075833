"""The door for WeChat's pushes: verify, store, and answer within the five seconds WeChat waits.

WeChat cuts the connection after 5 s and delivers again, three times in all, with the same MsgId (公众平台 > 接收普通消息). So:
- what is stored is answered by the reply, if it is ready in time; a repeat gets the same words;
- a verified account otherwise says "success", and the sender brings the reply as a customer-service message;
- an unverified account has no other voice: its first two deliveries stay unanswered so that the reply can ride on the next, and
  the third always answers, with a holding text if need be. Later replies ride on whatever the person writes next.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.channels import InboundMessage, OutboundMessage, StorageUnavailable, Stored
from bot.channels.wechat import quota
from bot.channels.wechat.envelope import Envelope, Opened, Refused
from bot.channels.wechat.parse import QUOTA_EVENTS, created_at, inbound
from bot.channels.wechat.reply import Packed, pack, passive_xml
from bot.one_time_links import make_link
from bot.settings import WechatAccount
from bot.shell import Shell
from bot.tables import Delivery
from escalation import tasks
from escalation.tables import Contact, Conversation, Message, TemplateText
from handlers.templates import Edited, Filled, Templates
from handlers.turn import DeskView

log = structlog.get_logger(__name__)

PASSIVE_SECONDS: Final = 4.3  # of WeChat's 5: the rest is the way back
_THIRD_SECONDS: Final = (
    3.5  # the last delivery leaves more time for the way back, and for writing a holding text
)
_TOO_LATE: Final = 4.9  # what would be written after this, WeChat no longer reads
_CUT: Final = 5.2  # by now WeChat has cut the connection and is about to deliver again
_THIRD_AFTER: Final = 9  # seconds from the first delivery to the third
_MOST_BYTES: Final = 256 * 1024  # WeChat's own limit is far below
_NOTHING_TO_SAY: Final = "success"  # WeChat's word for it: do not deliver again
_WARN_EVERY: Final = timedelta(hours=1)


class Webhook:
    """The routes of one account."""

    def __init__(self, shell: Shell, account: WechatAccount, envelope: Envelope) -> None:
        self._shell = shell
        self._account = account
        self._envelope = envelope
        self._deliveries = _Counted()
        self._warned_at: datetime | None = None

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        path = f"/wechat/{self._account.account}"
        return [web.get(path, self.verify, allow_head=False), web.post(path, self.receive)]

    async def verify(self, request: web.Request) -> web.Response:
        """URL verification: WeChat asks once, when an administrator enters our address."""
        try:
            echo = self._envelope.echo(request.query, self._shell.clock())
        except Refused as refused:
            return self._refuse(refused)
        return web.Response(text=echo, headers={"X-Content-Type-Options": "nosniff"})

    async def receive(self, request: web.Request) -> web.StreamResponse:
        """One delivery of one message or event."""
        clock = asyncio.get_running_loop().time
        arrived = clock()
        now = self._shell.clock()
        try:
            opened = self._envelope.open(request.query, await _body(request), now)
            message = inbound(opened.fields, account=self._account.account, now=now)
        except Refused as refused:
            return self._refuse(refused)
        try:
            stored = await self._shell.inbox.receive(message)
            if stored.new:
                await self._note(message, stored, opened, now)
            replies = await self._replies(message, stored, opened, arrived=arrived)
        except StorageUnavailable:
            return web.Response(status=503, text="try again")
        if replies is None:  # not ready, and not the last delivery: let WeChat try again
            await asyncio.sleep(max(0.0, arrived + _CUT - clock()))
            return web.Response(status=503, text="try again")
        packed = pack(replies)
        if replies and not packed.text and not self._account.verified:
            packed = pack(replies, cut=await self._cut_line())
        return await self._answer(request, opened, packed, in_time=lambda: clock() < arrived + _TOO_LATE)

    # --- what there is to say -----------------------------------------------------------------------------------------

    async def _replies(
        self, message: InboundMessage, stored: Stored, opened: Opened, *, arrived: float
    ) -> Sequence[OutboundMessage] | None:
        """What this delivery carries; None when it should stay unanswered."""
        self._deliveries.add(stored.message_id)
        if not stored.new and (said := await self._shell.outbox.said(stored.message_id)):
            return said
        if not self._account.verified:
            return await self._only_voice(stored, opened, arrived)
        if message.kind == "event" and "command" not in message.meta:
            return ()  # nothing will be said to it
        replies = await self._claim(stored, arrived + PASSIVE_SECONDS)
        if not replies and self._deliveries.count(stored.message_id) > 1:
            # Another delivery of the same message may have taken them while this one waited.
            return await self._shell.outbox.said(stored.message_id)
        return replies

    async def _only_voice(
        self, stored: Stored, opened: Opened, arrived: float
    ) -> Sequence[OutboundMessage] | None:
        """The same for an unverified account, whose every word rides on a delivery."""
        third = await self._is_third(stored, opened)
        replies = await self._claim(stored, arrived + (_THIRD_SECONDS if third else PASSIVE_SECONDS))
        if (await self._message(stored)).state != "received":
            if await self._add_link(stored):
                replies = [*replies, *await self._claim(stored, 0)]
            return replies or await self._shell.outbox.said(stored.message_id)
        if third:
            if not replies:
                await self._write(stored, "wechat.wait", dedupe=f"wechat.wait:{stored.message_id}")
                replies = await self._claim(stored, 0)
            return replies
        if any(reply.lane in (outbox.CRISIS, outbox.HUMAN) for reply in replies):
            return replies  # older words that must not wait; the answer rides on the person's next message
        if replies:
            await self._shell.outbox.settle([r.delivery_id for r in replies], sent=False)
        return None

    async def _is_third(self, stored: Stored, opened: Opened) -> bool:
        """Whether WeChat will not deliver this again: by our count; by WeChat's clock, should an earlier delivery have
        failed before it was stored; by ours, should the process that counted be gone. Wrongly third only means
        answering early."""
        sent = created_at(opened.fields)
        if self._deliveries.count(stored.message_id) >= 3 or (
            sent is not None and opened.signed_at - sent >= _THIRD_AFTER
        ):
            return True
        if stored.new:
            return False
        since_stored = self._shell.clock() - (await self._message(stored)).received_at
        return since_stored.total_seconds() >= _THIRD_AFTER

    async def _message(self, stored: Stored) -> Message:
        async with self._shell.storage.read() as session:
            return await session.get_one(Message, stored.message_id)

    async def _claim(self, stored: Stored, until: float) -> Sequence[OutboundMessage]:
        within = max(0.0, until - asyncio.get_running_loop().time())
        return await self._shell.outbox.passive(stored.message_id, within=within)

    async def _add_link(self, stored: Stored) -> bool:
        """An unverified account cannot carry a talk with a human: once a day, the way into the web chat."""
        public_url = self._shell.settings.server.public_url
        if not public_url or not self._shell.settings.webchat.enabled:
            return False
        async with self._shell.storage.read() as session:
            state = await session.scalar(
                select(Conversation.state).where(Conversation.id == stored.conversation_id)
            )
        if state not in ("queued", "human"):
            return False
        today = self._shell.clock().astimezone(ZoneInfo(self._shell.settings.desk.timezone)).date()
        return await self._write(
            stored, "wechat.webchat_link", dedupe=f"wechat.link:{today}", public_url=public_url
        )

    async def _write(self, stored: Stored, key: str, *, dedupe: str, public_url: str = "") -> bool:
        """Put an approved text into the outbox, once for `dedupe`; whether it was new."""
        now = self._shell.clock()

        async def work(session: AsyncSession) -> bool:
            conversation = await session.get_one(Conversation, stored.conversation_id)
            savepoint = await session.begin_nested()
            own = {}
            if public_url:
                own["link"] = await make_link(
                    session, self._shell.vault, contact_id=stored.contact_id, public_url=public_url, now=now
                )
            filled = await self._filled(session, key, **own)
            draft = outbox.Draft(filled.text, template=filled.source, dedupe=dedupe)
            written = await outbox.write(
                session, self._shell.vault, conversation, [draft], lane=outbox.BOT, now=now, author="system"
            )
            await (savepoint.commit() if written else savepoint.rollback())  # no link that nobody gets
            return bool(written)

        return await self._shell.storage.write(work)

    async def _cut_line(self) -> str:
        async with self._shell.storage.read() as session:
            return (await self._filled(session, "wechat.more")).text

    async def _filled(self, session: AsyncSession, key: str, **own: str) -> Filled:
        desk = self._shell.settings.desk
        edited = await session.scalar(
            select(TemplateText)
            .where(TemplateText.key == key, TemplateText.state == "approved")
            .order_by(TemplateText.version.desc())
            .limit(1)
        )
        texts = Templates({key: Edited(edited.version, edited.text)} if edited else None)
        return texts.fill(key, DeskView(desk.name, desk.numbers, desk.hours.text), **own)

    # --- the answer ---------------------------------------------------------------------------------------------------

    async def _answer(
        self, request: web.Request, opened: Opened, packed: Packed, *, in_time: Callable[[], bool]
    ) -> web.StreamResponse:
        """Write the reply out, then record whether it went. What did not fit goes back to waiting."""
        if not (packed.carried or packed.left):
            return web.Response(text=_NOTHING_TO_SAY)
        now = self._shell.clock()
        if not packed.text:
            text = _NOTHING_TO_SAY
        else:
            text = passive_xml(
                to=opened.fields["FromUserName"],
                sender=opened.fields["ToUserName"],
                text=packed.text,
                created=int(now.timestamp()),
            )
            text = self._envelope.close(text, now) if opened.encrypted else text
        content_type = "application/xml" if packed.text else "text/plain"
        response = web.Response(text=text, content_type=content_type)
        sent = False
        try:
            if in_time():
                await response.prepare(request)
                await response.write_eof()
                sent = True
        except (ConnectionError, RuntimeError):  # WeChat has hung up
            pass
        finally:
            await asyncio.shield(self._settle(packed, sent=sent))
        return response if sent else web.Response(status=503, text="try again")

    async def _settle(self, packed: Packed, *, sent: bool) -> None:
        settle = self._shell.outbox.settle
        if packed.carried:
            await settle([m.delivery_id for m in packed.carried], sent=sent)
        if packed.left:
            await settle([m.delivery_id for m in packed.left], sent=False)
        if packed.rest and sent:
            await self._shell.storage.write(lambda session: _write_rest(session, self._shell, packed))

    # --- what else a push means ---------------------------------------------------------------------------------------

    async def _note(self, message: InboundMessage, stored: Stored, opened: Opened, now: datetime) -> None:
        """Follow, unfollow, quota opened by an event; and the clock."""
        event = str(message.meta.get("event", ""))
        if event in ("subscribe", "unsubscribe") or event in QUOTA_EVENTS:

            async def work(session: AsyncSession) -> None:
                if event in ("subscribe", "unsubscribe"):
                    await session.execute(
                        update(Contact)
                        .where(Contact.id == stored.contact_id)
                        .values(followed=event == "subscribe")
                    )
                if event in QUOTA_EVENTS:
                    await quota.open_by_event(session, stored.contact_id, now)

            await self._shell.storage.write(work)
        if opened.stale and (self._warned_at is None or now >= self._warned_at + _WARN_EVERY):
            self._warned_at = now
            off = round(now.timestamp() - opened.signed_at)
            log.warning("wechat.clock", account=self._account.account, seconds_off=off)
            await self._shell.storage.write(
                lambda session: tasks.open_task(
                    session,
                    "clock_warning",
                    now=now,
                    role="administrator",
                    detail=f"wechat:{self._account.account}",
                )
            )

    def _refuse(self, refused: Refused) -> web.Response:
        log.warning(
            "wechat.refused", account=self._account.account, reason=refused.reason, status=refused.status
        )
        return web.Response(status=refused.status, text=refused.reason)


class _Counted:
    """How often each message was delivered to this process. Forgets the oldest beyond 10,000."""

    def __init__(self) -> None:
        self._counts: OrderedDict[int, int] = OrderedDict()

    def add(self, message_id: int) -> None:
        self._counts[message_id] = self._counts.get(message_id, 0) + 1
        if len(self._counts) > 10_000:
            self._counts.popitem(last=False)

    def count(self, message_id: int) -> int:
        return self._counts.get(message_id, 0)


async def _body(request: web.Request) -> bytes:
    """The body, if it has a size that WeChat would send. Raises Refused."""
    if (request.content_length or 0) > _MOST_BYTES:
        raise Refused(413, "too_large")
    parts = bytearray()
    async for chunk in request.content.iter_any():
        parts += chunk
        if len(parts) > _MOST_BYTES:
            raise Refused(413, "too_large")
    return bytes(parts)


async def _write_rest(session: AsyncSession, shell: Shell, packed: Packed) -> None:
    """The end of a text that was cut waits as a message of its own, once."""
    (cut,) = packed.carried
    delivery = await session.get_one(Delivery, cut.delivery_id)
    conversation = await session.get_one(Conversation, delivery.conversation_id)
    whole = await session.get_one(Message, delivery.message_id)
    draft = outbox.Draft(
        packed.rest, cut.buttons, cut.template, dedupe=f"wechat.rest:{cut.delivery_id}:{len(packed.rest)}"
    )
    await outbox.write(
        session,
        shell.vault,
        conversation,
        [draft],
        lane=cut.lane,
        now=shell.clock(),
        author=whole.author,
        staff_id=whole.staff_id,
    )
