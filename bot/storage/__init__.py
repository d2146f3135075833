"""Where everything is kept: `Storage` reads and writes, migrations/ holds the one tree of schema changes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sqlalchemy.ext.asyncio import AsyncSession

from bot.storage.engine import Engines
from bot.storage.writer import T, Work, Writer

__all__ = ["Storage"]


class Storage:
    """The database as the rest of the shell sees it: `read()` a session, or `write()` a piece of work."""

    def __init__(self, url: str) -> None:
        self.engines = Engines(url)
        self._writer = Writer(self.engines)

    async def start(self) -> None:
        await self._writer.start()

    async def close(self) -> None:
        await self._writer.close()
        await self.engines.close()

    def read(self, *, patient: bool = False) -> AbstractAsyncContextManager[AsyncSession]:
        """A session to read with; it cannot write (on SQLite the connection refuses). `patient`: no statement is cut off."""
        return self.engines.read(patient=patient)

    async def write(self, work: Work[T], *, urgent: bool = False) -> T:
        """Run `work(session)` in a shared transaction; its result after the commit. See Writer.write."""
        return await self._writer.write(work, urgent=urgent)

    async def drop_old_pages(self) -> None:
        """After an erasure: let go of page images from before it. On SQLite the write-ahead log still holds them; it is
        emptied unless somebody is reading (the daily job asks again). PostgreSQL's own vacuum and log rotation do it there."""
        await self.engines.drop_old_pages()
