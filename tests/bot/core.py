"""Inbox, pipeline and outbox on a real database, with understanding in this process: quick, and as real as the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bot.brain import Question, Thought, fall_back
from bot.channels import InboundMessage, Stored
from bot.desk_view import DeskNow
from bot.events import MemoryBus, News
from bot.inbox import InboxService
from bot.outbox import OutboxService
from bot.pipeline import Pipeline
from bot.queue.memory import MemoryQueue
from bot.settings import Settings
from bot.shell import Shell
from bot.storage import Storage
from bot.storage.migrations import METADATA
from escalation.policy import Policy
from escalation.privacy import Vault
from escalation.tables import Conversation, Message, Person
from knowledge.library import Library
from nlu.engine import Engine

KEY = bytes(range(32))


@cache
def engine() -> Engine:
    return Engine.load()


@cache
def library() -> Library:
    return Library.load()


class BrainHere:
    """The real engine and library without the process around them; a text with FAIL falls back, as a killed process would."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def think(self, questions: Sequence[Question], *, urgent: bool = False) -> list[Thought]:
        self.asked += questions
        return [self._one(q) for q in questions]

    def _one(self, question: Question) -> Thought:
        if "FAIL" in question.text:
            return fall_back(question.text)
        understood = engine().understand(question.text, question.history)
        if not question.answer:
            return Thought(understood)
        return Thought(
            understood,
            library().answer(question.text, channel=question.channel, last_entry=question.last_entry),
        )


@dataclass
class Core:
    """The journey without a channel. `now` can be moved."""

    shell: Shell
    pipeline: Pipeline
    queue: MemoryQueue
    brain: BrainHere
    now: datetime = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)  # 14:00 in Shanghai
    news: list[News] = field(default_factory=list)
    count: int = 0

    async def receive(self, text: str, sender: str = "visitor", **more: Any) -> Stored:
        self.count += 1
        return await self.shell.inbox.receive(
            InboundMessage(
                channel=more.pop("channel", "webchat"),
                account="default",
                sender=sender,
                provider_id=more.pop("provider_id", f"m{self.count}"),
                kind=more.pop("kind", "text"),
                text=text,
                received_at=self.now,
                **more,
            )
        )

    async def says(self, text: str, sender: str = "visitor", **more: Any) -> list[str]:
        """A message and the texts that answer it."""
        stored = await self.receive(text, sender, **more)
        await self.pipeline.handle([stored.conversation_id])
        return await self.replies_to(stored.message_id)

    async def replies_to(self, message_id: int) -> list[str]:
        async with self.shell.storage.read() as session:
            rows = await session.execute(
                select(Message, Person.data_key)
                .join(Conversation, Conversation.id == Message.conversation_id)
                .join(Person, Person.id == Conversation.person_id)
                .where(Message.reply_to == message_id)
                .order_by(Message.id)
            )
            return [self.shell.vault.person_key(key).open(m.text_sealed, "message.text") for m, key in rows]

    async def conversation(self, sender: str = "visitor") -> Conversation:
        async with self.shell.storage.read() as session:
            found = list(await session.scalars(select(Conversation).order_by(Conversation.id.desc())))
        return found[0]

    async def all(self, table: type[Any]) -> list[Any]:
        async with self.shell.storage.read() as session:
            return list(await session.scalars(select(table).order_by(table.id)))

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)


@asynccontextmanager
async def core(url: str, **settings: Any) -> AsyncIterator[Core]:
    """A fresh database at `url` with everything started."""
    storage = Storage(url)
    async with storage.engines.writing.begin() as connection:
        for metadata in METADATA:
            await connection.run_sync(metadata.create_all)
            for table in reversed(metadata.sorted_tables):  # a PostgreSQL database serves many tests
                await connection.execute(table.delete())
    await storage.start()
    vault, bus, queue, brain = Vault(KEY), MemoryBus(), MemoryQueue(), BrainHere()
    made = Settings(**settings)
    holder: list[Core] = []

    def clock() -> datetime:
        return holder[0].now

    outbox = OutboxService(storage, vault, bus, process="test", clock=clock)
    inbox = InboxService(storage, vault, queue, bus, desk=made.desk.id)
    shell = Shell(
        settings=made,
        storage=storage,
        vault=vault,
        inbox=inbox,
        outbox=outbox,
        brain=brain,
        bus=bus,
        clock=clock,  # type: ignore[arg-type]
    )
    pipeline = Pipeline(shell, queue, brain, Policy(), DeskNow(made.desk))  # type: ignore[arg-type]
    holder.append(Core(shell, pipeline, queue, brain))
    await outbox.start()
    await inbox.start()
    listening = asyncio.Event()

    async def listen() -> None:
        async with bus.listen() as news:
            listening.set()
            while True:
                holder[0].news.append(await news.get())

    listener = asyncio.create_task(listen())
    await listening.wait()
    try:
        yield holder[0]
    finally:
        listener.cancel()
        await inbox.close()
        await outbox.close()
        await storage.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/core.db"
