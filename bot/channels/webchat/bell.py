"""Wakes the open pages of a conversation when something happened in it. One listener on the bus for the whole process.

News can be lost; every page therefore also looks for itself now and then (`LOOK_EVERY`). Without Redis the news of one process do not
reach another: there a page that was left closes with that look.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from bot.events import Bus, News

log = structlog.get_logger(__name__)
LOOK_EVERY: Final = 20.0


class Page:
    """One open page: a socket, or a long poll that waits."""

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.conversations: set[int] = set()
        self.counsellor_types = False
        self.revoked = False
        self.gone = False
        self.wake = asyncio.Event()

    async def woken(self, within: float) -> bool:
        """Wait until something happened, at most `within` seconds. False when nothing did."""
        try:
            async with asyncio.timeout(within):
                await self.wake.wait()
        except TimeoutError:
            return False
        self.wake.clear()
        return True


class Bell:
    """Who waits for which conversation."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: defaultdict[int, set[Page]] = defaultdict(set)
        self._pages: set[Page] = set()
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self.closing = False

    @contextmanager
    def page(self, session_id: int) -> Iterator[Page]:
        """A page that is open as long as the block runs."""
        page = Page(session_id)
        self._pages.add(page)
        try:
            yield page
        finally:
            self._pages.discard(page)
            for conversation in page.conversations:
                self._waiting[conversation].discard(page)
                if not self._waiting[conversation]:
                    del self._waiting[conversation]

    async def watch(self, page: Page, conversations: Iterable[int]) -> None:
        """Wake `page` for these conversations from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="webchat-bell")
        await self._listening.wait()
        for conversation in conversations:
            page.conversations.add(conversation)
            self._waiting[conversation].add(page)

    def revoke(self, session_id: int) -> None:
        """A session ended: its pages close here, and in every other process that hears of it."""
        self._close_pages(session_id)
        self._bus.publish(News("left", extra={"session_id": session_id}))

    def _close_pages(self, session_id: int) -> None:
        for page in self._pages:
            if page.session_id == session_id:
                page.revoked = True
                page.wake.set()

    def hang_up(self) -> None:
        """Wake everybody for the last time."""
        self.closing = True
        for page in self._pages:
            page.wake.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                async with self._bus.listen() as news:
                    self._listening.set()
                    while True:
                        self._ring(await news.get())
            except Exception as error:
                self._listening.set()  # pages look for themselves meanwhile
                log.warning("webchat.bell_silent", error=type(error).__name__)
                await asyncio.sleep(1)

    def _ring(self, news: News) -> None:
        if news.what == "left":
            self._close_pages(int((news.extra or {}).get("session_id", 0)))
            return
        for page in self._waiting.get(news.conversation_id, ()):
            if news.what == "typing":
                if (news.extra or {}).get("by") == "person":
                    continue
                page.counsellor_types = True
            elif news.what not in ("message", "conversation"):
                continue
            page.wake.set()
