"""One migration tree: a database brought up by it has exactly the tables that the code speaks of, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import make_url

from bot.storage.engine import Engines
from bot.storage.migrations import METADATA, upgrade
from tests.conftest import _server


async def differences(url: str) -> list[object]:
    engines = Engines(url)
    await upgrade(engines.writing)
    await upgrade(engines.writing)  # a second start changes nothing
    async with engines.writing.connect() as connection:
        found = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"compare_type": True}), METADATA
            )
        )
    await engines.close()
    return list(found)


async def test_migrations_make_what_the_code_speaks_of_on_sqlite(tmp_path: Path) -> None:
    assert await differences(f"sqlite:///{tmp_path}/fresh.db") == []


@pytest.mark.postgres
async def test_migrations_make_what_the_code_speaks_of_on_postgres(postgres_url: str) -> None:
    server = make_url(postgres_url)
    name = f"{server.database}_migrated"
    await _server(server, f'CREATE DATABASE "{name}"')
    try:
        assert await differences(server.set(database=name).render_as_string(hide_password=False)) == []
    finally:
        await _server(server, f'DROP DATABASE "{name}" WITH (FORCE)')
