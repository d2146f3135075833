"""Alembic's entry: runs on the connection that `upgrade` (or a test) hands in."""

from alembic import context

from bot.storage.migrations import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
