"""The shell's own rows: sends, browser sessions, access tokens, quota and the key check. Words stay in `message`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from escalation.columns import Id, Moment
from escalation.ids import new_id


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: Id,
        datetime: Moment,
        bytes: LargeBinary,
        str: String,
        dict[str, Any]: JSON,
    }


class Delivery(Base):
    """The sending of one outgoing message (promise 2: the attempt is committed before the call).

    state: pending -> attempting -> sent -> delivered, or failed, or unknown (a crash between attempt and outcome).
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_due", "state", "lane", "next_at"),
        Index("ix_delivery_contact", "contact_id", "state"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    message_id: Mapped[int] = mapped_column(index=True)  # the outgoing message
    reply_to: Mapped[int | None] = mapped_column(index=True)  # the inbound message it answers
    conversation_id: Mapped[int] = mapped_column(index=True)
    contact_id: Mapped[int]
    channel: Mapped[str]
    account: Mapped[str]
    lane: Mapped[int]  # 0 crisis, 1 a human's words, 2 bot, 3 proactive
    state: Mapped[str]
    via: Mapped[str | None]  # push, passive, pull
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    attempted_at: Mapped[datetime | None]
    attempted_by: Mapped[str | None]  # process that holds the attempt
    settled_at: Mapped[datetime | None]
    provider_id: Mapped[str | None] = mapped_column(index=True)
    error: Mapped[str | None]  # a code
    resend_if_unknown: Mapped[bool] = mapped_column(default=False)


class DeliveryPart(Base):
    """One piece of a long text that the provider took. What fails later goes on behind it; its receipt counts for the whole.

    state: sent -> delivered, or failed. A text that fits into one message has no rows here.
    """

    __tablename__ = "delivery_part"
    __table_args__ = (UniqueConstraint("delivery_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    delivery_id: Mapped[int]
    number: Mapped[int]  # from 0 …
    of: Mapped[int]  # … of so many
    state: Mapped[str]
    provider_id: Mapped[str | None] = mapped_column(index=True)
    at: Mapped[datetime]


class LoginSession(Base):
    """A staff member's signed-in browser. The cookie's token is stored only as a hash."""

    __tablename__ = "login_session"
    __table_args__ = (UniqueConstraint("token_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    token_hash: Mapped[bytes]
    csrf_token: Mapped[str]
    staff_id: Mapped[int] = mapped_column(index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class LoginDelay(Base):
    """Wrong passwords per login name or address (hashed): the next try is not looked at before `until`."""

    __tablename__ = "login_delay"
    name_hash: Mapped[bytes] = mapped_column(primary_key=True)
    failures: Mapped[int]
    until: Mapped[datetime]


class ChatSession(Base):
    """A web chat visitor's right to one contact: the token (hash) in the page. `contact_id` is None until they write."""

    __tablename__ = "chat_session"
    __table_args__ = (UniqueConstraint("token_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    token_hash: Mapped[bytes]
    contact_id: Mapped[int | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ReturnCode(Base):
    """A code by which a person comes back on any device. Stored as a slow keyed hash; one look-up at a time."""

    __tablename__ = "return_code"
    __table_args__ = (UniqueConstraint("code_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    code_hash: Mapped[bytes]
    contact_id: Mapped[int] = mapped_column(index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AccessToken(Base):
    """A provider's access token, shared by all processes, refreshed by one at a time."""

    __tablename__ = "access_token"
    account: Mapped[str] = mapped_column(primary_key=True)
    token_sealed: Mapped[bytes | None]
    expires_at: Mapped[datetime | None]
    refreshing_until: Mapped[datetime | None]


class Quota(Base):
    """What a provider still lets us send to a contact: opened by the person's message or event, spent by sends."""

    __tablename__ = "quota"
    __table_args__ = (Index("ix_quota_contact", "contact_id", "until"),)
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    contact_id: Mapped[int]
    opened_by: Mapped[str]  # message, event
    allowed: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)
    opened_at: Mapped[datetime]
    until: Mapped[datetime]


class Fact(Base):
    """Small facts about this installation: the key check, whether it is a demonstration, when daily work last ran."""

    __tablename__ = "fact"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[bytes]


class Promotion(Base):
    """A model was put in charge of understanding, or an older one brought back: who, when, and the figures it was judged by.

    `model` and `before` are file names in the data folder's models/, "" for the model that comes with the program.
    """

    __tablename__ = "promotion"
    id: Mapped[int] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    staff_id: Mapped[int]
    model: Mapped[str]
    sha256: Mapped[str]
    before: Mapped[str]
    back: Mapped[bool]  # an earlier model came back: not judged anew
    figures: Mapped[dict[str, Any]]  # by set: counts and recalls of the old and the new; never words
