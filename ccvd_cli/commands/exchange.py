"""`ccvd export`, `ccvd import`: concepts in files of their own, for another machine or somebody else."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ..errors import CcvdError, UsageError
from ..output import emit, emit_json, size
from ..outputs import check_file
from ..session import Session
from .opening import find_base, open_base
from .options import BaseOptions, JsonOption
from .previews import example_prompt
from .request import base_of
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, NewConcept, Registry

    from ..engine.bases.contract import Base
    from ..exchange import Card

_PANEL = "The registry"
_FIELDS = ("name", "kind", "class_noun", "base", "task", "bytes", "created")


def register(app: typer.Typer) -> None:
    command(
        app,
        "export",
        export_concepts,
        examples=("ccvd export V1", "ccvd export V1 V2 --out shared/"),
        panel=_PANEL,
    )
    command(
        app,
        "import",
        import_concepts,
        examples=("ccvd import V1.safetensors", "ccvd import V1.safetensors --name rex"),
        panel=_PANEL,
    )


def export_concepts(
    session: Session,
    names: Annotated[list[str], Argument(help="The concepts, such as V1 V2.")],
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="Where the files go, each named as its concept.")
    ] = Path(),
    yes: Annotated[bool, Option("--yes", "-y", help="Write over files that are there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write concepts to files that `ccvd import` reads: what was learned and how, without photos or clips."""
    from ..exchange import SUFFIX, write

    with session.registry() as registry:
        concepts = registry.find(dict.fromkeys(names))
        files = [out / f"{concept.name}{SUFFIX}" for concept in concepts]
        for file in files:
            check_file(file)
        there = [file.name for file in files if file.exists()]
        if there and not yes:
            raise UsageError(
                f"'{out}' has {', '.join(there)} already.",
                "Name another --out, or write over it with --yes.",
            )
        for concept, file in zip(concepts, files, strict=True):
            write(concept, file)
    if json:
        each = zip(concepts, files, strict=True)
        emit_json([{"name": c.name, "file": file, "bytes": file.stat().st_size} for c, file in each])
        return
    for file in files:
        emit(str(file))
    session.say(f"Elsewhere: {shlex.join(['ccvd', 'import', *(file.name for file in files)])}")


@dataclass(frozen=True)
class ImportOptions:
    """What comes in, and what it is called here."""

    files: Annotated[
        list[Path], Argument(metavar="FILE", help="What `ccvd export` wrote.", show_default=False)
    ]
    name: Annotated[
        str | None, Option("--name", help="What it is called here.", show_default="as it was")
    ] = None
    json: JsonOption = False


def import_concepts(session: Session, options: ImportOptions, base: BaseOptions) -> None:
    """Take in concepts from files that `ccvd export` wrote: all of them, or none. They need the base that they were learned on."""
    from ccvd_registry import NameTaken

    from ..exchange import read

    if options.name is not None and len(options.files) > 1:
        raise UsageError(
            f"--name {options.name}: there are {len(options.files)} files.", "Import them one by one."
        )
    found = [(file, *read(file)) for file in options.files]
    with session.registry() as registry:
        registry.check_writable()
        names = [options.name or card.name for _, card, _ in found]
        for name in names:
            _check_free(registry, name)
        if double := next((name for k, name in enumerate(names) if name.lower() in _lower(names[:k])), None):
            raise UsageError(f"Two of these files are called {double}.", "Import one of them with --name.")
        bases: dict[str, Base] = {}
        news = []
        for name, (file, card, parts) in zip(names, found, strict=True):
            source = base.base or _source(registry, card, file)
            find_base(source)
            if source not in bases:
                bases[source] = open_base(session, source, base.device, base.dtype)
            news.append(_checked(name, card, parts, bases[source], file))
        try:
            registry.add_all(news)
        except NameTaken as taken:  # by another process meanwhile
            raise _taken(taken.name, registry) from taken
        _tell(session, registry.find(names), options)


def _lower(names: Sequence[str]) -> list[str]:
    return [name.lower() for name in names]


def _check_free(registry: Registry, name: str) -> None:
    from ccvd_registry import NameTaken

    try:
        registry.check_name(name)
    except NameTaken as taken:
        raise _taken(name, registry) from taken


def _taken(name: str, registry: Registry) -> UsageError:
    return UsageError(
        f"The name {name} is taken here.", f"Give it another, such as --name {registry.next_name()}."
    )


def _source(registry: Registry, card: Card, file: Path) -> str:
    """Where its base is, as far as is known here: a file may not say what is to be fetched. Raises UsageError."""
    known = [c for c in registry.list() if c.base_fingerprint == card.base.fingerprint]
    if known or card.base.name == "mini":
        return base_of(known[-1:])
    raise UsageError(
        f"'{file}' was learned on base {card.base.name}, on which nothing was learned here yet.",
        "Say where that is: --base FOLDER, or a hub id.",
    )


def _checked(name: str, card: Card, parts: dict[str, bytes], base: Base, file: Path) -> NewConcept:
    """What the registry stores, once its tensors were seen to fit the base. Raises UsageError."""
    from ccvd_registry import NewConcept

    from ..engine.concept import Learner

    if card.base.fingerprint != base.fingerprint:
        raise UsageError(
            f"'{file}' was learned on base {card.base.name} with other weights than {base.name} has here.",
            "Name that base with --base.",
        )
    with tempfile.TemporaryDirectory() as folder:
        unpacked = _Unpacked(name, card.kind, card.class_noun, Path(folder))
        for part, data in parts.items():
            (unpacked.folder / part).write_bytes(data)
        try:
            learner = Learner.load(unpacked, base)
        except CcvdError as error:
            raise UsageError(
                f"'{file}' does not fit base {base.name}: {error.message}.", "Have it exported anew."
            ) from error
    return NewConcept(
        name=name,
        kind=card.kind,
        class_noun=card.class_noun,
        base=base,
        seed=card.seed,
        recipe=card.recipe.model_dump(mode="json"),
        data=[file.model_dump(exclude_none=True) for file in card.data],  # type: ignore[misc]
        how=card.model_dump(mode="json")["how"],
        loss_curve=list(card.loss_curve),
        sites=len(learner.adapters),
        parameters=learner.parameters,
        started=card.started,
        **parts,
    )


@dataclass(frozen=True)
class _Unpacked:
    """The three parts of a file as files, as `Learner.load` reads those of the registry."""

    name: str
    kind: str
    class_noun: str
    folder: Path

    @property
    def adapter_path(self) -> Path:
        return self.folder / "adapter"

    @property
    def embedding_path(self) -> Path:
        return self.folder / "embedding"

    @property
    def prototype_path(self) -> Path:
        return self.folder / "prototype"


def _tell(session: Session, concepts: Sequence[ConceptView], options: ImportOptions) -> None:
    if options.json:
        emit_json([{field: getattr(concept, field) for field in _FIELDS} for concept in concepts])
        return
    for concept, file in zip(concepts, options.files, strict=True):
        emit(concept.name)
        session.say(f"Imported {concept.kind} {concept.name} ({size(concept.bytes)}) from {file}.")
    session.say(f"Try: {session.command('generate', example_prompt(concepts[:1]))}")
