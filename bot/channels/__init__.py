"""The doors: one folder a channel, each parses what comes in and carries what goes out. No decisions are made here.

    webhook -> <channel> parses -> InboundMessage -> inbox.receive -> (stored, committed) -> acknowledged
    sender  -> OutboundMessage  -> <channel>.send -> provider

A channel hands its routes to the application and never imports it. Channels do not import each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from aiohttp import web

MessageKind = Literal["text", "voice", "image", "location", "link", "event"]
MAX_TEXT = (
    20_000  # characters of one message; a channel with a smaller limit of its own says so to the person
)


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message as a channel understood it. Nothing of it is stored yet.

    `text` is the words (a voice message's recognised text; "" where there is none). `provider_id` with channel, account
    and sender is the key of promise 2; a provider that gives events no id gets one made of sender and time.
    `unreadable` marks what no machine can judge (an image, a voice message without text). An `event` (follow, menu
    click) is stored and recorded, but only its `text` or `meta["command"]`, if any, starts a turn.
    """

    channel: str
    account: str
    sender: str
    provider_id: str
    kind: MessageKind
    text: str
    received_at: datetime
    meta: Mapping[str, Any] = field(default_factory=dict)
    unreadable: bool = False
    network_address: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the inbox says once the message is committed. `new` is False for a redelivery."""

    message_id: int
    conversation_id: int
    contact_id: int
    new: bool


@dataclass(frozen=True, slots=True)
class Button:
    """A quick reply: `label` is shown, `value` comes back as the person's words (or, with "/…", as a command)."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class OutboundMessage:
    """One reply to carry. `delivery_id` is the same over retries and is given to providers that accept a key of ours.

    `template` is key@version of the approved text it was made from, for providers that want fixed wording.
    """

    delivery_id: int
    contact_id: int
    address: str
    text: str
    buttons: Sequence[Button] = ()
    template: str = ""
    lane: int = 2  # 0 crisis, 1 a human's words, 2 bot, 3 on our own initiative


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider took it. `final` when the provider will send no receipt later."""

    provider_id: str = ""
    final: bool = True


class SendFailed(Exception):
    """The provider refused, or we could not reach it. Carries a code, never words.

    retry: the same send may be tried again, after `retry_after` seconds if given.
    maybe_sent: the outcome is unknown (time-out after the request left us): see promise 2.
    cannot_reach: no retry makes sense (window closed, quota spent, number dead): becomes an owned, timed task.
    """

    def __init__(
        self,
        code: str,
        *,
        retry: bool = False,
        retry_after: float | None = None,
        maybe_sent: bool = False,
        cannot_reach: bool = False,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.retry = retry
        self.retry_after = retry_after
        self.maybe_sent = maybe_sent
        self.cannot_reach = cannot_reach


class Inbox(Protocol):
    """What a channel calls to have a message stored. Returns only after the commit (promise 1)."""

    async def receive(self, message: InboundMessage) -> Stored:
        """Store the message and ring for a worker. Raises StorageUnavailable: answer 503, the provider tries again."""
        ...


class Outbox(Protocol):
    """What a webhook calls that may carry replies in its own answer (WeChat's passive reply)."""

    async def passive(self, message_id: int, *, within: float) -> Sequence[OutboundMessage]:
        """Wait up to `within` seconds until the inbound message is finished, then claim the replies that wait for this
        contact: their attempt is committed before this returns. Empty when nothing was ready."""
        ...

    async def said(self, message_id: int) -> Sequence[OutboundMessage]:
        """The replies already carried passively for this inbound message: a redelivery gets the same body."""
        ...

    async def settle(self, delivery_ids: Sequence[int], *, sent: bool) -> None:
        """Record whether the passive answer was written out."""
        ...

    async def receipt(
        self, channel: str, account: str, provider_id: str, *, delivered: bool, code: str = ""
    ) -> bool:
        """A provider's delivery receipt. False when the id is not known."""
        ...


class StorageUnavailable(Exception):
    """The database is locked, full or away. The provider must not be told that the message was stored."""


class Channel(Protocol):
    """What the application needs of a channel account."""

    name: str  # "wechat", "sms", "webchat"
    account: str
    # Seconds a webhook may wait to carry the reply itself; the sender leaves replies alone that long. 0: never.
    passive_seconds: float
    # False where the person's side fetches its messages (web chat) or only webhooks may answer (unverified WeChat).
    can_push: bool

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """The webhook routes of this account."""
        ...

    async def send(self, message: OutboundMessage) -> Sent:
        """Carry one message. Raises SendFailed."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


@runtime_checkable
class ShowsTyping(Protocol):
    """A channel that can show the person that somebody types."""

    async def typing(self, address: str) -> None:
        """Never raises for what the provider says: a failure is not worth telling."""
        ...
