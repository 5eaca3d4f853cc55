"""`ccvd evaluate`: how good concepts are, by the field's metrics, and how much of them is left."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..errors import UsageError
from ..metric_names import SAID
from ..output import emit, emit_json, emit_table
from ..outputs import check_output
from ..session import Session
from . import examining
from .opening import find_base
from .options import LARGEST_SEED, BaseOptions, JsonOption, SampleOptions
from .request import Request, base_of, common_base, open_base_of, sample_settings
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..measure.metrics import Estimate
    from ..measure.questions import Question


def _measuring(name: str, help: str, metavar: str, default: str = "") -> Any:
    return Option(
        name, help=help, metavar=metavar, show_default=default or False, rich_help_panel="Measuring"
    )


@dataclass(frozen=True)
class EvaluateOptions:
    """What is asked, by whom it is judged, and where it is kept."""

    prompts: Annotated[
        Path | None,
        _measuring("--prompts", "Prompts to ask, one a line; each names one concept.", "FILE", "built in"),
    ] = None
    count: Annotated[int, Option("--count", min=1, help="How many of the built-in prompts.")] = 8
    seeds: Annotated[int, Option("--seeds", min=1, help="Clips of each prompt.")] = 1
    seed: Annotated[int, Option("--seed", min=0, max=LARGEST_SEED, help="The first seed.")] = 0
    batch: Annotated[
        int | None,
        Option("--batch", min=1, help="Clips made at once.", show_default="8 on the embedded base, else 1"),
    ] = None
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Where clips and scores are kept.")] = (
        Path("evaluation")
    )
    references: Annotated[
        list[str] | None,
        _measuring(
            "--references",
            "What a concept was learned from, to be held against: V1=photos/. Repeatable.",
            "NAME=DIR",
        ),
    ] = None
    clip: Annotated[
        str | None,
        _measuring(
            "--clip",
            "CLIP in open_clip's layout: a folder or a hub id.",
            "MODEL",
            "the base's own, else ViT-B/32",
        ),
    ] = None
    dino: Annotated[
        str | None,
        _measuring(
            "--dino",
            "DINO in transformers' layout: a folder or a hub id.",
            "MODEL",
            "none on the embedded base, else ViT-S/16",
        ),
    ] = None
    json: JsonOption = False


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
    """Make clips with concepts, score them, and keep both. What was kept before is not made again."""
    with session.registry() as registry:
        request = _request(registry, names or [], options, sampling, base)
        asked, folders = _asked(request, options), _references(options.references or [], request.concepts)
        _check_out(options.out)
        examining.check_encoders(request, options)
        opened = open_base_of(session, request)
        opened.latent_shape(request.settings.frames, request.settings.height, request.settings.width)
        examiner = examining.open_encoders(opened, options)
        exams = examining.exams(session, registry, request, opened, examiner, asked, folders, options)
        report = [
            examining.measured(session, registry, opened, examiner, c, exams[c.name], options)
            for c in request.concepts
        ]
        lost = _forgotten(registry, report) if forgetting else None
    if options.json:
        emit_json(
            {"concepts": [row.as_json() for row in report], **({"forgetting": lost} if forgetting else {})}
        )
        return
    metrics = [m for m in SAID if any(m in row.found for row in report)]
    rows = [(row.concept, row.kind, row.clips, *(_said(row.found.get(m)) for m in metrics)) for row in report]
    emit_table(("CONCEPT", "KIND", "CLIPS", *(SAID[m] for m in metrics)), rows)
    if lost is not None:
        _tell_forgetting(session, lost)


# --- before a base is loaded -------------------------------------------------------------------------


def _request(
    registry: Registry,
    names: Sequence[str],
    options: EvaluateOptions,
    sampling: SampleOptions,
    base: BaseOptions,
) -> Request:
    """The concepts, on one base, and how they are sampled. Raises UsageError."""
    from ..settings import SAMPLING

    concepts = registry.find(dict.fromkeys(names)) if names else registry.list()
    if not concepts:
        raise UsageError(
            "There are no concepts to evaluate.", "Teach one: ccvd learn-subject --images FOLDER"
        )
    fingerprint, source = common_base(concepts), base.base or base_of(concepts)
    settings = sample_settings(SAMPLING[find_base(source).family], sampling, options.seed)
    if settings.frames < 2:
        raise UsageError("--frames 1: a picture does not move.", "Measure clips of 2 frames or more.")
    if settings.open_to_others and (options.batch or 1) > 1:
        raise UsageError(
            f"--batch {options.batch}: where others may join a prompt, each is weighed alone.",
            "Leave --batch out, or name concepts by --aggregation named.",
        )
    return Request(
        prompt="",
        concepts=concepts,
        source=source,
        fingerprint=fingerprint,
        settings=settings,
        device=base.device,
        dtype=base.dtype,
    )


def _asked(request: Request, options: EvaluateOptions) -> dict[str, list[Question]]:
    """By concept. Raises UsageError."""
    from ..measure.questions import built_in, from_file

    if options.prompts:
        return from_file(options.prompts, {c.name: (c.kind, c.class_noun) for c in request.concepts})
    family = find_base(request.source).family
    return {c.name: built_in(c.name, c.kind, c.class_noun, family, options.count) for c in request.concepts}


def _references(given: Sequence[str], concepts: Sequence[ConceptView]) -> dict[str, Path]:
    """Folders by concept. Raises UsageError."""
    names, found = [c.name for c in concepts], dict[str, Path]()
    for text in given:
        name, _, folder = text.partition("=")
        if name not in names or not folder:
            raise UsageError(
                f"--references {text}: not one of the concepts and its folder.",
                f"Say NAME=DIR, such as {names[0]}=photos/.",
            )
        if name in found:
            raise UsageError(
                f"--references {text}: {name} has '{found[name]}' already.", "Give one folder for each."
            )
        if not Path(folder).expanduser().is_dir():
            raise UsageError(
                f"--references {text}: there is no folder '{folder}'.", "Give the folder it was learned from."
            )
        found[name] = Path(folder).expanduser()
    return found


def _check_out(folder: Path) -> None:
    """Raises UsageError if clips could not be kept there."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"--out '{folder}' is not a folder.", "Name a new folder, or one of an earlier evaluation."
        )
    check_output(folder / "clip.mp4")


# --- what is told ------------------------------------------------------------------------------------


def _said(found: Estimate | None) -> str:
    return "" if found is None else f"{found.mean:.3f} ({found.low:.3f} - {found.high:.3f})"


def _forgotten(registry: Registry, report: Sequence[examining.Measured]) -> dict[str, Any]:
    """By metric: each concept's means over the evaluations that asked the same, oldest first; and what was lost on average."""
    from ..measure.metrics import forgetting

    histories: dict[str, dict[str, list[float]]] = {}
    for row in report:
        alike = [past for past in registry.evaluations(row.concept) if past.how == row.how]
        latest = {past.after: past for past in alike}  # of those that nothing was learned between
        for past in latest.values():
            for metric, score in past.scores.items():
                histories.setdefault(metric, {}).setdefault(row.concept, []).append(score["mean"])
    lost = {}
    for metric, of_concepts in histories.items():
        found = asdict(forgetting(of_concepts))
        lost[metric] = {k: None if math.isnan(v) else round(v, 5) for k, v in found.items()} | {
            "histories": of_concepts
        }
    return lost


def _tell_forgetting(session: Session, lost: Mapping[str, Any]) -> None:
    again = {metric: facts for metric, facts in lost.items() if facts["since_first"] is not None}
    if not again:
        session.say(
            "Nobody was evaluated before by the same questions: there is nothing to compare with yet."
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
