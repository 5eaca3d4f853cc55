"""The registry's front door: concepts in and out, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import migrations, names, reading
from .blobs import BlobStore
from .errors import ConceptNotFound, ConceptReplaced, HomeNotWritable, IllegalName, NameTaken, explained
from .views import BaseLike, ConceptView, EvaluationView, GenerationView, NewConcept

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .writing import Writer

# `Registry.list` hides the builtin from annotations in the class body.
ConceptViews = list[ConceptView]
GenerationViews = list[GenerationView]
EvaluationViews = list[EvaluationView]


class Registry:
    """The concepts kept in the folder `home`: `registry.db`, and the tensors under `blobs/`.

    The folder appears with the first write; reading a home that does not exist finds it empty and leaves
    it missing. Any method that touches the database may raise RegistryBusy, RegistryCorrupt,
    RegistryTooNew or HomeNotWritable. Usable as a context manager, which closes the database.
    """

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self.database = self.home / "registry.db"
        self.blobs = BlobStore(self.home / "blobs")

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes what writing has opened; the registry can be used again."""
        if engine := self.__dict__.pop("_engine", None):
            engine.dispose()

    # --- before learning -------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Raises HomeNotWritable if a concept could not be stored here. Creates nothing."""
        place = self.home
        with explained(self.database):
            while not place.exists():
                place = place.parent
        if not place.is_dir():
            raise HomeNotWritable(self.home, f"{place} is not a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise HomeNotWritable(self.home, f"no permission to write in {place}")
        for path in (self.database, self.blobs.root):
            if path.exists() and not os.access(path, os.W_OK):
                raise HomeNotWritable(self.home, f"no permission to write to {path}")

    def check_name(self, name: str) -> None:
        """Raises IllegalName or NameTaken, so that nobody learns for minutes in vain. `add` checks again."""
        if not names.is_legal(name):
            raise IllegalName(name)
        for concept in self.list():
            if names.same(concept.name, name):
                raise NameTaken(name, concept.name, self.next_name())

    def next_name(self, besides: Iterable[str] = ()) -> str:
        """`V<n>` above every V<n> ever learned here, and of `besides`: a removed concept's number is not given to another."""
        ever = reading.names_ever(self.database) if self._readable() else []
        return names.next_after([*ever, *besides])

    # --- reading ---------------------------------------------------------------------------------

    def list(self, kind: str | None = None, base: str | None = None) -> ConceptViews:
        """The concepts in the order of learning, of one `kind` or `base` (name or fingerprint) if given."""
        return reading.concepts(self.database, self.blobs, kind, base) if self._readable() else []

    def find(self, wanted: Iterable[str]) -> ConceptViews:
        """The named concepts, in the order asked for. Raises ConceptNotFound, with the nearest names."""
        known = {concept.name: concept for concept in self.list()}
        found = []
        for name in wanted:
            if name not in known:
                raise ConceptNotFound(name, names.nearest(name, known), None if known else self.home)
            found.append(known[name])
        return found

    def get(self, name: str) -> ConceptView:
        """One concept. Raises ConceptNotFound."""
        return self.find([name])[0]

    def generations(self, limit: int = 20) -> GenerationViews:
        """The latest generations, newest first."""
        return reading.generations(self.database, limit) if self._readable() else []

    def evaluations(self, name: str | None = None) -> EvaluationViews:
        """What evaluations found, oldest first, of one concept if given. Raises ConceptNotFound."""
        if name is not None:
            self.get(name)
        return reading.evaluations(self.database, name) if self._readable() else []

    # --- writing ---------------------------------------------------------------------------------

    def add(self, new: NewConcept) -> ConceptView:
        """Stores a concept, whole or not at all. Raises IllegalName or NameTaken."""
        self.add_all([new])
        return self.get(new.name)

    def add_all(self, concepts: Sequence[NewConcept]) -> None:
        """Stores concepts as consecutive tasks, all of them or none. Raises IllegalName or NameTaken.

        The blobs are written before the rows that refer to them, and all under one write lock: `collect`
        in another process can not mistake them for garbage.
        """
        for new in concepts:
            if not names.is_legal(new.name):
                raise IllegalName(new.name)
        with self._transaction() as writer:
            for new in concepts:
                if holder := writer.holder_of(new.name):
                    raise NameTaken(new.name, holder, self.next_name())
                writer.save_concept(new, self.blobs)

    def remove(self, *names: str) -> int:
        """Forgets concepts, all of them or none, then frees the blobs that nothing refers to any more. Returns the bytes freed.

        Raises ConceptNotFound. Their tasks stay in the history.
        """
        self.find(names)
        with self._transaction() as writer:
            for name in names:
                writer.delete_concept(name)
        return self.collect()

    def collect(self) -> int:
        """Frees blobs without a concept, which an interruption may have left. Returns the bytes freed."""
        if not self._readable():
            return 0
        with self._transaction() as writer:
            return self.blobs.collect(writer.referenced())

    def record_generation(
        self,
        *,
        prompt: str,
        seed: int,
        settings: dict[str, Any],
        concepts: Sequence[ConceptView],
        base: BaseLike,
        output: str | Path,
    ) -> None:
        """Remembers that a clip was made, with the concepts' digests as they are now."""
        with self._transaction() as writer:
            writer.save_generation(
                prompt=prompt,
                seed=seed,
                settings=settings,
                concepts=concepts,
                base=base,
                output=str(output),
            )

    def record_evaluation(
        self, name: str, *, how: dict[str, Any], scores: dict[str, Any], adapter: str | None = None
    ) -> None:
        """Remembers what an evaluation found of a concept, now that so many tasks are learned.

        adapter: the digest of the one that was evaluated, which may have taken hours.

        Raises:
            ConceptNotFound: it is not there, or no longer.
            ConceptReplaced: its name has another adapter by now.
        """
        self.get(name)
        with self._transaction() as writer:
            held = writer.adapter_of(name)
            if held is None:
                raise ConceptNotFound(name, [])
            if adapter not in (None, held):
                raise ConceptReplaced(name)
            writer.save_evaluation(name, how, scores)

    # --- the database ----------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> Engine:
        from .writing import open_engine

        return open_engine(self.database)

    def _readable(self) -> bool:
        """Whether there is anything to read; if so, its schema is at head afterwards."""
        with explained(self.database):
            if not self.database.exists():
                if self.home.exists() and not self.home.is_dir():
                    raise HomeNotWritable(self.home, "it is not a folder")
                return False
        migrations.ensure_head(self.database)
        return True

    @contextmanager
    def _transaction(self) -> Iterator[Writer]:
        from .writing import transaction

        with explained(self.database):
            self.home.mkdir(parents=True, exist_ok=True)
            migrations.ensure_head(self.database)
            with transaction(self._engine) as writer:
                yield writer
