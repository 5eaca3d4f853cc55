"""`ccvd export`, `ccvd import`: concepts in files of their own, for another machine or somebody else."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..errors import CcvdError, UsageError, shorten
from ..output import emit, emit_json, size
from ..outputs import check_file
from ..session import Session
from .concepts import LISTED
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
        Path,
        Option(
            "--out",
            "-o",
            metavar="DIR|FILE",
            help="A folder for the files, each named as its concept; or the file, of one concept.",
        ),
    ] = Path(),
    yes: Annotated[bool, Option("--yes", "-y", help="Write over files that are there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write concepts to files that `ccvd import` reads: what was learned and how, and what the photos were called, but no photos or clips."""
    from ..exchange import write

    with session.registry() as registry:
        concepts = registry.find(dict.fromkeys(names))
        files = _files(concepts, out)
        there = [file.name for file in files if file.exists()]
        if there and not yes:
            raise UsageError(
                f"There is {', '.join(there)} in '{files[0].parent}' already.",
                "Name another --out, or write over it with --yes.",
            )
        write(concepts, files)
    if json:
        each = zip(concepts, files, strict=True)
        emit_json([{"name": c.name, "file": file, "bytes": file.stat().st_size} for c, file in each])
        return
    for file in files:
        emit(str(file))
    session.say(f"Elsewhere: {shlex.join(['ccvd', 'import', *(file.name for file in files)])}")


def _files(concepts: Sequence[ConceptView], out: Path) -> list[Path]:
    """One for each concept. Raises UsageError."""
    from ..exchange import SUFFIX

    if out.suffix != SUFFIX or out.is_dir():
        files = [out / f"{concept.name}{SUFFIX}" for concept in concepts]
    elif len(concepts) == 1:
        files = [out]
    else:
        raise UsageError(f"--out '{out}': there are {len(concepts)} concepts.", "Name a folder.")
    for file in files:
        check_file(file)
    return files


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
    from ..exchange import read

    if options.name is not None and len(options.files) > 1:
        raise UsageError(
            f"--name {options.name}: there are {len(options.files)} files.", "Import them one by one."
        )
    found = [(file, *read(file)) for file in options.files]
    names = [card.name if options.name is None else options.name for _, card, _ in found]
    with session.registry() as registry:
        registry.check_writable()
        for k, name in enumerate(names):
            registry.check_name(name)
            if name.lower() in (other.lower() for other in names[:k]):
                raise UsageError(f"Two of these files are called {name}.", "Import one of them with --name.")
        sources = [base.base or _source(registry, card, file) for file, card, _ in found]
        for (file, card, _), source in zip(found, sources, strict=True):
            _check_base(file, card, source)
        opened = {s: open_base(session, s, base.device, base.dtype) for s in dict.fromkeys(sources)}
        each = zip(names, found, sources, strict=True)
        registry.add_all([_checked(name, *of, opened[source]) for name, of, source in each])
        concepts = registry.find(names)
    if options.json:
        emit_json([{field: getattr(concept, field) for field in LISTED} for concept in concepts])
        return
    for concept, file in zip(concepts, options.files, strict=True):
        emit(concept.name)
        session.say(
            f"Imported {concept.kind} {concept.name} ({size(concept.bytes)}) on {concept.base} from {file}."
        )
    session.say(f"Try: {session.command('generate', example_prompt(concepts[:1]))}")


def _source(registry: Registry, card: Card, file: Path) -> str:
    """Where its base is, as far as is known here: a file may not say what is to be fetched. Raises UsageError."""
    known = [c for c in registry.list() if c.base_fingerprint == card.base.fingerprint]
    if known or card.base.name == "mini":
        return base_of(known[-1:])
    raise UsageError(
        f"'{file}' was learned on base {card.base.name}, on which nothing was learned here yet.",
        "Say where that is: --base FOLDER, or a hub id.",
    )


def _check_base(file: Path, card: Card, source: str) -> None:
    """Raises UsageError for a base with other weights than it was learned on."""
    found = find_base(source)
    if card.base.fingerprint != found.fingerprint:
        raise UsageError(
            f"'{file}' was learned on base {card.base.name} with other weights than {found.name} has here.",
            "Name that base with --base.",
        )


def _checked(name: str, file: Path, card: Card, parts: dict[str, bytes], base: Base) -> NewConcept:
    """What the registry stores, once its tensors were seen to fit the base. Raises UsageError."""
    from ccvd_registry import NewConcept

    from ..engine.concept import Learner

    # On Windows an error may still hold what it was about.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        paths = {f"{part}_path": Path(folder, part) for part in parts}
        for path, data in zip(paths.values(), parts.values(), strict=True):
            path.write_bytes(data)
        unpacked = _Unpacked(name, card.kind, card.class_noun, **paths)
        try:
            learner = Learner.load(unpacked, base)
        except CcvdError as error:
            raise UsageError(
                f"'{file}' does not fit base {base.name}: {shorten(error.message)}.", "Have it exported anew."
            ) from error
    told: dict[str, Any] = {**card.as_stored(), **parts}
    return NewConcept(
        name=name, base=base, sites=len(learner.adapters), parameters=learner.parameters, **told
    )


@dataclass(frozen=True)
class _Unpacked:
    """A file's three parts as files, as `Learner.load` reads those of the registry."""

    name: str
    kind: str
    class_noun: str
    adapter_path: Path
    embedding_path: Path
    prototype_path: Path
