"""The one tree of schema changes (Alembic), over the tables of all rooms. `upgrade` runs it at start.

Revisions are numbered, and a file begins with its number: versions/0001_first_tables.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import tables as shell_tables
from bot.storage.engine import be_patient
from escalation import tables as desk_tables
from knowledge import law_tables  # noqa: F401 (its tables join the same Base)
from knowledge import tables as knowledge_tables

if TYPE_CHECKING:
    from alembic.config import Config

METADATA = [desk_tables.Base.metadata, shell_tables.Base.metadata, knowledge_tables.Base.metadata]


def config(connection: Connection) -> Config:
    """Alembic's configuration for this tree on an open connection."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


async def upgrade(engine: AsyncEngine) -> None:
    """Bring the database to the newest schema. A no-op when it is."""
    async with engine.begin() as connection:
        await be_patient(connection)
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    newest = max(file.name.partition("_")[0] for file in Path(__file__).parent.glob("versions/*_*.py"))
    known = inspect(connection).has_table("alembic_version")
    if known and connection.scalar(text("SELECT version_num FROM alembic_version")) == newest:
        return
    from alembic import command

    command.upgrade(config(connection), "head")
