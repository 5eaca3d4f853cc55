"""`ccvd list`, `ccvd show`, `ccvd remove`: what the registry holds. Nothing here needs torch."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..choices import Kind
from ..errors import CcvdError, UsageError
from ..output import date, emit, emit_facts, emit_json, emit_table, size
from ..outputs import as_written
from ..paths import expanded
from ..session import Session
from .history import histories, tell
from .options import JsonOption
from .stored_paths import path_of
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, DataFile

_PANEL = "The registry"
LISTED = ("name", "kind", "class_noun", "base", "task", "bytes", "created")


@dataclass(frozen=True)
class ListOptions:
    kind: Annotated[Kind | None, Option("--kind", help="Only this kind.", show_default=False)] = None
    base: Annotated[
        str | None,
        Option("--base", help="Only those learned on this base: its name or folder.", show_default=False),
    ] = None
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    listing = typer.Typer(help="List what the registry holds.", no_args_is_help=True)
    app.add_typer(listing, name="list", rich_help_panel=_PANEL, epilog="Example: ccvd list concepts")
    command(
        listing,
        "concepts",
        list_concepts,
        examples=("ccvd list concepts", "ccvd list concepts --kind motion --json"),
    )
    command(
        listing,
        "generations",
        list_generations,
        examples=("ccvd list generations", "ccvd list generations --limit 100 --json"),
    )
    command(app, "show", show, examples=("ccvd show V1", "ccvd show V1 --json"), panel=_PANEL)
    command(app, "remove", remove, examples=("ccvd remove V1", "ccvd remove V1 V2 --yes"), panel=_PANEL)


def list_concepts(session: Session, options: ListOptions) -> None:
    """The concepts in the order of learning."""
    with session.registry() as registry:
        concepts, home = registry.list(kind=options.kind), registry.home
    if options.base is not None:
        concepts = [concept for concept in concepts if _is_on(concept, options.base)]
    if options.json:
        emit_json([{key: getattr(concept, key) for key in LISTED} for concept in concepts])
    elif concepts:
        rows = [
            (c.name, c.kind, c.class_noun, c.base, c.task, size(c.bytes), date(c.created)) for c in concepts
        ]
        emit_table(("NAME", "KIND", "CLASS NOUN", "BASE", "TASK", "SIZE", "CREATED"), rows)
    elif options.kind or options.base:
        kind = options.kind or "concept"
        session.say(f"No {kind}{f' on {options.base}' * bool(options.base)} in {home}.")
    else:
        session.say(
            f"No concepts yet in {home}. Teach one: ccvd learn-subject --images FOLDER --class-noun dog"
        )


def _is_on(concept: ConceptView, base: str) -> bool:
    """Whether a base of this name, fingerprint or folder is the one that it was learned on."""
    known = base in (concept.base, concept.base_fingerprint)
    return known or expanded(Path(base)).resolve() == Path(concept.base_location).resolve()


def list_generations(
    session: Session,
    limit: Annotated[int, Option("--limit", min=1, max=1_000_000, help="How many.")] = 20,
    json: JsonOption = False,
) -> None:
    """The latest clips made with this registry, newest first."""
    with session.registry() as registry:
        generations = registry.generations(limit)
    if json:
        emit_json([asdict(generation) for generation in generations])
    elif generations:
        rows = [
            (g.id, date(g.created), g.seed, g.base, g.prompt, as_written(Path(g.output))) for g in generations
        ]
        emit_table(("ID", "CREATED", "SEED", "BASE", "PROMPT", "OUTPUT"), rows)
    else:
        session.say('No clips yet. Make one: ccvd generate "a dog on the beach"')


def show(
    session: Session,
    name: Annotated[str, Argument(help="The concept, such as V1.")],
    json: JsonOption = False,
) -> None:
    """All about one concept: what it was learned from, how, what it consists of, and how well it did over tasks."""
    with session.registry() as registry:
        concept, evaluations = registry.get(name), registry.evaluations(name)
    if json:
        past = [
            {"created": e.created, "after": e.after, "how": e.how, "scores": e.scores} for e in evaluations
        ]
        lines = [history.as_json() for history in histories(concept.kind, evaluations)]
        emit_json(_everything(concept) | {"evaluations": past, "history": lines})
        return
    curve = concept.loss_curve
    emit_facts(
        {
            "name": concept.name,
            "kind": concept.kind,
            "class noun": concept.class_noun,
            "base": f"{concept.base} ({concept.base_location})",
            "task": concept.task,
            "created": date(concept.created),
            "size": f"{size(concept.bytes)}: {concept.parameters:,} parameters at {concept.sites} sites",
            "learned from": ", ".join(_told(file) for file in concept.data),
            **_how(concept),
            **({"leads": f"along {len(path)} boxes"} if (path := path_of(concept)) else {}),
            "recipe": ", ".join(f"{key} {value}" for key, value in concept.recipe.items() if value != ""),
            "seed": concept.seed,
            "loss": f"{curve[0]:.4f} at first, {curve[-1]:.4f} at last" if curve else "not recorded",
            **concept.digests,
        }
    )
    if evaluations:
        tell(concept.kind, evaluations)


def _how(concept: ConceptView) -> dict[str, str]:
    """The size that it was learned at, and who beside it, of concepts that say so."""
    how = concept.how
    facts = {"learned at": f"{how['width']}x{how['height']}"} if {"width", "height"} <= how.keys() else {}
    return facts | ({"learned beside": ", ".join(how["beside"])} if how.get("beside") else {})


def _told(file: DataFile) -> str:
    return f"{file['file']} (mask: {file['mask']})" if "mask" in file else file["file"]


def remove(
    session: Session,
    names: Annotated[list[str], Argument(help="The concepts, such as V1 V2.")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Forget concepts for good, and free the space they took."""
    with session.registry() as registry:
        concepts = registry.find(dict.fromkeys(names))  # all of them exist, or none is removed
        listed = ", ".join(concept.name for concept in concepts)
        if not yes:
            _confirm(
                f"Remove {listed} ({size(sum(concept.bytes for concept in concepts))}) for good?", listed
            )
        freed = registry.remove(*(concept.name for concept in concepts))
    if json:
        emit_json({"removed": [concept.name for concept in concepts], "freed": freed})
        return
    for concept in concepts:
        emit(concept.name)
    session.say(f"Removed {listed}; {size(freed)} freed.")


def _confirm(question: str, listed: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"Removing {listed} for good needs --yes.", "Nothing was removed.")
    if not typer.confirm(question, err=True):
        raise CcvdError("Nothing was removed.")


def _everything(concept: ConceptView) -> dict[str, Any]:
    keys = (
        *LISTED,
        *("base_family", "base_fingerprint", "base_location", "started", "seed", "sites", "parameters"),
        *("recipe", "how", "data", "loss_curve", "digests"),
    )
    return {key: getattr(concept, key) for key in keys} | {"path": path_of(concept)}
