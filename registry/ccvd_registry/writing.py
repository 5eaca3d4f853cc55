"""Writing: SQLModel on SQLite, one writer at a time.

Every transaction takes the write lock when it begins, so what it reads (the last task's order, whether a
name is free, which blobs are referenced) still holds when it commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event, func
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, create_engine, select

from . import migrations
from .blobs import BlobStore
from .errors import explain
from .reading import BUSY_SECONDS
from .tables import Adapter, Base, Concept, Embedding, Evaluation, Generation, Prototype, Task
from .views import BaseLike, ConceptView, NewConcept


def open_engine(database: Path, *, foreign_keys: bool = True) -> Engine:
    """An engine whose every transaction is a writer's. Nothing is opened yet."""
    url = URL.create("sqlite", database=str(database))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # `begin`, below, begins transactions; the driver does not guess
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        # Kept in the file, so a no-op after the first time. Two processes that both create the file may
        # collide here, and SQLite does not wait: whoever loses goes on, the winner's choice is in the file.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode=WAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def upgrade(database: Path) -> None:
    """Runs the migrations that `database` lacks, each with its record, all in one transaction.

    Whoever comes second waits for the lock, and then finds nothing left to do.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    # Rebuilding a table, SQLite's way to alter it, would cascade into the tables that refer to it.
    engine = open_engine(database, foreign_keys=False)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise explain(error.orig, database) from error
    finally:
        engine.dispose()


@contextmanager
def transaction(engine: Engine) -> Iterator[Writer]:
    """Everything or nothing. Raises RegistryError in the place of what SQLite says."""
    try:
        with Session(engine) as session, session.begin():
            session.connection()  # takes the lock now; a session would wait for its first statement
            yield Writer(session)
    except DBAPIError as error:
        raise explain(error.orig, Path(str(engine.url.database))) from error


class Writer:
    """What can be done inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save_base(self, base: BaseLike) -> int:
        """The id of a base's row. A known fingerprint keeps its row and only gets its new name and place."""
        row = self._session.exec(select(Base).where(Base.fingerprint == base.fingerprint)).first()
        if row is None:
            row = Base(name="", family="", fingerprint=base.fingerprint, location="")
        row.name, row.family, row.location = base.name, base.family, str(base.location)
        return self._inserted(row)

    def save_concept(self, new: NewConcept, blobs: BlobStore) -> None:
        """Blobs first, then their rows: an interruption leaves files without a row, never the reverse."""
        adapter, embedding, prototype = (
            {"digest": blobs.put(data), "bytes": len(data)}
            for data in (new.adapter, new.embedding, new.prototype)
        )
        base_id = self.save_base(new.base)
        task = Task(
            order=self._last_task() + 1,
            name=new.name,
            kind=new.kind,
            base_id=base_id,
            started=new.started,
            seed=new.seed,
            recipe=new.recipe,
            how=new.how,
            data=[{**file} for file in new.data],
            loss_curve=new.loss_curve,
        )
        concept = Concept(
            name=new.name,
            kind=new.kind,
            class_noun=new.class_noun,
            base_id=base_id,
            task_id=self._inserted(task),
        )
        concept_id = self._inserted(concept)
        self._session.add_all(
            [
                Adapter(concept_id=concept_id, sites=new.sites, parameters=new.parameters, **adapter),
                Embedding(concept_id=concept_id, **embedding),
                Prototype(concept_id=concept_id, **prototype),
            ]
        )

    def save_generation(
        self,
        *,
        prompt: str,
        seed: int,
        settings: dict[str, Any],
        concepts: Sequence[ConceptView],
        base: BaseLike,
        output: str,
    ) -> None:
        self._session.add(
            Generation(
                prompt=prompt,
                seed=seed,
                settings=settings,
                concepts=[{"name": concept.name, **concept.digests} for concept in concepts],
                base_id=self.save_base(base),
                output=output,
            )
        )

    def save_evaluation(self, name: str, how: dict[str, Any], scores: dict[str, Any]) -> None:
        """Of the concept `name`, which there is."""
        concept_id = self._session.exec(select(Concept.id).where(Concept.name == name)).one()
        assert concept_id is not None
        self._session.add(Evaluation(concept_id=concept_id, after=self._last_task(), how=how, scores=scores))

    def adapter_of(self, name: str) -> str | None:
        """The digest of a concept's adapter, if there is that concept."""
        held = select(Adapter.digest).join(Concept).where(Concept.name == name)
        return self._session.exec(held).first()

    def delete_concept(self, name: str) -> None:
        """The concept and, by cascade, its parts. Its task stays: that it was learned remains true."""
        for concept in self._session.exec(select(Concept).where(Concept.name == name)):
            self._session.delete(concept)

    def holder_of(self, name: str) -> str | None:
        """The concept that has `name`, in whatever case."""
        return self._session.exec(select(Concept.name).where(Concept.name == name)).first()

    def referenced(self) -> set[str]:
        """The digests of every part of every concept."""
        parts = (Adapter, Embedding, Prototype)
        return {digest for part in parts for digest in self._session.exec(select(part.digest))}

    def _last_task(self) -> int:
        """The order of the task that was learned last; 0 for none."""
        return self._session.exec(select(func.max(Task.order))).one() or 0

    def _inserted(self, row: Base | Task | Concept) -> int:
        self._session.add(row)
        self._session.flush()
        assert row.id is not None  # given by the flush
        return row.id
