"""Review samples, promoted models, and the score of each message for the watch on drift

Revision: 0002, after 0001.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from escalation.columns import Moment

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Added in place: a copy of the whole table, as batch mode makes on SQLite, would take a large desk hours.
    op.add_column("message", sa.Column("risk_score", sa.Float(), nullable=True))
    op.create_table(
        "review_item",
        sa.Column("id", _ID, nullable=False),
        sa.Column("desk", sa.String(), nullable=False),
        sa.Column("person_id", _ID, nullable=False),
        sa.Column("conversation_id", _ID, nullable=False),
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("weight", _ID, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("risk_machine", sa.String(8), nullable=False),
        sa.Column("risk_assessed", sa.String(8), nullable=True),
        sa.Column("category_machine", sa.String(), nullable=False),
        sa.Column("category_closed", sa.String(), nullable=True),
        sa.Column("marked_by", _ID, nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("decided_by", _ID, nullable=True),
        sa.Column("decided_at", Moment(), nullable=True),
        sa.Column("reject_why", sa.String(), nullable=True),
        sa.Column("topic", sa.String(), nullable=True),
        sa.Column("risk", sa.String(8), nullable=True),
        sa.Column("kinds", sa.JSON(), nullable=True),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("about", sa.String(), nullable=True),
        sa.Column("words_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("used_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("message_id"),
    )
    op.create_index("ix_review_item_state", "review_item", ["desk", "state", "id"])
    op.create_index("ix_review_item_person_id", "review_item", ["person_id"])
    op.create_index("ix_review_item_conversation_id", "review_item", ["conversation_id"])
    op.create_table(
        "promotion",
        sa.Column("id", _ID, nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("staff_id", _ID, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("before", sa.String(), nullable=False),
        sa.Column("back", sa.Boolean(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("promotion")
    op.drop_table("review_item")
    op.drop_column("message", "risk_score")
