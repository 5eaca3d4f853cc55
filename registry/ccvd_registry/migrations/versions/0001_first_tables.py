"""Bases, tasks, concepts with their three parts, and generations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "base",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("family", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("location", sa.String, nullable=False),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("order", sa.Integer, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("base_id", sa.Integer, sa.ForeignKey("base.id"), nullable=False),
        sa.Column("started", sa.DateTime, nullable=False),
        sa.Column("finished", sa.DateTime, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("recipe", sa.JSON, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("loss_curve", sa.JSON, nullable=False),
    )
    op.create_table(
        "concept",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(collation="NOCASE"), nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("class_noun", sa.String, nullable=False),
        sa.Column("base_id", sa.Integer, sa.ForeignKey("base.id"), nullable=False),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False, unique=True),
        sa.Column("created", sa.DateTime, nullable=False),
    )
    _create_part(
        "adapter",
        sa.Column("sites", sa.Integer, nullable=False),
        sa.Column("parameters", sa.Integer, nullable=False),
    )
    _create_part("embedding")
    _create_part("prototype")
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("prompt", sa.String, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("concepts", sa.JSON, nullable=False),
        sa.Column("base_id", sa.Integer, sa.ForeignKey("base.id"), nullable=False),
        sa.Column("output", sa.String, nullable=False),
    )


def _create_part(name: str, *facts: sa.Column[int]) -> None:
    op.create_table(
        name,
        sa.Column(
            "concept_id", sa.Integer, sa.ForeignKey("concept.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        *facts,
    )
