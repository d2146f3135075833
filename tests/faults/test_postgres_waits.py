"""PostgreSQL hangs: somebody keeps a row, a statement never ends, the server falls silent. Crisis work goes on, or is told so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from bot.channels import StorageUnavailable
from bot.storage import Storage, engine, writer
from bot.storage.engine import database_url
from bot.storage.writer import Writer
from bot.tables import Fact

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def _shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.5)
    monkeypatch.setattr(engine, "_STATEMENT_SECONDS", 1.0)
    monkeypatch.setattr(writer, "TRANSACTION_SECONDS", 3.0)


@asynccontextmanager
async def _storage(url: str) -> AsyncIterator[Storage]:
    storage = Storage(url)
    storage._writer = Writer(storage.engines, lanes=1)  # everything in one lane: the worst that can be
    await storage.start()
    try:
        await storage.write(lambda s: s.execute(text("DELETE FROM fact")))
        yield storage
    finally:
        await storage.close()


async def _keep(session: AsyncSession, name: str) -> None:
    await session.execute(insert(Fact).values(name=name, value=b"1"))


async def _change(session: AsyncSession, name: str) -> None:
    await session.execute(update(Fact).where(Fact.name == name).values(value=b"2"))


async def test_a_row_that_somebody_keeps_costs_others_seconds_and_only_its_own_caller_the_work(
    postgres_url: str,
) -> None:
    keeper = create_async_engine(database_url(postgres_url))
    async with _storage(postgres_url) as storage:
        await storage.write(lambda s: _keep(s, "kept"))
        async with keeper.connect() as other:
            await other.execute(select(Fact).where(Fact.name == "kept").with_for_update())
            started = time.monotonic()
            stuck, crisis = await asyncio.gather(
                storage.write(lambda s: _change(s, "kept")),
                storage.write(lambda s: _keep(s, "crisis"), urgent=True),
                return_exceptions=True,
            )
            took = time.monotonic() - started
            await other.rollback()
        assert isinstance(stuck, StorageUnavailable)
        assert crisis is None
        assert took < 2.5
        await storage.write(lambda s: _change(s, "kept"))
        async with storage.read() as session:
            kept = {row.name: row.value for row in await session.execute(select(Fact.name, Fact.value))}
        assert kept == {"kept": b"2", "crisis": b"1"}
    await keeper.dispose()


async def test_a_statement_without_end_is_ended(postgres_url: str) -> None:
    async with _storage(postgres_url) as storage:
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await storage.write(lambda s: s.execute(text("SELECT pg_sleep(60)")))
        assert time.monotonic() - started < 5
        await storage.write(lambda s: _keep(s, "after"))
        async with storage.read(patient=True) as session:  # whoever counts everything may take longer
            await session.execute(text("SELECT pg_sleep(1.3)"))


async def test_slow_readers_leave_the_writer_its_connections(postgres_url: str) -> None:
    async with _storage(postgres_url) as storage:

        async def slow() -> None:
            async with storage.read() as session:
                await session.execute(text("SELECT pg_sleep(0.8)"))

        readers = [asyncio.create_task(slow()) for _ in range(20)]
        await asyncio.sleep(0.3)
        started = time.monotonic()
        await storage.write(lambda s: _keep(s, "crisis"), urgent=True)
        assert time.monotonic() - started < 0.4
        await asyncio.gather(*readers)


async def test_a_server_that_falls_silent_refuses_and_does_not_hang(postgres_url: str) -> None:
    server = make_url(postgres_url)
    async with _Line(server.host or "127.0.0.1", server.port or 5432) as line:
        through = server.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        async with _storage(through) as storage:
            await storage.write(lambda s: _keep(s, "before"))
            line.silent = True
            started = time.monotonic()
            with pytest.raises(StorageUnavailable):
                await storage.write(lambda s: _keep(s, "lost"))
            assert time.monotonic() - started < 8
            line.silent = False
            async with asyncio.timeout(10):
                while True:
                    try:
                        await storage.write(lambda s: _keep(s, "again"))
                        break
                    except StorageUnavailable:
                        await asyncio.sleep(0.2)


class _Line:
    """The network between us and the server. `silent`: nothing comes through any more, and nobody is told."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self.silent = False
        self._carrying: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> _Line:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        for end in self._ends:
            end.close()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        theirs, to = await asyncio.open_connection(*self._to)
        self._ends += [to, out]
        for source, sink in ((reader, to), (theirs, out)):
            task = asyncio.create_task(self._carry(source, sink))
            self._carrying.add(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            while self.silent:
                await asyncio.sleep(0.05)
            sink.write(data)
            await sink.drain()
        sink.close()
