"""`ccvd evaluate`: how good concepts are, by the field's metrics, and how much of them is left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..comparable import by_task
from ..metric_names import SAID
from ..output import emit, emit_json, emit_table
from ..session import Session
from . import asking, examining
from .asking import EvaluateOptions
from .options import BaseOptions, SampleOptions
from .request import open_base_of
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import Registry


# What evaluations must share, where another word says it better.
_CALLED = {"at_once": "batches", "format": "scoring"}


def register(app: typer.Typer) -> None:
    command(
        app,
        "evaluate",
        evaluate,
        examples=(
            "ccvd evaluate V1",
            "ccvd evaluate --seeds 3 --out scores",
            "ccvd evaluate V3 --references V3=clips/ --prompts prompts.txt --json",
            "ccvd evaluate --forgetting",
            "ccvd evaluate V1 V2 --together",
            "ccvd evaluate V1 --references V1=photos/ --exact",
        ),
        panel="Measuring",
    )


def evaluate(
    session: Session,
    options: EvaluateOptions,
    sampling: SampleOptions,
    base: BaseOptions,
    names: Annotated[
        list[str] | None,
        Argument(metavar="[CONCEPT]...", help="The concepts; all, if none is named.", show_default=False),
    ] = None,
    forgetting: Annotated[
        bool,
        Option(
            "--forgetting", help="Hold the scores against those of earlier evaluations that asked the same."
        ),
    ] = False,
) -> None:
    """Make clips with concepts, one by one or several together, score them, and keep both. What was kept before is not made again."""
    with session.registry() as registry:
        request = asking.request_of(registry, names or [], options, sampling, base)
        asked = asking.asked_of(request, options)
        folders = asking.folders_of(options.references or [], [c.name for c in request.concepts])
        asking.check_out(options.out, [c.name for c in request.concepts])
        asking.check_encoders(request.source, options.clip, exact=options.exact)
        opened = open_base_of(session, request)
        opened.latent_shape(request.settings.frames, request.settings.height, request.settings.width)
        examiner = examining.open_encoders(opened, options.clip, options.dino)
        held = {
            c.name: examining.references_in(
                session, folders[c.name], c.kind, opened.family, examiner, request.settings
            )
            for c in request.concepts
            if c.name in folders
        }
        if options.exact:
            kinds = {c.name: c.kind for c in request.concepts}
            examiner = examining.with_judges(session, opened, examiner, kinds, held)
        report = list(examining.examine(session, registry, request, opened, examiner, asked, held, options))
        alone = [row for row in report if row.alone]
        lost = _forgotten(registry, alone) if forgetting else None
        for name, keys in _otherwise(registry, alone) if forgetting else ():
            way = f" --references {name}=DIR gives what it was learned from." if "references" in keys else ""
            session.warn(f"{name} is not compared: before, its evaluation had other {', '.join(keys)}.{way}")
    if options.json:
        emit_json(
            {
                "concepts": [row.as_json() for row in report if row.alone],
                **(
                    {"together": [row.as_json() for row in report if not row.alone]} if asked.together else {}
                ),
                **({"forgetting": lost} if forgetting else {}),
            }
        )
        return
    metrics = [m for m in SAID if any(m in row.found for row in report)]
    rows = [(row.concept, row.kind, row.clips, *(row.said(m) for m in metrics)) for row in report]
    emit_table(("CONCEPT", "KIND", "CLIPS", *(SAID[m] for m in metrics)), rows)
    if lost is not None:
        _tell_forgetting(session, lost)


# --- what is told ------------------------------------------------------------------------------------


def _forgotten(registry: Registry, report: Sequence[examining.Measured]) -> dict[str, Any]:
    """By metric: each concept's means over the evaluations that asked the same, oldest first; and what was lost on average."""
    from ..measure.forgetting import forgetting

    histories: dict[str, dict[str, list[float]]] = {}
    every = registry.evaluations()
    for row in report:
        alike = [past for past in every if (past.concept, past.how) == (row.concept, row.how)]
        for past in by_task(alike):
            for metric, score in past.scores.items():
                histories.setdefault(metric, {}).setdefault(row.concept, []).append(score["mean"])
    lost = {}
    for metric, of_concepts in histories.items():
        found = asdict(forgetting(of_concepts))
        lost[metric] = {k: None if math.isnan(v) else round(v, 5) for k, v in found.items()} | {
            "histories": of_concepts
        }
    return lost


def _otherwise(registry: Registry, report: Sequence[examining.Measured]) -> Iterator[tuple[str, list[str]]]:
    """Who was evaluated after other tasks, but not by the same questions, and in what the most alike of those evaluations differs."""
    every = registry.evaluations()
    for row in report:
        its = [past for past in every if past.concept == row.concept]
        if len(by_task([past for past in its if past.how == row.how])) > 1:
            continue
        ways = [sorted(k for k in {*e.how, *row.how} if e.how.get(k) != row.how.get(k)) for e in its]
        if differ := min(filter(None, reversed(ways)), key=len, default=None):
            yield row.concept, [_CALLED.get(key, key) for key in differ]


def _tell_forgetting(session: Session, lost: Mapping[str, Any]) -> None:
    again = {metric: facts for metric, facts in lost.items() if facts["since_first"] is not None}
    if not again:
        session.say(
            "Nobody was evaluated before by the same questions and references: there is nothing to compare with yet."
        )
        return
    emit("")
    rows = [
        (
            f"F-{SAID[metric]}",
            f"{facts['since_first']:+.3f}",
            f"{facts['since_best']:+.3f}",
            sum(len(scores) > 1 for scores in facts["histories"].values()),
        )
        for metric, facts in again.items()
    ]
    emit_table(("FORGOTTEN", "SINCE FIRST", "SINCE BEST", "CONCEPTS"), rows)
