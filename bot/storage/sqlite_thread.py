"""SQLite in a thread of its own, one crossing for each statement.

aiosqlite crosses to its thread and back to make a cursor, again to execute, to fetch and to close: four crossings, each of which costs
more than most of our statements. SQLAlchemy reads all rows at once anyway, so here all four happen in one visit to the thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import aiosqlite


class SqliteThread(aiosqlite.Connection):
    """An aiosqlite connection whose cursors keep what they read. What SQLAlchemy's `async_creator` returns."""

    def cursor(self) -> _Cursor:  # type: ignore[override]
        """A cursor; nothing has been asked of the database yet."""
        return _Cursor(self)


def connect(database: str, *, timeout: float) -> SqliteThread:
    """A connection to be awaited. `timeout`: seconds that a statement waits for another process's lock."""
    # The driver's own transaction handling begins late and never IMMEDIATE: it is off (None), the engine begins itself.
    connection = SqliteThread(
        lambda: sqlite3.connect(database, timeout=timeout, isolation_level=None), iter_chunk_size=64
    )
    connection._thread.daemon = (
        True  # a process that was told to end does not wait for a forgotten connection
    )
    return connection


class _Cursor:
    """The part of a DB-API cursor that SQLAlchemy uses (connectors/asyncio.py), after the fact: rows are here already."""

    __slots__ = ("_connection", "_rows", "arraysize", "description", "lastrowid", "rowcount")

    def __init__(self, connection: SqliteThread) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> _Cursor:
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        await self._run(sqlite3.Connection.execute, statement, parameters)

    async def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> None:
        await self._run(sqlite3.Connection.executemany, statement, parameters)

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        self._rows = []

    async def _run(
        self, what: Callable[[sqlite3.Connection, str, Any], sqlite3.Cursor], statement: str, parameters: Any
    ) -> None:
        await self._connection._execute(self._in_thread, what, statement, parameters)  # type: ignore[no-untyped-call]

    def _in_thread(
        self, what: Callable[[sqlite3.Connection, str, Any], sqlite3.Cursor], statement: str, parameters: Any
    ) -> None:
        cursor = what(self._connection._conn, statement, parameters)
        self.description, self.rowcount, self.lastrowid = (
            cursor.description,
            cursor.rowcount,
            cursor.lastrowid,
        )
        if cursor.description is not None:
            self._rows = cursor.fetchall()
        cursor.close()
