"""The daily job: once a day by one process, and an erasure that leaves no trace in the shell."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bot import erasing, outbox
from bot.daily import Daily
from bot.events import MemoryBus
from bot.outbox import Draft, OutboxService
from bot.settings import Settings
from bot.shell import Shell
from bot.storage import Storage
from bot.tables import ChatSession, Delivery, Fact, LoginSession, Quota, ReturnCode
from escalation import erasure, roster
from escalation.tables import Conversation, Erasure, Person, Screen
from knowledge.entries import shipped
from knowledge.tables import KnowledgeEntry
from tests.escalation.conftest import Desk

CHINA = ZoneInfo("Asia/Shanghai")
NIGHT = datetime(2026, 3, 2, 18, 59, tzinfo=UTC)  # 02:59 in China


@pytest.fixture
def desk(storage: Storage) -> Desk:
    return Desk(storage, now=NIGHT)


@pytest.fixture
def daily(desk: Desk) -> Daily:
    return Daily(shell_of(desk))


def shell_of(desk: Desk) -> Shell:
    bus = MemoryBus()

    def clock() -> datetime:
        return desk.now

    return Shell(
        settings=Settings(),
        storage=desk.storage,
        vault=desk.vault,
        inbox=None,  # type: ignore[arg-type]
        outbox=OutboxService(desk.storage, desk.vault, bus, process="test", clock=clock),
        brain=None,  # type: ignore[arg-type]
        bus=bus,
        clock=clock,
    )


async def test_it_is_due_once_a_day_from_three_by_the_desks_clock(desk: Desk) -> None:
    one, other = Daily(shell_of(desk)), Daily(shell_of(desk))
    assert not await one.due(desk.now)
    desk.later(minutes=1)
    assert await one.due(desk.now)
    assert not await one.due(desk.now)
    assert not await other.due(desk.now)
    desk.later(hours=23)
    assert not await other.due(desk.now)
    desk.later(hours=1)
    assert sorted(await asyncio.gather(other.due(desk.now), one.due(desk.now))) == [False, True]
    assert [f.name for f in await facts(desk)] == ["daily"]


async def facts(desk: Desk) -> list[Fact]:
    async with desk.storage.read() as session:
        fact = await session.get(Fact, "daily")
        return [] if fact is None else [fact]


async def test_it_runs_by_itself_when_it_is_due(desk: Desk, daily: Daily) -> None:
    desk.later(minutes=1)
    conversation = await desk.conversation()
    desk.later(days=31)
    await daily.start()
    try:
        async with asyncio.timeout(10):
            while (await desk.get(conversation)).state != "closed":
                await asyncio.sleep(0.02)
    finally:
        await daily.close()


async def test_the_shells_own_rows_end_after_their_time_and_not_before(desk: Desk, daily: Daily) -> None:
    conversation = await desk.conversation()
    row, member = await desk.get(conversation), await desk.member()
    now = desk.now

    async def fill(session: AsyncSession) -> None:
        talk = await session.get_one(Conversation, conversation)
        await outbox.write(session, desk.vault, talk, [Draft("你好")], lane=outbox.BOT, now=now)
        session.add(LoginSession(token_hash=b"t", csrf_token="c", staff_id=1, created_at=now, seen_at=now))
        session.add(ChatSession(token_hash=b"c", contact_id=row.contact_id, created_at=now, seen_at=now))
        until = now + timedelta(hours=48)
        session.add(
            Quota(contact_id=row.contact_id, opened_by="message", allowed=5, opened_at=now, until=until)
        )
        session.add(ReturnCode(code_hash=b"r", contact_id=12345, created_at=now))
        await roster.screen_opened(session, member, now)

    async def settle(session: AsyncSession) -> None:
        for delivery in await desk.all(Delivery):
            (await session.get_one(Delivery, delivery.id)).settled_at = now

    await desk.do(fill)
    await desk.do(settle)
    desk.later(hours=1)
    ended = await daily.once(desk.now)
    assert ended["return_codes"] == 1  # its contact is gone
    assert {k: v for k, v in ended.items() if v} == {"return_codes": 1}
    desk.later(days=89)
    ended = await daily.once(desk.now)
    assert (ended["login_sessions"], ended["chat_sessions"], ended["quotas"], ended["screens"]) == (
        0,
        0,
        1,
        1,
    )
    desk.later(days=2)
    ended = await daily.once(desk.now)
    assert (ended["login_sessions"], ended["chat_sessions"], ended["deliveries"]) == (1, 1, 0)
    desk.later(days=90)
    assert (await daily.once(desk.now))["deliveries"] == 1
    assert await desk.all(Screen) == []


async def test_an_erasure_ends_return_codes_chat_sessions_and_waiting_replies(desk: Desk) -> None:
    conversation = await desk.conversation()
    row = await desk.get(conversation)
    asker, approver = await desk.member(), await desk.member("supervisor")

    async def fill(session: AsyncSession) -> Erasure:
        talk = await session.get_one(Conversation, conversation)
        await outbox.write(session, desk.vault, talk, [Draft("还没发出的话")], lane=outbox.BOT, now=desk.now)
        session.add(
            ChatSession(token_hash=b"c", contact_id=row.contact_id, created_at=desk.now, seen_at=desk.now)
        )
        session.add(ReturnCode(code_hash=b"r", contact_id=row.contact_id, created_at=desk.now))
        return await erasure.request(
            session, person_id=row.person_id, staff_id=asker, verified_how="same_channel", now=desk.now
        )

    asked = await desk.do(fill)
    done = await desk.do(lambda s: erasing.approve(s, desk.vault, asked.id, staff_id=approver, now=desk.now))
    assert done.state == "done"
    assert (await desk.all(ChatSession), await desk.all(ReturnCode)) == ([], [])
    assert [(d.state, d.error) for d in await desk.all(Delivery)] == [("failed", "erased")]


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)  # PostgreSQL's disk is its own
async def test_after_an_erasure_the_wrapped_key_is_nowhere_on_the_disk(desk: Desk, tmp_path: Path) -> None:
    conversation = await desk.conversation()
    await desk.writes(conversation, "说过的话")
    row = await desk.get(conversation)
    wrapped = (await desk.row(Person, row.person_id)).data_key
    asker, approver = await desk.member(), await desk.member("supervisor")

    def on_disk() -> bool:
        return any(wrapped in file.read_bytes() for file in tmp_path.glob("qingting.db*"))

    assert on_disk()
    asked = await desk.do(
        lambda s: erasure.request(
            s, person_id=row.person_id, staff_id=asker, verified_how="in_person", now=desk.now
        )
    )
    await desk.do(lambda s: erasing.approve(s, desk.vault, asked.id, staff_id=approver, now=desk.now))
    await desk.storage.drop_old_pages()
    assert not on_disk()


async def test_a_held_erasure_is_carried_out_by_the_daily_job(desk: Desk, daily: Daily) -> None:
    conversation = await desk.conversation()
    row = await desk.get(conversation)
    asker, approver = await desk.member(), await desk.member("supervisor")

    def legal_hold(on: bool):  # type: ignore[no-untyped-def]
        return desk.do(
            lambda s: erasure.set_legal_hold(
                s, desk.vault, row.person_id, on=on, staff_id=approver, reason="诉讼", now=desk.now
            )
        )

    await legal_hold(True)
    asked = await desk.do(
        lambda s: erasure.request(
            s, person_id=row.person_id, staff_id=asker, verified_how="in_person", now=desk.now
        )
    )
    await desk.do(lambda s: erasing.approve(s, desk.vault, asked.id, staff_id=approver, now=desk.now))
    assert (await daily.once(desk.now))["erased"] == 0
    await legal_hold(False)
    assert (await daily.once(desk.now))["erased"] == 1
    assert (await desk.row(Person, row.person_id)).data_key is None


async def test_entries_past_their_review_date_are_marked_for_a_person(desk: Desk, daily: Daily) -> None:
    last = max(entry.review_by for entry in shipped().values())
    desk.now = datetime(last.year, last.month, last.day, 20, tzinfo=UTC)
    late = sum(entry.review_by < desk.now.astimezone(CHINA).date() for entry in shipped().values())
    assert late > 0
    assert (await daily.once(desk.now))["entries_to_check"] == late
    assert (await daily.once(desk.now))["entries_to_check"] == 0
    async with desk.storage.read() as session:
        found = list(await session.scalars(select(KnowledgeEntry)))
    assert {row.to_check for row in found} == {"review_due"}
    assert len(found) == late
