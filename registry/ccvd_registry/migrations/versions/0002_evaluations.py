"""What evaluations found of concepts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "concept_id",
            sa.Integer,
            sa.ForeignKey("concept.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("after", sa.Integer, nullable=False),
        sa.Column("how", sa.JSON, nullable=False),
        sa.Column("scores", sa.JSON, nullable=False),
    )
