"""Ways in which danger could be lost, delayed or softened, each of them closed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from bot import outbox
from bot.alarms import Alarms
from bot.channels import InboundMessage, OutboundMessage, SendFailed, Sent
from bot.events import MemoryBus
from bot.inbox import InboxService
from bot.ladder import Ladder
from bot.outbox import Draft
from bot.queue.memory import MemoryQueue
from bot.sender import Sender
from bot.storage import Storage
from escalation import alerts, conversations, desk, records
from escalation.policy import SUPERVISOR, Policy
from escalation.privacy import Vault
from escalation.tables import Alert, Contact, Conversation, Message, Person, Task
from tests.bot.core import KEY, Core
from tests.bot.test_pipeline import hire

DANGER = "我在天台，不想活了"


async def states(c: Core) -> dict[int, str]:
    return {m.id: m.state for m in await c.all(Message) if m.direction == "in"}


async def test_thousands_of_digits_end_like_every_message(desk_core: Core) -> None:
    """Python refuses to make a number of more than 4,300 digits: nobody's conversation may stand still for that."""
    stored = await desk_core.receive("1" * 5000)
    other = await desk_core.receive(DANGER, "other")
    await desk_core.pipeline.handle([stored.conversation_id, other.conversation_id])
    assert "received" not in (await states(desk_core)).values()


async def test_a_fault_while_thinking_stops_neither_the_batch_nor_the_conversation(
    desk_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bot.pipeline

    meant = bot.pipeline._meant

    def broken(text: str, memory: dict[str, object]) -> str:
        if "坏" in text:
            raise RuntimeError("a fault of ours")
        return meant(text, memory)

    monkeypatch.setattr("bot.pipeline._meant", broken)
    good = await desk_core.receive(DANGER, "good")
    bad = await desk_core.receive(f"坏 {DANGER}", "bad")
    await desk_core.pipeline.handle([good.conversation_id, bad.conversation_id])
    assert (await states(desk_core))[good.message_id] == "escalated"
    for _ in range(2):
        await desk_core.pipeline.handle([bad.conversation_id])
    assert (await states(desk_core))[bad.message_id] == "escalated"
    found = {c.id: c for c in await desk_core.all(Conversation)}
    assert found[bad.conversation_id].risk in ("high", "critical"), "the fallback lexicon hears it"
    assert {a.conversation_id for a in await desk_core.all(Alert)} == set(found)


async def test_a_damaged_key_brings_a_human_and_harms_nobody_else(desk_core: Core) -> None:
    good = await desk_core.receive(DANGER, "good")
    bad = await desk_core.receive("你好", "bad")
    bad_person = {c.id: c.person_id for c in await desk_core.all(Conversation)}[bad.conversation_id]

    async def damage(session):  # type: ignore[no-untyped-def]
        (await session.get_one(Person, bad_person)).data_key = b"\x01" + bytes(60)

    await desk_core.shell.storage.write(damage)
    for _ in range(3):
        await desk_core.pipeline.handle([good.conversation_id, bad.conversation_id])
    assert await states(desk_core) == {good.message_id: "escalated", bad.message_id: "escalated"}
    found = {c.id: c for c in await desk_core.all(Conversation)}
    assert found[bad.conversation_id].state == "queued"
    assert found[bad.conversation_id].unjudged_since is not None


@pytest.mark.parametrize(
    "text",
    [
        "My stepfather hurts me at night",
        "ئۆيدە مېنى ئۇرىدۇ",
        "ང་ཤི་འདོད་འདུག",
        "お父さんが毎日殴る",
        "나 죽고 싶어",
        "Меня бьёт отчим",
        "Je veux mourir",
    ],
)
async def test_another_language_goes_to_a_human(desk_core: Core, text: str) -> None:
    (holding,) = await desk_core.says(text)
    assert "咨询员" in holding
    conversation = await desk_core.conversation()
    assert (conversation.state, conversation.risk) == ("queued", "medium")
    assert conversation.unjudged_since is not None, "it rings when nobody opens it"


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "ok",
        "你好",
        "iPhone15 pro max 怎么退",
        "ni hao",
        "(´；ω；`)",
        "https://a.example/b/c?d=e",
        "😀😀",
    ],
)
async def test_a_foreign_word_is_not_another_language(desk_core: Core, text: str) -> None:
    await desk_core.says(text)
    assert (await desk_core.conversation()).unjudged_since is None


class Provider:
    """A provider that leaves us waiting on some texts, refuses others, and takes the rest."""

    name, account, passive_seconds, can_push = "sms", "default", 0.0, True

    def __init__(self) -> None:
        self.got: list[OutboundMessage] = []
        self.hangs = self.refuses = ""
        self.open = asyncio.Event()

    async def send(self, message: OutboundMessage) -> Sent:
        if self.hangs and self.hangs in message.text:
            await self.open.wait()
        if self.refuses and self.refuses in message.text:
            raise SendFailed("dead_number", cannot_reach=True)
        self.got.append(message)
        return Sent()

    def routes(self) -> list[web.AbstractRouteDef]:
        return []

    async def close(self) -> None:
        self.open.set()


@asynccontextmanager
async def sending(c: Core) -> AsyncIterator[Provider]:
    provider = Provider()
    shell = c.shell
    sender = Sender(
        shell.storage, shell.vault, shell.bus, shell.outbox, [provider], process="test", clock=lambda: c.now
    )  # type: ignore[arg-type]
    await sender.start()
    try:
        yield provider
    finally:
        await provider.close()
        await sender.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def says(c: Core, text: str, sender: str = "visitor", **more: Any) -> list[str]:
    replies = await c.says(text, sender, channel="sms", **more)
    c.shell.outbox.ring(0)
    return replies


async def test_a_safety_text_does_not_wait_for_a_usual_text_that_hangs(desk_core: Core) -> None:
    async with sending(desk_core) as provider:
        (usual,) = await says(desk_core, "你好")
        await until(lambda: len(provider.got) == 1)
        provider.hangs = usual
        await says(desk_core, "你好")
        await asyncio.sleep(0.2)
        safety, *_ = await says(desk_core, DANGER)
        await until(lambda: any(m.text == safety for m in provider.got))


async def test_a_safety_text_finds_a_place_when_every_usual_send_hangs(desk_core: Core) -> None:
    async with sending(desk_core) as provider:
        (greeting,) = await desk_core.says("你好", "first", channel="sms")
        provider.hangs = greeting
        for n in range(70):
            await desk_core.says("你好", f"s{n}", channel="sms")
        desk_core.shell.outbox.ring(0)
        await asyncio.sleep(0.3)
        safety, *_ = await says(desk_core, DANGER)
        await until(lambda: any(m.text == safety for m in provider.got))


async def test_one_damaged_reply_stops_no_other(desk_core: Core) -> None:
    await desk_core.says("你好", "damaged", channel="sms")

    async def damage(session):  # type: ignore[no-untyped-def]
        for message in await session.scalars(select(Message).where(Message.direction == "out")):
            message.text_sealed = b"\x01" + bytes(40)

    await desk_core.shell.storage.write(damage)
    async with sending(desk_core) as provider:
        safety, *_ = await says(desk_core, DANGER)
        await until(lambda: any(m.text == safety for m in provider.got))
    assert [t.kind for t in await desk_core.all(Task)] == ["cannot_reach"]


async def test_a_humans_words_that_cannot_be_delivered_in_a_crisis_ring_again(desk_core: Core) -> None:
    async with sending(desk_core) as provider:
        await says(desk_core, DANGER)
        staff_id = await hire(desk_core)
        conversation_id = (await desk_core.conversation()).id
        provider.refuses = "我在"

        async def reply(session):  # type: ignore[no-untyped-def]
            conversation = await desk.claim(session, conversation_id, staff_id, desk_core.now, Policy())
            await desk.reply_written(session, conversation, staff_id, desk_core.now)
            await outbox.write(
                session,
                desk_core.shell.vault,
                conversation,
                [Draft("我在，你在哪里？")],
                lane=outbox.HUMAN,
                now=desk_core.now,
                author="staff",
                staff_id=staff_id,
            )

        await desk_core.shell.storage.write(reply)
        (alert,) = await desk_core.all(Alert)
        assert alert.state == "ended"
        desk_core.shell.outbox.ring(conversation_id)
        async with asyncio.timeout(5):
            while not await desk_core.all(Task):
                await asyncio.sleep(0.02)
    (alert,) = await desk_core.all(Alert)
    assert (alert.state, alert.reason, alert.from_rung) == ("ringing", "cannot_reach", SUPERVISOR)
    (task,) = await desk_core.all(Task)
    assert (task.kind, task.role) == ("cannot_reach", "supervisor")


async def test_what_comes_unread_after_a_look_rings_again(desk_core: Core) -> None:
    await desk_core.says("", kind="image", unreadable=True)
    conversation = await desk_core.conversation()
    staff_id = await hire(desk_core)

    async def look(session):  # type: ignore[no-untyped-def]
        records.write(session, staff_id, "look", "conversation", conversation.id, desk_core.now)

    desk_core.later(minutes=2)
    await desk_core.shell.storage.write(look)
    desk_core.later(minutes=2)
    await desk_core.says("", kind="image", unreadable=True)
    desk_core.later(minutes=11)

    async def ring(session):  # type: ignore[no-untyped-def]
        return await alerts.unreadable_waiting(session, desk_core.now, Policy())

    assert [a.reason for a in await desk_core.shell.storage.write(ring)] == ["unread"]


@pytest.mark.postgres
async def test_two_gateways_open_one_conversation_for_one_person(postgres_url: str) -> None:
    """Two messages of a moment must meet in one thread: danger builds over it, and its human must see both."""
    stores = [Storage(postgres_url), Storage(postgres_url)]
    for store in stores:
        await store.start()
    try:
        await _two_gateways(stores)
    finally:
        for store in stores:
            await store.close()


async def _two_gateways(stores: list[Storage]) -> None:
    vault = Vault(KEY)
    inboxes = [InboxService(s, vault, MemoryQueue(), MemoryBus(), desk="000000") for s in stores]
    for inbox in inboxes:
        await inbox.start()
    senders = [f"{secrets.token_hex(4)}-{n}" for n in range(20)]

    def message(sender: str, which: str) -> InboundMessage:
        return InboundMessage("sms", "default", sender, f"{sender}{which}", "text", "你好", datetime.now(UTC))

    first = [await inboxes[0].receive(message(sender, "first")) for sender in senders]

    async def close(session: AsyncSession) -> None:
        await session.execute(
            update(Conversation)
            .where(Conversation.id.in_([s.conversation_id for s in first]))
            .values(state="closed")
        )

    await stores[0].write(close)
    for sender in senders:
        one, two = await asyncio.gather(
            inboxes[0].receive(message(sender, "a")), inboxes[1].receive(message(sender, "b"))
        )
        assert one.conversation_id == two.conversation_id


async def test_half_a_character_in_the_details_does_not_keep_a_message_out(desk_core: Core) -> None:
    await desk_core.says(DANGER, meta={"label": "\ud83d"})
    assert (await desk_core.conversation()).risk == "critical"


async def test_a_person_who_cannot_be_told_keeps_no_safety_text_from_others(desk_core: Core) -> None:
    staff_id = await hire(desk_core)
    for sender in ("damaged", "other"):
        await desk_core.says("人工", sender)
        conversation_id = (await desk_core.conversation()).id
        await desk_core.shell.storage.write(
            lambda s, c=conversation_id: desk.claim(s, c, staff_id, desk_core.now, Policy())
        )
        await desk_core.says(DANGER, sender)
    first, second = await desk_core.all(Conversation)

    async def damage(session: AsyncSession) -> None:
        (await session.get_one(Person, first.person_id)).data_key = b"\x01" + bytes(60)

    await desk_core.shell.storage.write(damage)
    desk_core.later(seconds=61)
    await Ladder(desk_core.shell, Alarms(desk_core.shell)).once()
    told = {m.conversation_id for m in await desk_core.all(Message) if m.author == "system"}
    assert second.id in told


async def test_a_database_that_is_away_for_a_moment_is_no_fault_of_the_message(
    desk_core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, away = desk_core.shell.storage.engines.read, [True] * 4

    def sometimes(**how: Any) -> Any:
        if away:
            away.pop()
            raise OperationalError("SELECT", {}, Exception("away"))
        return read(**how)

    stored = await desk_core.receive("老板拖欠我工资怎么办")
    monkeypatch.setattr(desk_core.shell.storage.engines, "read", sometimes)
    await desk_core.pipeline.start()
    async with asyncio.timeout(8):
        while away or (await states(desk_core))[stored.message_id] == "received":
            await asyncio.sleep(0.05)
    await desk_core.pipeline.close()
    assert (await states(desk_core))[stored.message_id] == "answered"


@pytest.mark.postgres
async def test_a_message_that_crosses_an_erasure_is_not_lost(postgres_url: str) -> None:
    """It must not be sealed with the key that is being destroyed: nobody could ever read it."""
    store, vault = Storage(postgres_url), Vault(KEY)
    await store.start()
    inbox = InboxService(store, vault, MemoryQueue(), MemoryBus(), desk="000000")
    await inbox.start()
    sender = secrets.token_hex(4)

    def message(which: str) -> InboundMessage:
        return InboundMessage("sms", "default", sender, f"{sender}{which}", "text", DANGER, datetime.now(UTC))

    try:
        first = await inbox.receive(message("a"))
        async with AsyncSession(store.engines.writing) as erasing:
            contact = await erasing.get_one(Contact, first.contact_id)
            person = await erasing.get_one(Person, contact.person_id, with_for_update=True)
            person.data_key, contact.address_hash = None, secrets.token_bytes(32)
            await erasing.flush()
            arriving = asyncio.create_task(inbox.receive(message("b")))
            await asyncio.sleep(0.3)
            await erasing.commit()
        second = await arriving
        async with store.read() as session:
            contact = await session.get_one(Contact, second.contact_id)
            assert (await session.get_one(Person, contact.person_id)).data_key is not None
    finally:
        await store.close()


async def test_two_workers_on_one_conversation_forget_nothing_of_it(desk_core: Core) -> None:
    """What was said before decides how grave the next words are: a worker that looked earlier must not write it over."""
    pipeline = desk_core.pipeline
    stored = await desk_core.receive("我觉得活着没意思")
    earlier = await pipeline._load([stored.conversation_id])
    await desk_core.receive("今天又没睡着")
    later = await pipeline._load([stored.conversation_id])
    for works in (earlier, later):
        await pipeline._think(works, urgent=False)
        await desk_core.shell.storage.write(lambda s, w=works: pipeline._carry_out(s, w))
    conversation = await desk_core.conversation()
    kept = conversations.recall(earlier[0].key, conversation.memory_sealed)
    assert kept["recent"] == ["我觉得活着没意思", "今天又没睡着"]
