"""The only place that wires things together: settings in, a running service out.

`Service` builds every part, starts them in the order in which they need each other, and closes them in the reverse order. Roles
let a province run gateways (webhooks, chat, workbench) apart from workers (understanding, sending, alerts).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any

from aiohttp import web

from bot import desk_id, keys
from bot.alarms import Alarms
from bot.brain import Brain, brain_of
from bot.channels import Channel, sms, webchat, wechat
from bot.daily import Daily
from bot.desk_view import DeskNow
from bot.events import Bus, MemoryBus
from bot.inbox import InboxService
from bot.ladder import Ladder
from bot.live_entries import LiveEntries
from bot.metrics import instrument
from bot.outbox import OutboxService
from bot.pipeline import Pipeline
from bot.policy import policy_of
from bot.queue import Queue
from bot.queue.memory import MemoryQueue
from bot.sender import Sender
from bot.settings import ConfigProblem, Settings
from bot.shell import SHELL, Shell, utc_now
from bot.storage import Storage, trouble
from bot.storage.migrations import upgrade
from bot.sweep import Sweep
from bot.template_watch import TemplateWatch
from bot.web import api, pages
from bot.web import help as help_site

SERVICE: web.AppKey[Service] = web.AppKey("service")


class Service:
    """All parts of one process. `roles`: "gateway" answers the outside, "worker" handles, sends and rings. `brain`: one
    that has begun already (run.py), else a new one."""

    def __init__(
        self,
        settings: Settings,
        *,
        roles: Sequence[str] = ("gateway", "worker"),
        clock: Callable[[], datetime] = utc_now,
        brain: Brain | None = None,
    ) -> None:
        self.settings = settings
        self.roles = frozenset(roles)
        process = f"{os.getpid()}-{secrets.token_hex(4)}"
        storage = Storage(settings.storage.url)
        if storage.engines.sqlite and self.roles != {"gateway", "worker"}:
            raise ConfigProblem("storage.url：gateway 和 worker 分开运行要用 PostgreSQL；SQLite 只能一个进程")
        vault = keys.load(settings.storage)
        self.queue, bus = _queue_and_bus(settings, process)
        outbox = OutboxService(storage, vault, bus, process=process, clock=clock)
        inbox = InboxService(storage, vault, self.queue, bus, desk=settings.desk.id)
        brain = brain or brain_of(settings, waits_for_entries=True)
        self.shell = Shell(
            settings=settings,
            storage=storage,
            vault=vault,
            inbox=inbox,
            outbox=outbox,
            brain=brain,
            bus=bus,
            clock=clock,
        )
        self.channels = _channels(self.shell)
        outbox.serve(self.channels)
        policy = policy_of(settings.escalation)
        self.sender = Sender(storage, vault, bus, outbox, self.channels, process=process, clock=clock)
        self.sweep = Sweep(self.shell, self.queue, self.sender, self.channels)
        self.pipeline = Pipeline(self.shell, self.queue, brain, policy, DeskNow(settings.desk))
        self.templates = TemplateWatch(self.shell, self.pipeline)
        self.entries = LiveEntries(self.shell)
        self.alarms = Alarms(self.shell)
        self.ladder = Ladder(self.shell, self.alarms, lambda: self.pipeline.texts)
        self.daily = Daily(self.shell)
        self._inbox = inbox

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything in order; what `stack` closes later goes in reverse. Raises ConfigProblem, BrainProblem."""
        shell = self.shell
        thinking = asyncio.create_task(shell.brain.start())  # the models load while the database opens
        stack.push_async_callback(_forget, thinking)
        stack.push_async_callback(shell.brain.close)
        await self._open_database()
        await _begin(stack, shell.storage)
        await shell.storage.write(lambda session: keys.check(session, shell.vault))
        await self.entries.look()  # the understanding processes wait to hear what the desk changed
        await thinking
        await _begin(stack, shell.bus)
        await _begin(stack, self.entries)
        await _begin(stack, self.queue)
        await _begin(stack, shell.outbox)
        for channel in self.channels:
            stack.push_async_callback(channel.close)
        if "worker" in self.roles:
            await _begin(stack, self.templates)
            await _begin(stack, self.alarms)
            await _begin(stack, self.pipeline)
            await _begin(stack, self.sender)
            await _begin(stack, self.sweep)
            await _begin(stack, self.ladder)
            await _begin(stack, self.daily)
        await _begin(stack, self._inbox)

    async def _open_database(self) -> None:
        """The newest schema, and this desk's rows in it. Raises ConfigProblem."""
        storage, desk = self.shell.storage, self.settings.desk.id
        try:
            await upgrade(storage.engines.writing)
            async with storage.read() as session:
                await desk_id.check(session, desk)
        except ConfigProblem:
            raise
        except Exception as error:
            words = trouble.explained(error, self.settings.storage.url)
            if words is None:
                raise
            raise ConfigProblem(words) from None


def make_app(service: Service) -> web.Application:
    """The web application of a gateway: webhooks, chat, workbench. Its start and clean-up are the service's."""
    settings = service.settings
    app = web.Application(client_max_size=settings.server.max_body_bytes)
    app[SHELL] = service.shell
    app[SERVICE] = service
    instrument(app)
    if "gateway" in service.roles:
        for channel in service.channels:
            app.add_routes(channel.routes())
            if isinstance(channel, webchat.WebChat):
                app.on_shutdown.append(_hang_up(channel))
        api.setup(app, service.shell)
        help_site.setup(app, service.shell)
        pages.setup(app, service.shell)

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await service.start(stack)
            yield

    app.cleanup_ctx.append(lifetime)
    return app


def _hang_up(chat: webchat.WebChat) -> Callable[[web.Application], Awaitable[None]]:
    """Open sockets would hold the stop up until its time-out: they are closed first, and the pages come back."""

    async def stop(_app: web.Application) -> None:
        await chat.hang_up()

    return stop


def _queue_and_bus(settings: Settings, process: str) -> tuple[Queue, Bus]:
    if settings.queue.kind == "memory":
        return MemoryQueue(), MemoryBus()
    try:
        from bot.queue.redis import RedisBus, RedisQueue
    except ModuleNotFoundError:
        raise ConfigProblem(
            "queue.kind：写了 redis，但没有装它的组件，请运行：pip install qingting[redis]"
        ) from None
    url = settings.queue.url.get_secret_value()
    return RedisQueue(url, worker=process, partitions=settings.queue.partitions), RedisBus(url)


def _channels(shell: Shell) -> list[Channel]:
    settings = shell.settings
    channels: list[Channel] = []
    if settings.webchat.enabled:
        channels.append(webchat.make(shell, settings.webchat))
    channels += [wechat.make(shell, account) for account in settings.wechat]
    channels += [sms.make(shell, account) for account in settings.sms]
    return channels


async def _begin(stack: AsyncExitStack, part: Any) -> None:
    """Start a part and have it closed when the stack unwinds, also when a later part fails to start."""
    stack.push_async_callback(part.close)
    await part.start()


async def _forget(task: asyncio.Task[None]) -> None:
    """End a task whose outcome nobody waits for any more."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
