"""Real storage, inbox, outbox and sender around one channel, on a real port. Only the thinking is played.

`Rig.answers` is asked for each inbound message and gives what to write back; `Rig.delay` is how long it thinks.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from sqlalchemy import select

from bot import outbox
from bot.channels import Channel
from bot.channels.webchat import WebChat
from bot.events import MemoryBus, News
from bot.inbox import InboxService
from bot.outbox import Draft, OutboxService
from bot.queue.memory import MemoryQueue
from bot.sender import Sender
from bot.settings import Settings
from bot.shell import Shell
from bot.storage import Storage
from bot.storage.migrations import METADATA
from bot.tables import Delivery
from escalation.privacy import Vault
from escalation.tables import Conversation, Message, Person, Task

KEY = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Heard:
    """An inbound message as a handler sees it."""

    id: int
    text: str
    kind: str
    meta: dict[str, Any]


@dataclass(slots=True)
class Answer:
    """What the played handler does: drafts to send, in a lane; the conversation's new state if it changes."""

    drafts: Sequence[Draft] = ()
    lane: int = outbox.BOT
    state: str = ""


def echo(heard: Heard) -> Answer:
    return Answer([Draft(f"收到：{heard.text}")] if heard.text else [])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Rig:
    shell: Shell
    channel: Channel
    url: str
    queue: MemoryQueue
    sender: Sender
    heard: list[Heard] = field(default_factory=list)
    delay: float = 0
    answers: Callable[[Heard], Answer] = echo
    clock_shift: timedelta = timedelta()

    async def rows(self, table: type[Any]) -> list[Any]:
        async with self.shell.storage.read() as session:
            return list(await session.scalars(select(table).order_by(table.id)))

    async def until(self, condition: Callable[[], Any], *, within: float = 10) -> None:
        """Wait for something to become true; fails the test when it does not."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.01)

    async def delivery_states(self) -> list[str]:
        return [d.state for d in await self.rows(Delivery)]

    async def settled(self, *states: str, within: float = 10) -> None:
        """Wait until the deliveries are in exactly these states, in order."""
        async with asyncio.timeout(within):
            while await self.delivery_states() != list(states):
                await asyncio.sleep(0.02)

    async def say(self, text: str, *, lane: int = outbox.HUMAN) -> None:
        """A counsellor's words in the (only) conversation."""

        async def work(session: Any) -> int:
            conversation = await session.scalar(select(Conversation))
            await outbox.write(
                session,
                self.shell.vault,
                conversation,
                [Draft(text)],
                lane=lane,
                now=self.shell.clock(),
                author="staff",
            )
            return int(conversation.id)

        self.shell.outbox.ring(await self.shell.storage.write(work))

    async def tasks(self) -> list[tuple[str, str]]:
        return [(task.kind, task.detail) for task in await self.rows(Task)]

    async def think(self) -> None:
        """Stands where the pipeline stands."""
        async for bells in self.queue.listen():
            for bell in bells:
                await self._handle(bell.conversation_id)
            await self.queue.done(bells)

    async def _handle(self, conversation_id: int) -> None:
        async with self.shell.storage.read() as session:
            rows = await session.execute(
                select(Message, Person.data_key)
                .join(Conversation, Conversation.id == Message.conversation_id)
                .join(Person, Person.id == Conversation.person_id)
                .where(Message.conversation_id == conversation_id, Message.state == "received")
                .order_by(Message.id)
            )
            unfinished = list(rows)
        for row, wrapped in unfinished:
            key = self.shell.vault.person_key(wrapped)
            meta = orjson.loads(key.open(row.meta_sealed, "message.meta")) if row.meta_sealed else {}
            heard = Heard(row.id, key.open(row.text_sealed, "message.text"), row.kind, meta)
            self.heard.append(heard)
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self.answers(heard)
            await self.shell.storage.write(
                lambda session, id_=row.id, answer=answer: self._finish(session, id_, answer)
            )
            self.shell.bus.publish(News("finished", extra={"message_id": row.id}))
            self.shell.outbox.ring(conversation_id)

    async def _finish(self, session: Any, message_id: int, answer: Answer) -> None:
        message = await session.get_one(Message, message_id)
        conversation = await session.get_one(Conversation, message.conversation_id)
        conversation.state = answer.state or conversation.state
        message.state = "answered"
        person = await session.get_one(Person, conversation.person_id)
        answers = outbox.Answers()
        answers.add(
            conversation,
            answer.drafts,
            self.shell.vault.person_key(person.data_key),
            lane=answer.lane,
            now=self.shell.clock(),
            message_id=message.id,
            received_at=message.received_at,
            hold=self.shell.outbox.hold(conversation),
        )
        await answers.store(session)


async def build(
    stack: AsyncExitStack,
    folder: Path,
    make: Callable[[Shell], Channel],
    *,
    settings: Settings | None = None,
    port: int = 0,
    send: bool = True,
) -> Rig:
    """Start everything; `stack` ends it. `send=False` leaves the sender asleep."""
    storage = Storage(f"sqlite:///{folder / 'desk.db'}")
    async with storage.engines.writing.begin() as connection:
        for metadata in METADATA:
            await connection.run_sync(metadata.create_all)
    await storage.start()
    stack.push_async_callback(storage.close)
    vault, bus, queue = Vault(KEY), MemoryBus(), MemoryQueue()
    shift: list[Rig] = []

    def clock() -> datetime:
        return datetime.now(UTC) + (shift[0].clock_shift if shift else timedelta())

    service = OutboxService(storage, vault, bus, process="test", clock=clock)
    await service.start()
    stack.push_async_callback(service.close)
    inbox = InboxService(storage, vault, queue, bus, desk="000000")
    await inbox.start()
    stack.push_async_callback(inbox.close)
    shell = Shell(
        settings=settings or Settings(),
        storage=storage,
        vault=vault,
        inbox=inbox,
        outbox=service,
        brain=None,  # type: ignore[arg-type]
        bus=bus,
        clock=clock,
    )
    channel = make(shell)
    stack.push_async_callback(channel.close)
    service.serve([channel])
    sender = Sender(storage, vault, bus, service, [channel], process="test", clock=clock)
    if send:
        await sender.start()
        stack.push_async_callback(sender.close)
    app = web.Application()
    app.add_routes(channel.routes())
    if isinstance(channel, WebChat):
        app.on_shutdown.append(lambda _app: channel.hang_up())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    rig = Rig(shell, channel, url, queue, sender)
    shift.append(rig)
    thinking = asyncio.create_task(rig.think())

    async def stop() -> None:
        await queue.close()  # ends the thinking; in the middle of a read it must not be cut off
        await asyncio.wait([thinking], timeout=0.5 + rig.delay)
        thinking.cancel()
        await asyncio.gather(thinking, return_exceptions=True)

    stack.push_async_callback(stop)
    return rig
