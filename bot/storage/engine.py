"""The database under everything: SQLite beside one service, PostgreSQL under many.

SQLite: WAL, synchronous=FULL (acknowledged means on the disk), secure_delete, one writer that begins with BEGIN IMMEDIATE, and
readers that cannot write. PostgreSQL: a pool for the writer's lanes and one for readers, so that slow readers never leave a writer
without a connection; and no statement, lock, connection or silent network is waited for without end (the times below).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from bot.storage import sqlite_thread

_BUSY_SECONDS = 5
# PostgreSQL: how long one thing may keep a writer's lane. A healthy transaction takes milliseconds, so whatever takes this long is
# at fault, and crisis work must get past it (docs/operations.zh-CN.md says what an operator sees).
LOCK_SECONDS: Final = 3.0  # for a row that somebody else has
_STATEMENT_SECONDS: Final = 15.0  # for one statement
_IDLE_SECONDS: Final = 30.0  # a process that stopped in mid-transaction lets go of its rows
_ANSWER_SECONDS: Final = 20.0  # for the server's answer, should it be too ill to keep to the times above
_NETWORK_SECONDS: Final = 15.0  # for what we sent to be confirmed by the other machine
_CONNECT_SECONDS: Final = 5.0  # for a connection, new or from the pool
TRANSACTION_SECONDS: Final = 30.0  # for a whole shared transaction, whatever holds it up


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
            self.writing = _postgresql(self.url, most=8)
            self.reading = _postgresql(self.url, most=16)

    @asynccontextmanager
    async def read(self, *, patient: bool = False) -> AsyncIterator[AsyncSession]:
        """A session to read with. Nothing it does is kept. `patient`: its statements may take as long as they take."""
        async with AsyncSession(self.reading, expire_on_commit=False, autoflush=False) as session:
            if patient:
                await be_patient(session)
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
        await self.reading.dispose()


async def be_patient(session: AsyncSession | AsyncConnection) -> None:
    """Let the statements of this transaction take as long as they take (a migration, a count of everything)."""
    connection = await session.connection() if isinstance(session, AsyncSession) else session
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SET LOCAL statement_timeout = 0"))
        await connection.execute(text("SET LOCAL lock_timeout = 0"))


def is_unavailable(error: BaseException) -> bool:
    """Whether the database itself is at fault (locked, full, away, too slow), rather than what we asked of it."""
    if isinstance(error, OperationalError | OSError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # PostgreSQL's classes for a lost connection, too few resources, a server that starts or stops, a transaction left idle.
    lost = _sqlstate(error).startswith(("08", "53", "57P", "25P03"))
    return error.connection_invalidated or lost or waited_too_long(error)


def waited_too_long(error: BaseException) -> bool:
    """Whether PostgreSQL ended one statement because it waited for a lock, or ran, for too long: others may do well."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in ("55P03", "57014")


def lost_race(error: BaseException) -> bool:
    """Whether the database ended this transaction for another's sake (deadlock, serialization): running it again helps."""
    return isinstance(error, DBAPIError) and _sqlstate(error) in ("40P01", "40001")


def _sqlstate(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _postgresql(url: URL, *, most: int) -> AsyncEngine:
    milliseconds = {
        "lock_timeout": LOCK_SECONDS,
        "statement_timeout": _STATEMENT_SECONDS,
        "idle_in_transaction_session_timeout": _IDLE_SECONDS,
    }
    engine = create_async_engine(
        url,
        pool_size=most // 2,
        max_overflow=most - most // 2,
        pool_timeout=_CONNECT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "server_settings": {name: str(int(seconds * 1000)) for name, seconds in milliseconds.items()},
            "command_timeout": _ANSWER_SECONDS,
            "timeout": _CONNECT_SECONDS,
        },
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        # A machine that is gone without a word must not look like one that thinks. Not every system has the option.
        line = connection.driver_connection._transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_NETWORK_SECONDS * 1000))

    return engine


def _sqlite(url: URL, *, writes: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        async_creator=lambda: sqlite_thread.connect(url.database or ":memory:", timeout=_BUSY_SECONDS),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if writes else 4,
        max_overflow=0 if writes else 4,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
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
