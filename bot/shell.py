"""The parts every piece of the shell may need, put together once in app.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from bot.events import Bus, MemoryBus
from bot.live_entries import EntriesNow
from bot.settings import Settings
from bot.storage import Storage
from escalation.privacy import Vault

if TYPE_CHECKING:
    from bot.brain import Brain
    from bot.channels import Inbox
    from bot.outbox import OutboxService


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Shell:
    """Settings, storage, keys, news and the two ends of the journey."""

    settings: Settings
    storage: Storage
    vault: Vault
    inbox: Inbox
    outbox: OutboxService
    brain: Brain
    bus: Bus = field(default_factory=MemoryBus)
    clock: Callable[[], datetime] = utc_now
    entries: EntriesNow = field(default_factory=EntriesNow)


SHELL: web.AppKey[Shell] = web.AppKey("shell", Shell)
