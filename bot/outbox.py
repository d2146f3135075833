"""Fourth station: replies are written in the transaction that finishes the message, and wait here to be carried out.

Promise 2: a delivery's attempt is committed before the call that makes it. Pushed replies are carried by sender.py; a webhook that
is still open may carry them in its own answer (`passive`); a web chat page fetches them itself.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.channels import Button, Channel, OutboundMessage
from bot.events import Bus, News
from bot.storage import Storage
from bot.storage.together import Together
from bot.tables import Delivery
from escalation import episodes, tasks
from escalation.ids import made_at, new_id
from escalation.privacy import DataKey, Unreadable, Vault
from escalation.tables import Contact, Conversation, Message, Person

CRISIS, HUMAN, BOT, PROACTIVE = 0, 1, 2, 3
_YOUNG = timedelta(seconds=2)
_REMEMBERED = 10_000
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
    reply_to: Message | None = None,
    hold: float = 0,
    key: DataKey | None = None,
) -> list[Message]:
    """Add outgoing messages and their deliveries to the caller's transaction.

    `lane`: CRISIS, HUMAN, BOT or PROACTIVE. `hold` seconds, counted from the message it answers, the sender leaves them
    for that message's own webhook (Channel.passive_seconds). Safety texts and a human's words are sent again when a
    crash leaves their outcome unknown; other replies are not. Returns the messages; one already written is left out.
    """
    if key is None:
        person = await session.get_one(Person, conversation.person_id)
        key = vault.person_key(person.data_key)
    written = []
    for reply in replies:
        dedupe = vault.fingerprint("reply", str(conversation.id), reply.dedupe) if reply.dedupe else None
        if dedupe and await session.scalar(select(Message.id).where(Message.dedupe_hash == dedupe)):
            continue
        meta = (
            {"buttons": [{"label": b.label, "value": b.value} for b in reply.buttons]}
            if reply.buttons
            else None
        )
        message = Message(
            id=new_id(),
            conversation_id=conversation.id,
            direction="out",
            author=author,
            staff_id=staff_id,
            kind="text",
            dedupe_hash=dedupe,
            text_sealed=key.seal(reply.text, "message.text"),
            meta_sealed=key.seal(orjson.dumps(meta).decode(), "message.meta") if meta else None,
            state="written",
            template=reply.template or None,
            reply_to=reply_to.id if reply_to else None,
            received_at=now,
        )
        due = max(now, reply_to.received_at + timedelta(seconds=hold)) if reply_to and hold else now
        session.add(message)
        session.add(
            Delivery(
                id=new_id(),
                message_id=message.id,
                reply_to=message.reply_to,
                conversation_id=conversation.id,
                contact_id=conversation.contact_id,
                channel=conversation.channel,
                account=conversation.account,
                lane=lane,
                state="pending",
                next_at=due,
                attempts=0,
                resend_if_unknown=lane in (CRISIS, HUMAN),
            )
        )
        written.append(message)
    return written


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
        self._listener: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()  # for the sender

    async def start(self) -> None:
        ready = asyncio.Event()
        self._listener = asyncio.create_task(self._listen(ready), name="outbox-news")
        await ready.wait()

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def serve(self, channels: Iterable[Channel]) -> None:
        """The channels there are; called once at start."""
        self._channels = {(c.name, c.account): c for c in channels}

    def hold(self, conversation: Conversation) -> float:
        """Seconds the sender leaves a reply to the message's own webhook."""
        channel = self._channels.get((conversation.channel, conversation.account))
        return channel.passive_seconds if channel else 0

    def ring(self, conversation_id: int) -> None:
        """Replies of this conversation were committed: wake the sender and the screens."""
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
                await asyncio.wait([finished], timeout=within)
        finally:
            self._finished[message_id].discard(finished)
            if not self._finished[message_id]:
                del self._finished[message_id]

    async def said(self, message_id: int) -> Sequence[OutboundMessage]:
        """See bot.channels.Outbox.said."""
        async with self._storage.read() as session:
            rows = await session.scalars(
                select(Delivery)
                .where(
                    Delivery.reply_to == message_id,
                    Delivery.via == "passive",
                    Delivery.state != "pending",  # recovered after a crash: to be claimed anew
                )
                .order_by(Delivery.id)
            )
            return await outbound(session, self._vault, list(rows))

    async def settle(self, delivery_ids: Sequence[int], *, sent: bool) -> None:
        """See bot.channels.Outbox.settle. Not written out: back to waiting, since nobody has seen it."""
        await asyncio.gather(*(self._settle((delivery_id, sent)) for delivery_id in delivery_ids))
        if not sent:
            self.wake.set()

    async def _settle_all(
        self, session: AsyncSession, outcomes: Sequence[tuple[int, bool]]
    ) -> Sequence[None]:
        now = self._clock()
        for sent, values in (
            (True, {"state": "sent", "settled_at": now}),
            (False, {"state": "pending", "via": None, "next_at": now}),
        ):
            ids = [delivery_id for delivery_id, outcome in outcomes if outcome is sent]
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
            if delivery is not None and delivery.state != "delivered":
                delivery.state = "delivered" if delivered else "failed"
                delivery.error = code or None
                delivery.settled_at = now
                if not delivered:
                    await cannot_reach(session, delivery, now)
            return delivery

        found = await self._storage.write(work)
        if found is not None:
            self._bus.publish(News("delivery", found.conversation_id, {"state": found.state}))
        return found is not None

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
        contacts = await session.execute(
            select(Message.id, Conversation.contact_id)
            .join(Conversation, Message.conversation_id == Conversation.id)
            .where(Message.id.in_(message_ids))
        )
        asking: dict[int, int] = {}
        for message_id, contact_id in contacts:
            asking.setdefault(contact_id, message_id)
        waiting = list(
            await session.scalars(
                select(Delivery)
                .where(
                    Delivery.contact_id.in_(list(asking)),
                    or_(
                        Delivery.state == "pending",
                        # A human's words that had no quota left: the person has written again, now they can go.
                        and_(
                            Delivery.state == "failed",
                            Delivery.lane == HUMAN,
                            Delivery.error.in_(WAITS_FOR_PERSON),
                        ),
                    ),
                )
                .order_by(Delivery.id)
                .with_for_update(skip_locked=True)
            )
        )
        now = self._clock()
        for delivery in waiting:
            delivery.state = "attempting"
            delivery.via = "passive"
            delivery.reply_to = asking[delivery.contact_id]
            delivery.attempts += 1
            delivery.attempted_at = now
            delivery.attempted_by = self._process
        await session.flush()
        claimed: dict[int, list[OutboundMessage]] = {message_id: [] for message_id in message_ids}
        for message in await outbound(session, self._vault, waiting):
            claimed[asking[message.contact_id]].append(message)
        return [claimed[message_id] for message_id in message_ids]


async def outbound(
    session: AsyncSession, vault: Vault, deliveries: Sequence[Delivery]
) -> list[OutboundMessage]:
    """Deliveries with words and address opened, in the same order. What cannot be read any more (an erased person's, a
    damaged row) is left out."""
    if not deliveries:
        return []
    rows = await session.execute(
        select(Message, Contact, Person.data_key)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .join(Contact, Contact.id == Conversation.contact_id)
        .join(Person, Person.id == Conversation.person_id)
        .where(Message.id.in_([d.message_id for d in deliveries]))
    )
    found = {message.id: (message, contact, data_key) for message, contact, data_key in rows}
    opened = []
    for delivery in deliveries:
        if delivery.message_id not in found:
            continue
        message, contact, data_key = found[delivery.message_id]
        if message.text_sealed is None:
            continue
        try:
            key = vault.person_key(data_key)
            meta = orjson.loads(key.open(message.meta_sealed, "message.meta")) if message.meta_sealed else {}
            address = key.open(contact.address_sealed, "contact.address")
            text = key.open(message.text_sealed, "message.text")
        except Unreadable:
            continue
        opened.append(
            OutboundMessage(
                delivery_id=delivery.id,
                contact_id=contact.id,
                address=address,
                text=text,
                buttons=[Button(b["label"], b["value"]) for b in meta.get("buttons", ())],
                template=message.template or "",
                lane=delivery.lane,
            )
        )
    return opened


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
