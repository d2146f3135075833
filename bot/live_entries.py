"""The entries as they are said now, in this process: read from the database when its generation, or the day, has changed.

The understanding processes answer from them (brain.py), so a published text is said by every process without a restart: whoever
publishes gives news, and every process looks every two seconds for what news did not bring it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from bot.events import News
from knowledge import desk
from knowledge.entries import Entry, shipped
from knowledge.overlay import Overlay

if TYPE_CHECKING:
    from bot.shell import Shell

log = structlog.get_logger(__name__)
LOOKS_EVERY: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Live:
    """What is said on one day: the overlay, and all entries by id (shipped ones first, then the desk's own)."""

    day: date
    overlay: Overlay
    entries: Mapping[str, Entry]


async def live(session: AsyncSession, today: date) -> Live:
    """The entries of this day, as they stand in the database. The shipped files are read in a thread the first time."""
    files = await asyncio.to_thread(shipped)
    overlay = await desk.live_overlay(session, today)
    return Live(today, overlay, {entry.id: entry for entry in overlay.over(files.values())})


class EntriesNow:
    """The entries said now, kept until the database says that they changed."""

    def __init__(self) -> None:
        self._kept: Live | None = None

    async def of(self, session: AsyncSession, today: date) -> Live:
        """The entries of this day. See `live`."""
        kept, number = self._kept, await desk.generation(session)
        if kept is not None and (kept.overlay.generation, kept.day) == (number, today):
            return kept
        self._kept = await live(session, today)
        return self._kept


def today(now: datetime, timezone: str) -> date:
    """The day by the desk's own clock."""
    return now.astimezone(ZoneInfo(timezone)).date()


class LiveEntries:
    """Keeps the understanding processes of this process at the newest entries."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._known: tuple[int, date] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.look()
        self._task = asyncio.create_task(self._watch(), name="live-entries")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Take what is said now into use, where that has changed."""
        day = today(self._shell.clock(), self._shell.settings.desk.timezone)
        async with self._shell.storage.read() as session:
            number = await desk.generation(session)
            if (number, day) == self._known:
                return
            overlay = await desk.live_overlay(session, day)
        if overlay.broken:
            log.error("entries.broken", entries=sorted(overlay.broken))
        self._shell.brain.follow(overlay)
        if self._known is not None:
            log.info("entries.changed", generation=overlay.generation)
        self._known = (overlay.generation, day)

    async def _watch(self) -> None:
        failing = False
        async with self._shell.bus.listen() as news:
            while True:
                await _told(news)
                try:
                    await self.look()
                    failing = False
                except Exception as error:  # the entries in force stay; the next look is two seconds away
                    if not failing:
                        log.error("entries.not_read", error=type(error).__name__)
                    failing = True


async def _told(news: asyncio.Queue[News]) -> None:
    """Return when somebody published, and at the latest when it is time to look."""
    try:
        async with asyncio.timeout(LOOKS_EVERY):
            while (await news.get()).what != "entries":
                pass
    except TimeoutError:
        return
