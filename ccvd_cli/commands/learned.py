"""What is said of concepts once they are learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import duration, emit, emit_json, size
from ..session import Session
from .previews import example_prompt

if TYPE_CHECKING:
    from ccvd_registry import ConceptView

    from .examining import Measured
    from .learning import Learning, ToLearn

_NAMED = 6  # so many files are named in the summary; the rest are counted
_FIELDS = ("name", "kind", "class_noun", "base", "task", "bytes", "created", "recipe")


def report(
    session: Session,
    concepts: Sequence[ConceptView],
    learning: Learning,
    previews: list[Path],
    seconds: float,
    scores: Mapping[str, Measured] | None,
    *,
    as_json: bool,
) -> None:
    """Names or JSON on stdout (of several concepts a list), a summary on stderr. `scores` None: nobody asked for them."""
    of_each = list(zip(concepts, learning.wanted, strict=True))
    if as_json:
        every = [_facts(concept, new, previews, seconds) for concept, new in of_each]
        if scores is not None:
            for facts in every:
                row = scores.get(facts["name"])
                facts["evaluation"] = row.as_json() if row else None
        emit_json(every if len(every) > 1 else every[0])
    else:
        for concept in concepts:
            emit(concept.name)
    for concept, new in of_each:
        skipped = [path for path, _ in new.loaded.skipped]
        session.say(
            f"Learned {concept.kind} {concept.name} on {concept.base} in {duration(seconds)} "
            f"({size(concept.bytes)}) from {files(new.loaded.used)}"
            f"{f'; skipped {files(skipped)}' if skipped else ''}."
        )
        if scores and concept.name in scores:
            session.say(f"Scores of {scores[concept.name].words()}")
    for path in previews[-1:]:
        session.say(f"Preview: {path}")
    session.say(f"Try: {session.command('generate', example_prompt(concepts))}")


def _facts(concept: ConceptView, new: ToLearn, previews: list[Path], seconds: float) -> dict[str, Any]:
    return {
        **{field: getattr(concept, field) for field in _FIELDS},
        "used": [path.name for path in new.loaded.used],
        "skipped": [{"file": path.name, "reason": why} for path, why in new.loaded.skipped],
        "loss": concept.loss_curve[-1] if concept.loss_curve else None,
        "seconds": round(seconds, 1),
        "previews": previews,
    }


def files(paths: list[Path]) -> str:
    """How many, and the first few names."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    names = ", ".join(path.name for path in paths[:_NAMED])
    return f"{len(paths)} file{'s' if len(paths) != 1 else ''} ({names}{more})"
