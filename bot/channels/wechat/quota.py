"""What WeChat still lets us say first: the ledger of customer-service messages.

Rule (公众平台 > 客服消息, 下发条数限制): after a person's message 5 within 48 hours, after following, a menu click or a scan 3 within one
minute; a newer message or event begins anew. Passive replies are free. WeChat keeps the real count: ours tells the counsellor
beforehand, and spares the bot's own chatter a call that must fail. A safety text and a human's words are tried all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.tables import Quota
from escalation.tables import Conversation, Message

MESSAGE_ALLOWS: Final = 5
MESSAGE_WINDOW: Final = timedelta(hours=48)
EVENT_ALLOWS: Final = 3
EVENT_WINDOW: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Left:
    """What the composer shows: how many messages may still go out, until when, and that in words."""

    left: int | None
    until: datetime | None
    text: str


async def quota_left(
    session: AsyncSession,
    contact_id: int,
    now: datetime,
    *,
    verified: bool = True,
    timezone: str = "Asia/Shanghai",
) -> Left:
    """The quota of one WeChat contact. `left` is None where counting makes no sense (an unverified account)."""
    if not verified:
        return Left(
            None,
            None,
            "未认证的公众号不能主动发消息：你写的会在对方下一次来信时一起送到，或请对方点网页聊天链接。",
        )
    rows = await _live(session, contact_id, now)
    said_at = await _last_said(session, contact_id)
    if said_at is not None and now < said_at + MESSAGE_WINDOW and not _opened_by_message(rows, said_at):
        rows = [*(r for r in rows if r.opened_by != "message"), _after_message(contact_id, said_at)]
    left = sum(row.allowed - row.used for row in rows)
    if not rows:
        return Left(
            0,
            None,
            "距对方上一条消息已超过 48 小时。写下的会留到对方再来消息时送出；着急请换对方同意的方式联系。",
        )
    until = max(row.until for row in rows)
    local = until.astimezone(ZoneInfo(timezone))
    when = f"{local.month}月{local.day}日 {local:%H:%M}"
    if left == 0:
        return Left(
            0, until, "微信的额度已用完，写下的会留到对方再来消息时送出；着急请换对方同意的方式联系。"
        )
    return Left(left, until, f"还可以发 {left} 条，到 {when} 为止；对方来一条消息就重新计数。")


async def open_by_event(session: AsyncSession, contact_id: int, now: datetime) -> None:
    """A person followed, scanned or clicked the menu."""
    session.add(
        Quota(
            contact_id=contact_id,
            opened_by="event",
            allowed=EVENT_ALLOWS,
            used=0,
            opened_at=now,
            until=now + EVENT_WINDOW,
        )
    )


async def spend(session: AsyncSession, contact_id: int, now: datetime) -> str:
    """Count one message about to be sent. "" when there was one left, else WeChat's code for why there is none.

    The window of the person's last message is opened here, at its first use, and not with every message that comes in:
    most are answered by passive replies and never need it.
    """
    rows = await _live(session, contact_id, now)
    said_at = await _last_said(session, contact_id)
    if said_at is not None and now < said_at + MESSAGE_WINDOW and not _opened_by_message(rows, said_at):
        row = _after_message(contact_id, said_at)
        session.add(row)
        rows = [*(r for r in rows if r.opened_by != "message"), row]
    usable = [row for row in rows if row.used < row.allowed]
    if usable:
        min(usable, key=lambda row: row.until).used += 1
        await session.flush()
        return ""
    return "45047" if rows else "45015"


async def refund(session: AsyncSession, contact_id: int, now: datetime) -> None:
    """The message counted last did not go out."""
    used = [row for row in await _live(session, contact_id, now) if row.used > 0]
    if used:
        min(used, key=lambda row: row.until).used -= 1
        await session.flush()


async def spent(session: AsyncSession, contact_id: int, now: datetime) -> None:
    """WeChat said that there is nothing left, whatever we counted."""
    await session.execute(
        update(Quota).where(Quota.contact_id == contact_id, Quota.until > now).values(used=Quota.allowed)
    )


async def _live(session: AsyncSession, contact_id: int, now: datetime) -> list[Quota]:
    rows = await session.scalars(
        select(Quota).where(Quota.contact_id == contact_id, Quota.until > now).order_by(Quota.until)
    )
    return list(rows)


async def _last_said(session: AsyncSession, contact_id: int) -> datetime | None:
    """When this contact last wrote something (an event is not writing)."""
    last: datetime | None = await session.scalar(
        select(Message.received_at)
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.contact_id == contact_id, Message.direction == "in", Message.kind != "event")
        .order_by(Message.id.desc())
        .limit(1)
    )
    return last


def _opened_by_message(rows: list[Quota], said_at: datetime) -> bool:
    return any(row.opened_by == "message" and row.opened_at >= said_at for row in rows)


def _after_message(contact_id: int, said_at: datetime) -> Quota:
    return Quota(
        contact_id=contact_id,
        opened_by="message",
        allowed=MESSAGE_ALLOWS,
        used=0,
        opened_at=said_at,
        until=said_at + MESSAGE_WINDOW,
    )
