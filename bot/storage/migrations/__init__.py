"""The one tree of schema changes (Alembic), over the tables of all rooms. `upgrade` runs it at start."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import tables as shell_tables
from escalation import tables as desk_tables

METADATA = [desk_tables.Base.metadata, shell_tables.Base.metadata]


def config(connection: Connection) -> Config:
    """Alembic's configuration for this tree on an open connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


async def upgrade(engine: AsyncEngine) -> None:
    """Bring the database to the newest schema. A no-op when it is."""
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.upgrade(config(sync), "head"))
