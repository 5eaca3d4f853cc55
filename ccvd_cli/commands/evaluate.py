"""`ccvd evaluate`: how good concepts are, by the field's metrics, and how much of them is left."""

from __future__ import annotations

import hashlib
import json as jsonlib
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
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import LARGEST_SEED, BaseOptions, JsonOption, SampleOptions
from .request import last_seen, sample_settings
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..measure.evaluate import Examiner, References
    from ..measure.metrics import Estimate
    from ..measure.questions import Question
    from ..settings import SampleSettings


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
        tasks = _tasks(registry, names or [], options, sampling, base)
        report = [row for task in tasks for row in _measured(session, registry, task, options, base)]
        lost = _forgotten(registry, report) if forgetting else None
    if options.json:
        told = [
            {k: v for k, v in asdict(row).items() if k != "found"} | {"scores": row.scores} for row in report
        ]
        emit_json({"concepts": told, **({"forgetting": lost} if lost is not None else {})})
        return
    metrics = [m for m in SAID if any(m in row.found for row in report)]
    rows = [(row.concept, row.kind, row.clips, *(_said(row.found.get(m)) for m in metrics)) for row in report]
    emit_table(("CONCEPT", "KIND", "CLIPS", *(SAID[m] for m in metrics)), rows)
    if lost is not None:
        _tell_forgetting(session, lost)


# --- before a base is loaded -------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Concepts of one base, and what they are asked."""

    source: str
    concepts: list[ConceptView]
    questions: dict[str, list[Question]]
    settings: SampleSettings
    at_once: int
    references: dict[str, Path]


def _tasks(
    registry: Registry,
    names: Sequence[str],
    options: EvaluateOptions,
    sampling: SampleOptions,
    base: BaseOptions,
) -> list[Task]:
    """By base. Raises UsageError for whatever can be told before a model is loaded."""
    from ..measure.questions import built_in, from_file
    from ..settings import SAMPLING

    concepts = registry.find(dict.fromkeys(names)) if names else registry.list()
    if not concepts:
        raise UsageError(
            "There are no concepts to evaluate.", "Teach one: ccvd learn-subject --images FOLDER"
        )
    facts = {c.name: (c.kind, c.class_noun) for c in concepts}
    asked = from_file(options.prompts, facts) if options.prompts else {}
    references = _references(options.references or [], facts)
    tasks = []
    for fingerprint in dict.fromkeys(c.base_fingerprint for c in concepts):
        ours = [c for c in concepts if c.base_fingerprint == fingerprint]
        source = base.base or last_seen(ours[0].base, ours[0].base_location)
        family = find_base(source).family
        questions = {
            c.name: asked.get(c.name) or built_in(c.name, c.kind, c.class_noun, family, options.count)
            for c in ours
        }
        settings = sample_settings(SAMPLING[family], sampling, options.seed)
        at_once = options.batch or (8 if family == "mini" else 1)
        tasks.append(Task(source, ours, questions, settings, at_once, references))
    return tasks


def _references(given: Sequence[str], concepts: Mapping[str, tuple[str, str]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if name not in concepts or not folder:
            raise UsageError(
                f"--references {text}: not one of the concepts and its folder.",
                f"Say NAME=DIR, such as {next(iter(concepts))}=photos/.",
            )
        if not Path(folder).expanduser().is_dir():
            raise UsageError(
                f"--references {text}: there is no folder '{folder}'.", "Give the folder it was learned from."
            )
        found[name] = Path(folder).expanduser()
    return found


# --- with a base -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A concept, what was found and how; `how` is the same for evaluations that can be compared."""

    concept: str
    kind: str
    clips: int
    folder: str
    encoders: list[str]
    how: dict[str, Any]
    found: dict[str, Estimate]

    @property
    def scores(self) -> dict[str, Any]:
        from ..measure.evaluate import as_json

        return as_json(self.found)


def _measured(
    session: Session, registry: Registry, task: Task, options: EvaluateOptions, where: BaseOptions
) -> list[Measured]:
    from ..engine.concept import Learner
    from ..measure import evaluate as measuring

    base = open_base(session, task.source, where.device, where.dtype)
    if base.fingerprint != task.concepts[0].base_fingerprint:
        raise UsageError(
            f"Base '{task.source}' is not the one of {', '.join(c.name for c in task.concepts)}: its weights differ.",
            "Give that one with --base, or learn them again.",
        )
    examiner = _examiner(base, options)
    everybody = registry.list(base=base.fingerprint) if task.settings.open_to_others else []
    rows = []
    for concept in task.concepts:
        taking_part = [concept, *(c for c in everybody if c.name != concept.name)]
        for c in taking_part:
            c.verify()
        learners = [Learner.load(c, base) for c in taking_part]
        references = _held_against(concept, learners[0], base, examiner, task)
        questions, folder = task.questions[concept.name], options.out / concept.name
        session.say(f"Evaluating {concept.name}: {len(questions) * options.seeds} clips.")
        with progress(quiet=session.quiet) as report:
            clips = measuring.evaluate(
                base,
                learners,
                [c.digests for c in taking_part],
                questions,
                examiner,
                references,
                task.settings,
                folder,
                seeds=options.seeds,
                at_once=task.at_once,
                on_step=lambda step, total: report("sampling", step, total),
            )
        found = measuring.summary(clips)
        how = {
            "encoders": examiner.names,
            "prompts": hashlib.sha256(jsonlib.dumps([q.prompt for q in questions]).encode()).hexdigest(),
            "seeds": options.seeds,
            "batch": task.at_once,
            "settings": task.settings.model_dump(mode="json"),
            "references": sorted(references.images) + ["clips"] * bool(references.clips),
        }
        row = Measured(concept.name, concept.kind, len(clips), str(folder), examiner.names, how, found)
        registry.record_evaluation(concept.name, how=how, scores=row.scores)
        rows.append(row)
    return rows


def _examiner(base: Base, options: EvaluateOptions) -> Examiner:
    from ..measure.encoders import CLIP, DINO, Dino, Embedded, OpenClip
    from ..measure.evaluate import Examiner

    own = base.family == "mini"
    clip = Embedded(base) if own and not options.clip else OpenClip(options.clip or CLIP, base.device)
    clip.texts([""])  # whether it reads at all is told before anything is made
    dino = None if own and not options.dino else Dino(options.dino or DINO, base.device)
    return Examiner(clip, dino)


def _held_against(
    concept: ConceptView, learner: Learner, base: Base, examiner: Examiner, task: Task
) -> References:
    """What was learned from, if it was given; else the image embeddings that the concept keeps, for the base's own encoder."""
    from ..engine import media
    from ..measure.encoders import Embedded
    from ..measure.evaluate import References

    folder, size = task.references.get(concept.name), (task.settings.height, task.settings.width)
    encoders = [e for e in (examiner.clip, examiner.dino) if e]
    if concept.kind == "motion":
        if not folder:
            return References()
        films = media.load_videos(folder, size=size, frames=task.settings.frames, fps=task.settings.fps)
        return References(clips=[(clip + 1) / 2 for clip in films.tensors])
    if folder:
        import torch

        photos = (torch.stack(list(media.load_images(folder, size=size).tensors)) + 1) / 2
        return References({e.name: e.images(photos) for e in encoders})
    own = isinstance(examiner.clip, Embedded) and len(learner.image_prototypes)
    return References({examiner.clip.name: learner.image_prototypes.float().cpu()} if own else {})


# --- what is told ------------------------------------------------------------------------------------


def _said(found: Estimate | None) -> str:
    return "" if found is None else f"{found.mean:.3f} ({found.low:.3f} - {found.high:.3f})"


def _forgotten(registry: Registry, report: Sequence[Measured]) -> dict[str, Any]:
    """By metric: each concept's means over the evaluations that asked the same, oldest first; and what was lost on average."""
    from ..measure.metrics import forgetting

    histories: dict[str, dict[str, list[float]]] = {}
    for row in report:
        for past in registry.evaluations(row.concept):
            if past.how == row.how:
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
    again = {metric: facts for metric, facts in lost.items() if facts["since_learned"] is not None}
    if not again:
        session.say(
            "Nobody was evaluated before by the same questions: there is nothing to compare with yet."
        )
        return
    emit("")
    rows = [
        (
            f"F-{SAID[metric]}",
            f"{facts['since_learned']:+.3f}",
            f"{facts['since_best']:+.3f}",
            sum(len(scores) > 1 for scores in facts["histories"].values()),
        )
        for metric, facts in again.items()
    ]
    emit_table(("FORGOTTEN", "SINCE FIRST", "SINCE BEST", "CONCEPTS"), rows)
