"""Reading: plain SQL through the standard library.

A read is one join. Loading SQLModel for it takes a third of a second, most of what a listing may take in
all, so only writing does that.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import names
from .blobs import BlobStore
from .errors import RegistryCorrupt, explained
from .views import KINDS, ConceptView, EvaluationView, GenerationView

BUSY_SECONDS = 30.0

_CONCEPTS = """
SELECT concept.name, concept.kind, concept.class_noun, concept.created,
       base.name AS base, base.family AS base_family,
       base.fingerprint AS base_fingerprint, base.location AS base_location,
       task."order" AS task, task.started, task.seed, task.recipe, task.how, task.data, task.loss_curve,
       adapter.sites, adapter.parameters,
       adapter.digest AS adapter_digest, embedding.digest AS embedding_digest,
       prototype.digest AS prototype_digest,
       adapter.bytes + embedding.bytes + prototype.bytes AS bytes
FROM concept
JOIN base ON base.id = concept.base_id
JOIN task ON task.id = concept.task_id
JOIN adapter ON adapter.concept_id = concept.id
JOIN embedding ON embedding.concept_id = concept.id
JOIN prototype ON prototype.concept_id = concept.id
WHERE (:kind IS NULL OR concept.kind = :kind) AND (:base IS NULL OR :base IN (base.name, base.fingerprint))
ORDER BY task."order"
"""

_GENERATIONS = """
SELECT generation.id, generation.created, generation.prompt, generation.seed, generation.settings,
       generation.concepts, base.name AS base, generation.output
FROM generation JOIN base ON base.id = generation.base_id
ORDER BY generation.id DESC LIMIT :limit
"""

_EVALUATIONS = """
SELECT concept.name AS concept, evaluation.created, evaluation.after, evaluation.how, evaluation.scores
FROM evaluation JOIN concept ON concept.id = evaluation.concept_id
WHERE :name IS NULL OR concept.name = :name
ORDER BY evaluation.id
"""


def concepts(database: Path, blobs: BlobStore, kind: str | None, base: str | None) -> list[ConceptView]:
    """The concepts in the order of learning, of any or one kind and base (its name or fingerprint)."""
    rows = _query(database, _CONCEPTS, kind=kind, base=base)
    found = [ConceptView(**_decoded(row, database), blobs=blobs) for row in rows]
    for concept in found:  # names become folders and words of a prompt, whoever wrote the database
        if not names.is_legal(concept.name) or concept.kind not in KINDS:
            raise RegistryCorrupt(database, f"it has a {concept.kind!r} called {concept.name!r}")
    return found


def generations(database: Path, limit: int) -> list[GenerationView]:
    """The `limit` latest generations, newest first."""
    return [GenerationView(**_decoded(row, database)) for row in _query(database, _GENERATIONS, limit=limit)]


def evaluations(database: Path, name: str | None) -> list[EvaluationView]:
    """All evaluations, or those of the concept `name`, oldest first."""
    return [EvaluationView(**_decoded(row, database)) for row in _query(database, _EVALUATIONS, name=name)]


def names_ever(database: Path) -> list[str]:
    """Every name that was ever learned, those of removed concepts too."""
    return [row["name"] for row in _query(database, "SELECT name FROM task")]


def connect(database: Path) -> sqlite3.Connection:
    """A connection that changes no data. `database` exists."""
    mode = "mode=rw"  # not ro: the first to come after a crash replays the log, whoever it is
    if not os.access(database.parent, os.W_OK) and not Path(f"{database}-wal").exists():
        mode = "immutable=1"  # a read-only copy: SQLite could not create the log's index beside it
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA query_only=ON")
    return connection


def _query(database: Path, statement: str, **parameters: object) -> list[sqlite3.Row]:
    with explained(database), closing(connect(database)) as connection:
        return connection.execute(statement, parameters).fetchall()


def _decoded(row: sqlite3.Row, database: Path) -> dict[str, Any]:
    """A row's values as Python sees them: JSON and dates are text to SQLite. Raises RegistryCorrupt."""
    values = dict(row)
    try:
        for key in values.keys() & {"recipe", "data", "loss_curve", "settings", "concepts", "how", "scores"}:
            values[key] = json.loads(values[key])
        for key in values.keys() & {"created", "started"}:
            values[key] = datetime.fromisoformat(values[key]).replace(tzinfo=timezone.utc)
    except (ValueError, TypeError) as error:
        raise RegistryCorrupt(database, f"{key} is {values[key]!r}") from error
    return values
