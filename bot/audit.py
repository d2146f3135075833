"""`qingting audit`: every message that came in is answered, queued, escalated, waiting or failed, and the sums agree (promise 7)."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from bot.settings import Settings
from bot.storage.engine import Engines
from bot.tables import Delivery
from escalation.tables import Conversation, Message

INBOUND = ("received", "answered", "queued", "escalated", "failed")
OUTBOUND = ("pending", "attempting", "sent", "delivered", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Audit:
    """Counts by state. `agree` is false when a row is in no known state, or an outgoing message has no delivery."""

    inbound: dict[str, int]
    outbound: dict[str, int]
    total_in: int
    total_out: int
    strangers: int

    @property
    def agree(self) -> bool:
        return (
            sum(self.inbound.values()) == self.total_in
            and sum(self.outbound.values()) == self.total_out
            and self.strangers == 0
        )


async def audit(session: AsyncSession) -> Audit:
    """Count everything. Reads whole tables: for an operator, not for a page."""
    states = await session.execute(
        select(Message.state, func.count()).where(Message.direction == "in").group_by(Message.state)
    )
    by_state = {state: count for state, count in states}
    sends = await session.execute(select(Delivery.state, func.count()).group_by(Delivery.state))
    by_send = {state: count for state, count in sends}
    total_in = await _count(session, select(func.count()).where(Message.direction == "in"))
    total_out = await _count(session, select(func.count()).where(Message.direction == "out"))
    homeless = await _count(
        session,
        select(func.count())
        .select_from(Message)
        .outerjoin(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.id.is_(None)),
    )
    return Audit(
        inbound={s: by_state.get(s, 0) for s in INBOUND},
        outbound={s: by_send.get(s, 0) for s in OUTBOUND},
        total_in=total_in,
        total_out=total_out,
        strangers=homeless,
    )


async def _count(session: AsyncSession, query: Select[int]) -> int:
    return int(await session.scalar(query) or 0)


_NAMES = {
    "received": "已收到，待处理",
    "answered": "已回答",
    "queued": "在排队或由人处理",
    "escalated": "已升级",
    "failed": "失败",
    "pending": "待发送",
    "attempting": "发送中",
    "sent": "已发出",
    "delivered": "已送达",
    "unknown": "结果不明",
}


async def report(settings: Settings, out: Console) -> bool:
    """Print the counts of the configured database. Returns whether the sums agree."""
    engines = Engines(settings.storage.url)
    try:
        async with engines.read(patient=True) as session:
            found = await audit(session)
    finally:
        await engines.close()
    table = Table(title="核对")
    table.add_column("项目")
    table.add_column("数量", justify="right")
    for title, counts, total in (
        ("收到", found.inbound, found.total_in),
        ("发出", found.outbound, found.total_out),
    ):
        table.add_row(f"[bold]{title}[/bold]", str(total))
        for state, count in counts.items():
            table.add_row(f"  {_NAMES[state]}", str(count))
    out.print(table)
    out.print("各项之和相符。" if found.agree else "各项之和不符，请联系维护人员。")
    return found.agree
