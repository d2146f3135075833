"""What all tests may use: `storage`, a started Storage on a fresh database, once on SQLite and once on PostgreSQL.

Whole services get databases of their own: `empty_postgres_url` and `redis_url`.

PostgreSQL is looked for at QINGTING_TEST_POSTGRES (postgresql://user:password@host:port, a role that may create databases) or on
this machine's usual port. Where there is none those tests are skipped and say so.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bot.storage import Storage
from bot.storage.engine import database_url
from bot.storage.migrations import METADATA
from tests.service import free_port

POSTGRES = os.environ.get("QINGTING_TEST_POSTGRES", "")
_LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"


def _postgres() -> URL | None:
    if POSTGRES:
        return make_url(POSTGRES)
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return make_url(_LOCAL) if probe.connect_ex(("127.0.0.1", 5432)) == 0 else None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of this test run with all tables, dropped at the end."""
    with _database() as url:
        _apart(_make_tables(url))
        yield url


@pytest.fixture
def empty_postgres_url() -> Iterator[str]:
    """A database with nothing in it, for a service that makes its own tables; dropped at the end."""
    with _database() as url:
        yield url


@contextmanager
def _database() -> Iterator[str]:
    server = _postgres()
    if server is None:
        pytest.skip("no PostgreSQL: set QINGTING_TEST_POSTGRES or start one on 127.0.0.1:5432")
    name = f"qingting_test_{os.getpid()}_{secrets.token_hex(3)}"
    _apart(_server(server, f'CREATE DATABASE "{name}"'))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        _apart(_server(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test alone: a whole service writes under the names that every desk uses."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def _wait_for(port: int, *, within: float = 20.0) -> None:
    until = time.monotonic() + within
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < until, f"nothing listens on port {port}"
        time.sleep(0.05)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """A started Storage with all tables and nothing in them."""
    if request.param == "sqlite":
        store = Storage(f"sqlite:///{tmp_path}/qingting.db")
        await _create_tables(store.engines.writing)
    else:
        store = Storage(request.getfixturevalue("postgres_url"))
        await _empty(store.engines.writing)
    await store.start()
    yield store
    await store.close()


async def _make_tables(url: str) -> None:
    engine = create_async_engine(database_url(url))
    await _create_tables(engine)
    await engine.dispose()


async def _create_tables(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for metadata in METADATA:
            await connection.run_sync(metadata.create_all)


async def _empty(engine: AsyncEngine) -> None:
    """Deleting from empty tables is many times quicker than making a database for each test."""
    tables = [f'DELETE FROM "{table.name}";' for metadata in METADATA for table in metadata.sorted_tables]
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"DO $$ BEGIN {' '.join(tables)} END $$")


async def _server(url: URL, statement: str) -> None:
    engine = create_async_engine(
        database_url(url.render_as_string(hide_password=False)), isolation_level="AUTOCOMMIT"
    )
    async with engine.connect() as connection:
        await connection.exec_driver_sql(statement)
    await engine.dispose()


def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end beside the test's own loop, which may be running."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
