"""How a task was learned, besides its recipe: sizes, and what it was learned beside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    op.add_column("task", sa.Column("how", sa.JSON(), nullable=False, server_default="{}"))
