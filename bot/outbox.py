"""Fourth station: replies are written in the transaction that finishes the message, and wait here to be carried out.

Promise 2: a delivery's attempt is committed before the call that makes it. Pushed replies are carried by sender.py; a webhook that
is still open may carry them in its own answer (`passive`); a web chat page fetches them itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import Button, Channel, OutboundMessage, ShowsTyping, StorageUnavailable
from bot.events import Bus, News
from bot.storage import Storage
from bot.storage.together import Together
from bot.tables import Delivery, DeliveryPart
from escalation import episodes, tasks
from escalation.columns import table_of
from escalation.ids import made_at, new_id
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Contact, Conversation, Message, Person

CRISIS, HUMAN, BOT, PROACTIVE = 0, 1, 2, 3
_YOUNG = timedelta(seconds=2)
_REMEMBERED = 10_000
_TYPES_EVERY = timedelta(seconds=8)  # WeChat shows it for some fifteen
# A webhook that lives claims an answer within milliseconds of its being written. After this its connection, or its process, is gone.
_CLAIMED_WITHIN = timedelta(seconds=1)
# WeChat's codes for "window closed" and "quota spent": the person's next message opens both again.
WAITS_FOR_PERSON = ("45015", "45047")


@dataclass(frozen=True, slots=True)
class Draft:
    """One reply to write. `dedupe`, when given, makes a second writing of the same a no-op (a counsellor's client id)."""

    text: str
    buttons: Sequence[Button] = ()
    template: str = ""
    dedupe: str = ""


async def write(
    session: AsyncSession,
    vault: Vault,
    conversation: Conversation,
    replies: Sequence[Draft],
    *,
    lane: int,
    now: datetime,
    author: str = "bot",
    staff_id: int | None = None,
    key: DataKey | None = None,
) -> list[Message]:
    """Add outgoing messages and their deliveries to the caller's transaction.

    `lane`: CRISIS, HUMAN, BOT or PROACTIVE. Safety texts and a human's words are sent again when a crash leaves their
    outcome unknown; other replies are not. Returns the messages; one already written is left out.
    """
    if key is None:
        person = await session.get_one(Person, conversation.person_id)
        key = vault.person_key(person.data_key)
    written = []
    for reply in replies:
        dedupe = vault.fingerprint("reply", str(conversation.id), reply.dedupe) if reply.dedupe else None
        if dedupe and await session.scalar(select(Message.id).where(Message.dedupe_hash == dedupe)):
            continue
        message, delivery = _rows(conversation, reply, key, lane=lane, now=now, due=now, author=author)
        message |= {"dedupe_hash": dedupe, "staff_id": staff_id}
        written.append(Message(**message))
        session.add(written[-1])
        session.add(Delivery(**delivery))
    return written


class Answers:
    """Answers to many messages, written by two statements: hundreds a second would be too many objects for a session."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._deliveries: list[dict[str, Any]] = []
        self.due = False  # whether any of them is the sender's at once

    def add(
        self,
        conversation: Conversation,
        replies: Sequence[Draft],
        key: DataKey,
        *,
        lane: int,
        now: datetime,
        message_id: int,
        received_at: datetime,
        hold: float,
    ) -> None:
        """Answer the inbound message `message_id`. For `hold` seconds from its arrival the sender leaves the answer to
        that message's own webhook (Channel.passive_seconds); a safety text for a moment only, should nobody be there."""
        due = max(now, received_at + timedelta(seconds=hold)) if hold else now
        if lane == CRISIS:
            due = min(due, now + _CLAIMED_WITHIN)
        self.due = self.due or due <= now
        for reply in replies:
            message, delivery = _rows(conversation, reply, key, lane=lane, now=now, due=due, author="bot")
            message["reply_to"] = delivery["reply_to"] = message_id
            self._messages.append(message)
            self._deliveries.append(delivery)

    async def store(self, session: AsyncSession) -> None:
        """Add all of them to the caller's transaction."""
        if self._messages:
            await session.execute(insert(table_of(Message)), self._messages)
            await session.execute(insert(table_of(Delivery)), self._deliveries)


def _rows(
    conversation: Conversation,
    reply: Draft,
    key: DataKey,
    *,
    lane: int,
    now: datetime,
    due: datetime,
    author: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of one outgoing message, and of its delivery."""
    meta = None
    if reply.buttons:
        meta = orjson.dumps({"buttons": [{"label": b.label, "value": b.value} for b in reply.buttons]})
    message = {
        "id": new_id(),
        "conversation_id": conversation.id,
        "direction": "out",
        "author": author,
        "kind": "text",
        "text_sealed": key.seal(reply.text, "message.text"),
        "meta_sealed": key.seal(meta.decode(), "message.meta") if meta else None,
        "state": "written",
        "template": reply.template or None,
        "received_at": now,
    }
    delivery = {
        "id": new_id(),
        "message_id": message["id"],
        "conversation_id": conversation.id,
        "contact_id": conversation.contact_id,
        "channel": conversation.channel,
        "account": conversation.account,
        "lane": lane,
        "state": "pending",
        "next_at": due,
        "attempts": 0,
        "resend_if_unknown": lane in (CRISIS, HUMAN),
    }
    return message, delivery


class OutboxService:
    """What webhooks, the sender and the workbench ask of the outbox."""

    def __init__(
        self, storage: Storage, vault: Vault, bus: Bus, *, process: str, clock: Callable[[], datetime]
    ) -> None:
        self._storage = storage
        self._vault = vault
        self._bus = bus
        self._process = process
        self._clock = clock
        self._channels: dict[tuple[str, str], Channel] = {}
        self._finished: defaultdict[int, set[asyncio.Future[None]]] = defaultdict(set)
        self._lately: OrderedDict[int, None] = OrderedDict()  # messages finished a moment ago
        self._claim = Together(storage, self._claim_passive)
        self._settle = Together(storage, self._settle_all)
        self._typed: OrderedDict[int, datetime] = OrderedDict()  # conversation -> when it was last shown
        self._typing: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()  # for the sender

    async def start(self) -> None:
        ready = asyncio.Event()
        self._listener = asyncio.create_task(self._listen(ready), name="outbox-news")
        await ready.wait()

    async def close(self) -> None:
        if self._typing:
            await asyncio.wait(self._typing, timeout=1)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def types(self, conversation_id: int, staff_id: int) -> None:
        """A counsellor types in their conversation: shown to the person where the channel has a way of its own (WeChat).
        Web pages hear of it by news. Returns at once; now and then is enough, and a failure is not worth telling."""
        now = self._clock()
        last = self._typed.get(conversation_id)
        shown = any(isinstance(c, ShowsTyping) for c in self._channels.values())
        if not shown or (last is not None and now - last < _TYPES_EVERY):
            return
        self._typed[conversation_id] = now
        self._typed.move_to_end(conversation_id)
        if len(self._typed) > _REMEMBERED:
            self._typed.popitem(last=False)
        task = asyncio.create_task(self._show_typing(conversation_id, staff_id), name="typing")
        self._typing.add(task)
        task.add_done_callback(self._typing.discard)

    async def _show_typing(self, conversation_id: int, staff_id: int) -> None:
        async with self._storage.read() as session:
            row = (
                await session.execute(
                    select(
                        Conversation.channel, Conversation.account, Contact.address_sealed, Person.data_key
                    )
                    .join(Contact, Contact.id == Conversation.contact_id)
                    .join(Person, Person.id == Conversation.person_id)
                    .where(
                        Conversation.id == conversation_id,
                        Conversation.state == "human",
                        Conversation.owner_id == staff_id,
                    )
                )
            ).one_or_none()
        channel = None if row is None else self._channels.get((row.channel, row.account))
        if row is None or not isinstance(channel, ShowsTyping):
            return
        with contextlib.suppress(Unreadable):
            address = self._vault.person_key(row.data_key).open(row.address_sealed, "contact.address")
            await channel.typing(address)

    def serve(self, channels: Iterable[Channel]) -> None:
        """The channels there are; called once at start."""
        self._channels = {(c.name, c.account): c for c in channels}

    def hold(self, conversation: Conversation) -> float:
        """Seconds the sender leaves a reply to the message's own webhook."""
        channel = self._channels.get((conversation.channel, conversation.account))
        return channel.passive_seconds if channel else 0

    def ring(self, conversation_id: int, *, due: bool = True) -> None:
        """Replies of this conversation were committed: wake the screens, and the sender if anything is `due` already."""
        if due:
            self.wake.set()
        self._bus.publish(News("message", conversation_id))

    async def passive(self, message_id: int, *, within: float) -> Sequence[OutboundMessage]:
        """See bot.channels.Outbox.passive."""
        await self._until_finished(message_id, within)
        return await self._claim(message_id)

    async def _until_finished(self, message_id: int, within: float) -> None:
        if message_id in self._lately:
            return
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished[message_id].add(finished)
        try:
            # A message of this moment has its news still to come; of an older one it may have passed already.
            young = self._clock() - made_at(message_id) < _YOUNG
            if young or not await self._is_finished(message_id):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(within):
                        await finished
        finally:
            self._finished[message_id].discard(finished)
            if not self._finished[message_id]:
                del self._finished[message_id]

    async def said(self, message_id: int) -> Sequence[OutboundMessage]:
        """See bot.channels.Outbox.said."""
        async with self._storage.read() as session:
            ids = await session.scalars(
                select(Delivery.id)
                .where(
                    Delivery.reply_to == message_id,
                    Delivery.via == "passive",
                    Delivery.state != "pending",  # recovered after a crash: to be claimed anew
                )
                .order_by(Delivery.id)
            )
            return await outbound(session, self._vault, list(ids))

    async def settle(self, delivery_ids: Sequence[int], *, sent: bool) -> None:
        """See bot.channels.Outbox.settle. Not written out: back to waiting, since nobody has seen it."""
        await self._settle((delivery_ids, sent))
        if not sent:
            self.wake.set()

    async def _settle_all(
        self, session: AsyncSession, outcomes: Sequence[tuple[Sequence[int], bool]]
    ) -> Sequence[None]:
        now = self._clock()
        for sent, values in (
            (True, {"state": "sent", "settled_at": now, "error": None}),
            (False, {"state": "pending", "via": None, "next_at": now}),
        ):
            ids = [delivery_id for settled, outcome in outcomes if outcome is sent for delivery_id in settled]
            if ids:
                await session.execute(
                    update(Delivery)
                    .where(Delivery.id.in_(ids), Delivery.state == "attempting")
                    .values(**values)
                    .execution_options(synchronize_session=False)
                )
        return [None] * len(outcomes)

    async def receipt(
        self, channel: str, account: str, provider_id: str, *, delivered: bool, code: str = ""
    ) -> bool:
        """See bot.channels.Outbox.receipt."""
        now = self._clock()

        async def work(session: AsyncSession) -> Delivery | None:
            delivery = await session.scalar(
                select(Delivery).where(
                    Delivery.channel == channel,
                    Delivery.account == account,
                    Delivery.provider_id == provider_id,
                )
            )
            arrived: bool | None = delivered
            if delivery is None:
                delivery, arrived = await _part_receipt(
                    session, channel, account, provider_id, delivered=delivered
                )
            state = "delivered" if arrived else "failed"
            if delivery is not None and arrived is not None and delivery.state not in ("delivered", state):
                delivery.state = state
                delivery.error = code or None
                delivery.settled_at = now
                if not arrived:
                    await cannot_reach(session, delivery, now)
            return delivery

        found = await self._storage.write(work)
        if found is not None:
            self._bus.publish(News("delivery", found.conversation_id, {"state": found.state}))
        return found is not None

    async def parts_taken(self, delivery_id: int, *, of: int) -> int:
        """How many pieces of a long text the provider has taken already: sending goes on behind them. A text that is cut
        differently now (`of`) begins anew."""
        async with self._storage.read() as session:
            taken = await session.scalar(
                select(func.count()).where(DeliveryPart.delivery_id == delivery_id, DeliveryPart.of == of)
            )
        return int(taken or 0)

    async def part_taken(
        self, delivery_id: int, number: int, *, of: int, provider_id: str = "", urgent: bool = False
    ) -> None:
        """The provider took piece `number` (from 0) of `of`. Never raises: unwritten, it is only sent again after a failure."""
        now = self._clock()

        async def work(session: AsyncSession) -> None:
            other = or_(DeliveryPart.number == number, DeliveryPart.of != of)
            await session.execute(delete(DeliveryPart).where(DeliveryPart.delivery_id == delivery_id, other))
            part = DeliveryPart(
                delivery_id=delivery_id,
                number=number,
                of=of,
                state="sent",
                provider_id=provider_id or None,
                at=now,
            )
            session.add(part)

        with contextlib.suppress(StorageUnavailable):
            await self._storage.write(work, urgent=urgent)

    async def _listen(self, ready: asyncio.Event) -> None:
        async with self._bus.listen() as news:
            ready.set()
            while True:
                item: News = await news.get()
                if item.what == "finished" and item.extra:
                    message_id = int(item.extra["message_id"])
                    self._lately[message_id] = None
                    if len(self._lately) > _REMEMBERED:
                        self._lately.popitem(last=False)
                    for future in self._finished.get(message_id, ()):
                        if not future.done():
                            future.set_result(None)

    async def _is_finished(self, message_id: int) -> bool:
        async with self._storage.read() as session:
            return await session.scalar(select(Message.state).where(Message.id == message_id)) != "received"

    async def _claim_passive(
        self, session: AsyncSession, message_ids: Sequence[int]
    ) -> Sequence[Sequence[OutboundMessage]]:
        """For each inbound message what waits for its sender; a contact's replies go to the first who asks."""
        asking: dict[int, int] = {}
        for message_id, contact_id in await session.execute(_ASKERS, {"message_ids": message_ids}):
            asking.setdefault(contact_id, message_id)
        waiting = (await session.execute(_WAITING, {"contact_ids": list(asking)})).all()
        claimed: dict[int, list[OutboundMessage]] = {message_id: [] for message_id in message_ids}
        if waiting:
            now = self._clock()
            attempts = [
                {"delivery_id": delivery_id, "asked_by": asking[contact_id], "now": now, "who": self._process}
                for delivery_id, contact_id in waiting
            ]
            await session.execute(_ATTEMPT, attempts)
            for message in await outbound(session, self._vault, [delivery_id for delivery_id, _ in waiting]):
                claimed[asking[message.contact_id]].append(message)
        return [claimed[message_id] for message_id in message_ids]


# The statements of a passive answer, made once: they run for every message that WeChat brings.
_ASKERS = (
    select(Message.id, Conversation.contact_id)
    .join(Conversation, Message.conversation_id == Conversation.id)
    .where(Message.id.in_(bindparam("message_ids", expanding=True)))
)
_WAITING = (
    select(Delivery.id, Delivery.contact_id)
    .where(
        Delivery.contact_id.in_(bindparam("contact_ids", expanding=True)),
        or_(
            Delivery.state == "pending",
            # A human's words that had no quota left: the person has written again, now they can go.
            and_(Delivery.state == "failed", Delivery.lane == HUMAN, Delivery.error.in_(WAITS_FOR_PERSON)),
        ),
    )
    .order_by(Delivery.id)
    .with_for_update(skip_locked=True)
)
_deliveries = table_of(Delivery)
_ATTEMPT = (
    update(_deliveries)
    .where(_deliveries.c.id == bindparam("delivery_id"))
    .values(
        state="attempting",
        via="passive",
        reply_to=bindparam("asked_by"),
        attempts=_deliveries.c.attempts + 1,
        attempted_at=bindparam("now"),
        attempted_by=bindparam("who"),
    )
)
_WORDS = (
    select(
        Delivery.id,
        Delivery.lane,
        Message.text_sealed,
        Message.meta_sealed,
        Message.template,
        Contact.id,
        Contact.address_sealed,
        Person.data_key,
    )
    .join(Message, Message.id == Delivery.message_id)
    .join(Conversation, Conversation.id == Message.conversation_id)
    .join(Contact, Contact.id == Conversation.contact_id)
    .join(Person, Person.id == Conversation.person_id)
    .where(Delivery.id.in_(bindparam("delivery_ids", expanding=True)), Message.text_sealed.is_not(None))
)


async def outbound(session: AsyncSession, vault: Vault, delivery_ids: Sequence[int]) -> list[OutboundMessage]:
    """Deliveries with words and address opened, in the same order. What cannot be read any more (an erased person's, a
    damaged row) is left out."""
    if not delivery_ids:
        return []
    opened: dict[int, OutboundMessage] = {}
    for row in await session.execute(_WORDS, {"delivery_ids": delivery_ids}):
        delivery_id, lane, text_sealed, meta_sealed, template, contact_id, address_sealed, data_key = row
        try:
            key = vault.person_key(data_key)
            meta = orjson.loads(key.open(meta_sealed, "message.meta")) if meta_sealed else {}
            address = key.open(address_sealed, "contact.address")
            text = key.open(text_sealed or b"", "message.text")
        except Unreadable:
            continue
        opened[delivery_id] = OutboundMessage(
            delivery_id=delivery_id,
            contact_id=contact_id,
            address=address,
            text=text,
            buttons=[Button(b["label"], b["value"]) for b in meta.get("buttons", ())],
            template=template or "",
            lane=lane,
        )
    return [opened[delivery_id] for delivery_id in delivery_ids if delivery_id in opened]


async def _part_receipt(
    session: AsyncSession, channel: str, account: str, provider_id: str, *, delivered: bool
) -> tuple[Delivery | None, bool | None]:
    """What became of one piece of a long text: its delivery, and whether the whole has arrived (None: not known yet). One lost
    piece is a lost text. No delivery: the id is not known, or the other pieces are still being sent: ask again."""
    found = (
        await session.execute(
            select(DeliveryPart, Delivery)
            .join(Delivery, Delivery.id == DeliveryPart.delivery_id)
            .where(
                DeliveryPart.provider_id == provider_id,
                Delivery.channel == channel,
                Delivery.account == account,
            )
            .with_for_update(of=Delivery)
        )
    ).first()
    if found is None:
        return None, None
    part, delivery = found
    part.state = "delivered" if delivered else "failed"
    await session.flush()
    if delivery.state in ("pending", "attempting"):
        return None, None
    of_all = select(DeliveryPart.state).where(DeliveryPart.delivery_id == delivery.id).distinct()
    states = set(await session.scalars(of_all))
    return delivery, False if "failed" in states else True if states == {"delivered"} else None


async def cannot_reach(session: AsyncSession, delivery: Delivery, now: datetime) -> None:
    """What could not be delivered becomes an owned, timed task, a supervisor's if the risk is high (promise 7).

    A safety text or a human's words in a crisis that reached nobody also ring, unless something rings already.
    """
    conversation = await session.get(Conversation, delivery.conversation_id)
    if conversation is None:
        return  # its time was over (retention): nobody is left to reach
    if delivery.lane in (CRISIS, HUMAN):
        await episodes.not_reached(session, conversation, now)
    kind = "unknown_delivery" if delivery.state == "unknown" else "cannot_reach"
    if delivery.error == "unmapped_template":
        kind = "unmapped_template"
    await tasks.open_task(
        session,
        kind,
        now=now,
        conversation_id=conversation.id,
        owner_id=conversation.owner_id,
        level=conversation.risk,
        detail=delivery.error or "",
    )
