from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from registry_material import concept

from ccvd_registry import Registry, RegistryCorrupt, RegistryTooNew, migrations
from ccvd_registry.tables import Table
from ccvd_registry.writing import open_engine, upgrade

NEXT = f"{int(migrations.HEAD) + 1:04}"


def test_the_migrations_lead_to_the_tables(registry: Registry) -> None:
    registry.add(concept("V1"))
    engine = open_engine(registry.database)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_the_migrations_are_one_line_whose_end_is_known_without_alembic() -> None:
    script = ScriptDirectory(str(migrations.FOLDER))
    assert script.get_heads() == [migrations.HEAD]
    files = sorted((migrations.FOLDER / "versions").glob("*.py"))
    assert [path.stem[:4] for path in files] == [f"{number:04}" for number in range(1, len(files) + 1)]


def test_a_new_registry_is_at_head_in_wal_mode(registry: Registry) -> None:
    registry.add(concept("V1"))
    assert migrations.revision(registry.database) == migrations.HEAD
    with closing(sqlite3.connect(registry.database)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_an_interrupted_creation_is_completed(registry: Registry, content: bytes | None) -> None:
    registry.home.mkdir(parents=True)
    if content is not None:
        registry.database.write_bytes(content)
    assert registry.list() == []
    assert registry.add(concept("V1")).task == 1


def test_an_older_registry_is_upgraded_by_reading_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later migration that rebuilds a table others refer to must not cascade into them."""
    registry.add(concept("V1"))
    registry.close()
    later = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / f"{NEXT}_colour.py").write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '{NEXT}', '{migrations.HEAD}'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('concept', recreate='always') as batch:\n"
        "        batch.add_column(sa.Column('colour', sa.String))\n"
    )
    monkeypatch.setattr(migrations, "FOLDER", later)
    monkeypatch.setattr(migrations, "HEAD", NEXT)

    assert [view.name for view in registry.list()] == ["V1"]
    assert migrations.revision(registry.database) == NEXT


def test_a_failed_upgrade_leaves_the_old_schema(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(concept("V1"))
    registry.close()
    later = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / f"{NEXT}_broken.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = '{NEXT}', '{migrations.HEAD}'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (id INTEGER)')\n"
        "    raise ZeroDivisionError\n"
    )
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "FOLDER", later)
        patched.setattr(migrations, "HEAD", NEXT)
        with pytest.raises(ZeroDivisionError):
            registry.list()
    assert migrations.revision(registry.database) == migrations.HEAD
    with closing(sqlite3.connect(registry.database)) as database:
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()
    assert [view.name for view in registry.list()] == ["V1"]


def test_a_registry_from_a_later_version_is_left_alone(registry: Registry) -> None:
    registry.add(concept("V1"))
    registry.close()
    with closing(sqlite3.connect(registry.database)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for ask in (registry.list, lambda: registry.add(concept("V2"))):
        with pytest.raises(RegistryTooNew, match="9999"):
            ask()


def test_a_file_that_is_no_database_is_left_alone(registry: Registry) -> None:
    registry.home.mkdir(parents=True)
    registry.database.write_bytes(b"my shopping list\n" * 100)
    for ask in (registry.list, lambda: registry.add(concept("V1"))):
        with pytest.raises(RegistryCorrupt, match="not a database"):
            ask()
    assert registry.database.read_bytes() == b"my shopping list\n" * 100


def test_a_registry_of_every_earlier_schema_is_read_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(concept("V1"))
    registry.close()
    for number in range(1, int(migrations.HEAD)):
        home = tmp_path / f"home-{number}"
        shutil.copytree(registry.home, home, ignore=shutil.ignore_patterns("registry.db*"))
        old, earlier = tmp_path / f"old-{number}", Registry(home)
        shutil.copytree(migrations.FOLDER, old, ignore=shutil.ignore_patterns("__pycache__"))
        for later in (old / "versions").glob("*.py"):
            if int(later.stem[:4]) > number:
                later.unlink()
        with monkeypatch.context() as patched:
            patched.setattr(migrations, "FOLDER", old)
            upgrade(earlier.database)
        copy_rows(registry.database, earlier.database)
        assert migrations.revision(earlier.database) == f"{number:04}"
        stored = earlier.get("V1")
        assert stored.recipe == concept("V1").recipe and stored.how == {}  # not noted then
        stored.verify()
        earlier.record_evaluation("V1", how={}, scores={"clip_t": 0.3})
        assert [view.scores for view in earlier.evaluations("V1")] == [{"clip_t": 0.3}]
        assert earlier.add(concept("V2")).how == {"height": 64, "width": 64}
        earlier.close()


def copy_rows(source: Path, target: Path) -> None:
    """As much of one database as another's schema has a place for."""
    with closing(sqlite3.connect(target)) as database, database:
        database.execute("ATTACH ? AS source", (str(source),))
        tables = [
            row[0] for row in database.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
        ]
        for table in tables:
            if table != "alembic_version":
                columns = [row[1] for row in database.execute(f"PRAGMA main.table_info({table})")]
                listed = ", ".join(f'"{column}"' for column in columns)
                database.execute(f"INSERT INTO main.{table} ({listed}) SELECT {listed} FROM source.{table}")
