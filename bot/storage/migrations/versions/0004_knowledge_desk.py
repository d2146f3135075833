"""The editing desk: entries the desk changed, their revisions and comments, what is live, saved questions

Revision: 0004, after 0003.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from escalation.columns import Moment

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "knowledge_entry",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("newest", _ID, nullable=False),
        sa.Column("retired", sa.Boolean(), nullable=False),
        sa.Column("to_check", sa.String(), nullable=True),
        sa.Column("to_check_at", Moment(), nullable=True),
        sa.Column("version", _ID, nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "knowledge_revision",
        sa.Column("id", _ID, nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("number", _ID, nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("authors", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("submitted_by", _ID, nullable=True),
        sa.Column("submitted_at", Moment(), nullable=True),
        sa.Column("approved_by", _ID, nullable=True),
        sa.Column("approved_at", Moment(), nullable=True),
        sa.Column("published_by", _ID, nullable=True),
        sa.Column("published_at", Moment(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("entry_id", "number"),
    )
    op.create_index("ix_knowledge_revision_state", "knowledge_revision", ["state"])
    op.create_table(
        "knowledge_comment",
        sa.Column("id", _ID, nullable=False),
        sa.Column("entry_id", sa.String(), nullable=False),
        sa.Column("revision", _ID, nullable=False),
        sa.Column("author", _ID, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_comment_entry_id", "knowledge_comment", ["entry_id"])
    generation = op.create_table(
        "knowledge_generation",
        sa.Column("id", _ID, nullable=False),
        sa.Column("number", _ID, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(generation, [{"id": 1, "number": 0}])
    op.create_table(
        "knowledge_question",
        sa.Column("id", _ID, nullable=False),
        sa.Column("entry_id", sa.String(), nullable=True),
        sa.Column("person_id", _ID, nullable=True),
        sa.Column("conversation_id", _ID, nullable=True),
        sa.Column("text_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("saved_by", _ID, nullable=False),
        sa.Column("saved_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_knowledge_question_entry_id", "knowledge_question", ["entry_id"])
    op.create_index("ix_knowledge_question_person_id", "knowledge_question", ["person_id"])
    op.create_index("ix_knowledge_question_conversation_id", "knowledge_question", ["conversation_id"])


def downgrade() -> None:
    for table in ("question", "generation", "comment", "revision", "entry"):
        op.drop_table(f"knowledge_{table}")
