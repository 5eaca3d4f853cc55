"""The schema's history, append-only: a new file in `versions/`, `<four digits>_<what>.py`, is the new head.

A database at head is recognised by reading one cell; alembic is imported only to move one that is behind.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import RegistryTooNew, explained
from ..reading import connect

FOLDER = Path(__file__).parent
HEAD = max(path.stem[:4] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def ensure_head(database: Path) -> None:
    """Creates or upgrades the schema of `database`. Raises RegistryTooNew if it is ahead."""
    found = revision(database)
    if found is not None and found > HEAD:
        raise RegistryTooNew(database, found, HEAD)
    if found != HEAD:
        from ..writing import upgrade

        upgrade(database)


def revision(database: Path) -> str | None:
    """The schema that `database` is at; None if it is missing or still empty."""
    if not database.exists():
        return None
    with explained(database), closing(connect(database)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
    return None if row is None else str(row[0])
