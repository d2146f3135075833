"""The database under everything: SQLite beside one service, PostgreSQL under many.

SQLite: WAL, synchronous=FULL (acknowledged means on the disk), secure_delete, one writer that begins with BEGIN IMMEDIATE, and
readers that cannot write. PostgreSQL: one engine for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

_BUSY_SECONDS = 5


def database_url(text: str) -> URL:
    """The URL with the async driver filled in. Raises ValueError for anything but sqlite and postgresql."""
    url = make_url(text)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}.get(url.get_backend_name())
    if driver is None:
        raise ValueError(f"storage.url: {url.get_backend_name()} is not supported, use sqlite or postgresql")
    return url.set(drivername=driver)


class Engines:
    """A writing and a reading engine on the same database."""

    def __init__(self, url: str) -> None:
        self.url = database_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            if self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            self.writing = _sqlite(self.url, writes=True)
            self.reading = _sqlite(self.url, writes=False)
        else:
            self.writing = create_async_engine(self.url, pool_size=10, max_overflow=10, pool_pre_ping=True)
            self.reading = self.writing

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session to read with. Nothing it does is kept."""
        async with AsyncSession(self.reading, expire_on_commit=False, autoflush=False) as session:
            yield session

    async def drop_old_pages(self) -> None:
        """Empty SQLite's write-ahead log into the database (secure_delete overwrites what was deleted there)."""
        if not self.sqlite:
            return
        async with self.writing.connect() as connection:
            raw = await connection.get_raw_connection()
            # Past SQLAlchemy, which would begin a transaction first: a checkpoint runs outside of one.
            await raw.driver_connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]

    async def close(self) -> None:
        await self.writing.dispose()
        if self.reading is not self.writing:
            await self.reading.dispose()


def is_unavailable(error: BaseException) -> bool:
    """Whether the database itself is at fault (locked, full, away), rather than what we asked of it."""
    if isinstance(error, OperationalError | OSError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # PostgreSQL's classes for a lost connection, too few resources, and a server that starts or stops.
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(("08", "53", "57P"))


def lost_race(error: BaseException) -> bool:
    """Whether the database ended this transaction for another's sake (deadlock, serialization): running it again helps."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in ("40P01", "40001")


def _sqlite(url: URL, *, writes: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if writes else 4,
        max_overflow=0 if writes else 4,
        connect_args={"timeout": _BUSY_SECONDS},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling begins late and never IMMEDIATE: switch it off and begin ourselves.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
        if writes:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA cache_size=-32000")
            cursor.execute("PRAGMA journal_size_limit=67108864")
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
