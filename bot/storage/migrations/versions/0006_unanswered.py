"""Questions that went unanswered

Revision: 0006, after 0005.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from escalation.columns import Moment

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "unanswered",
        sa.Column("id", _ID, nullable=False),
        sa.Column("desk", sa.String(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("person_id", _ID, nullable=True),
        sa.Column("conversation_id", _ID, nullable=True),
        sa.Column("message_id", _ID, nullable=True),
        sa.Column("reply_id", _ID, nullable=True),
        sa.Column("answered_by", sa.String(), nullable=True),
        sa.Column("settled_by", _ID, nullable=True),
        sa.Column("settled_at", Moment(), nullable=True),
        sa.Column("taken_into", sa.String(), nullable=True),
        sa.Column("dismissed_why", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id"),
    )
    with op.batch_alter_table("unanswered", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_unanswered_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_unanswered_conversation_id"), ["conversation_id"], unique=False)
        batch_op.create_index("ix_unanswered_state", ["desk", "state", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("unanswered")
