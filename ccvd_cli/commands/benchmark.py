"""`ccvd benchmark`: methods of continual learning on a stream of tasks, and what each of them has left at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UsageError
from ..output import duration, emit_json
from ..outputs import check_output, check_sheet
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import BaseOptions, JsonOption, SampleOptions
from .standing import tell
from .wiring import command

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.bases.contract import Base
    from ..measure.benchmark import ExactExaminer, Plan
    from ..measure.results import Result, Shot, Standing
    from ..measure.streams import Stream, Task
    from ..settings import SampleSettings

_SHOWN, _SIDE, _COLUMNS = 4, 64, 3  # frames of a clip on a sheet, their pixels, and clips beside each other


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is run, and where results go."""

    stream: Annotated[
        str | None,
        Option(
            "--stream",
            metavar="toy10|toy35|dev|FILE",
            help="Tasks that the world draws, or a csv/yaml/json list.",
            show_default="toy10",
        ),
    ] = None
    methods: Annotated[
        str | None,
        Option(
            "--methods",
            metavar="A,B,..",
            help="One after the other; all: every one there is.",
            show_default="ccvd",
        ),
    ] = None
    seeds: Annotated[int, Option("--seeds", min=1, help="Runs of each method, with seeds 0, 1, ...")] = 1
    ablate: Annotated[
        str | None,
        Option(
            "--ablate",
            metavar="PARTS",
            help="Of ccvd, without: tokens, orthogonal, aggregation, regions, windows, noise; several with commas.",
            show_default=False,
        ),
    ] = None
    set: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="METHOD.NAME=VALUE",
            help="One of a method's own settings, such as ewc.weight=100; again for others.",
            show_default=False,
        ),
    ] = None
    effort: Annotated[float, Option("--effort", help="All steps of learning, times this.")] = 1.0
    every: Annotated[
        int, Option("--every", min=0, metavar="N", help="Score all that was learned after every N tasks too.")
    ] = 0
    prompts: Annotated[int, Option("--prompts", min=1, max=200, metavar="N", help="Of each concept.")] = 4
    shard: Annotated[
        str, Option("--shard", metavar="I/N", help="The I-th of N processes that share the runs.")
    ] = "1/1"
    skip_missing: Annotated[
        bool, Option("--skip-missing", help="Leave out tasks of a file whose folder is not there.")
    ] = False
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Where results and clips are kept.")] = (
        Path("benchmark")
    )
    clip: Annotated[
        str | None,
        Option(
            "--clip",
            metavar="MODEL",
            help="CLIP in open_clip's layout.",
            show_default="the base's own, else ViT-B/32",
        ),
    ] = None
    dino: Annotated[
        str | None,
        Option(
            "--dino",
            metavar="MODEL",
            help="DINO in transformers' layout.",
            show_default="none on the embedded base, else ViT-S/16",
        ),
    ] = None
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet", metavar="FILE", help="A PNG: the same prompts by every method.", show_default=False
        ),
    ] = None
    table: Annotated[
        bool,
        Option(
            "--table",
            help="Run nothing: the table of what is in --out, or of a --stream and --methods in it.",
        ),
    ] = False
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    command(
        app,
        "benchmark",
        benchmark,
        examples=(
            "ccvd benchmark --stream toy10 --methods ccvd,finetune",
            "ccvd benchmark --methods ccvd --ablate regions --seeds 3",
            "ccvd benchmark --methods all --shard 1/4",
            "ccvd benchmark --stream dev --methods ewc --set ewc.weight=100",
            "ccvd benchmark --table --out benchmark --sheet methods.png",
        ),
        panel="Measuring",
    )


def benchmark(
    session: Session, options: BenchmarkOptions, sampling: SampleOptions, base: BaseOptions
) -> None:
    """Learn a stream of concepts by several methods, and measure what each has left. What was done before is not done again."""
    from ..measure.results import read, standings

    if options.sheet:
        check_sheet(options.sheet)
    if options.table:
        _check_table(options)
    else:
        _run(session, options, sampling, base)
    results, wrong = read(options.out)
    if options.table:
        results = _asked_for(results, options)
    for file in wrong:
        session.say(f"Not counted: {file}")
    found = standings(results)
    if options.json:
        emit_json([standing.as_json() for standing in found])
    else:
        _tell(session, found)
    if options.sheet:
        _draw(results, options.sheet)
        session.say(f"Sheet: {options.sheet}")


_WHICH = ("stream", "methods", "out", "sheet", "table", "json")


def _check_table(options: BenchmarkOptions) -> None:
    """Raises UsageError for an option that says how to run."""
    from .overrides import option_of

    for field in fields(options):
        if field.name not in _WHICH and (given := getattr(options, field.name)) != field.default:
            said = " ".join(given) if isinstance(given, list) else given
            raise UsageError(
                f"{option_of(field.name)} {said}: --table runs nothing.", "Leave one of them out."
            )


def _asked_for(results: Sequence[Result], options: BenchmarkOptions) -> list[Result]:
    """Of the stream and the methods that are named, or all. Raises UsageError if there are none."""
    streams = {Path(options.stream).stem} if options.stream else {r.stream for r in results}
    found = [r for r in results if r.stream in streams]
    if options.methods and options.methods != "all":
        named = {r.method: r.method.partition(" ")[0] for r in found}
        methods = _listed(options.methods, sorted(set(named.values())), "--methods")
        found = [r for r in found if named[r.method] in methods]
    elif options.stream and not found:
        raise UsageError(
            f"--stream {options.stream}: '{options.out}' holds no results of it.", "Run it, or name another."
        )
    return found


def _run(session: Session, options: BenchmarkOptions, sampling: SampleOptions, base: BaseOptions) -> None:
    from ..settings import RECIPES, SAMPLING
    from .asking import check_encoders
    from .request import sample_settings

    shard = _shard(options.shard)
    if not 0 < options.effort < 100:
        raise UsageError(f"--effort {options.effort}: not above 0 and below 100.")
    stream = _stream(options)
    source = base.base or "mini"
    found = find_base(source)
    settings = sample_settings(SAMPLING[found.family], sampling, None)
    _check_methods_decide(settings, SAMPLING[found.family])
    _check_sizes(stream, settings)
    plan = _plan(options, stream, 8 if found.family == "mini" else 1)
    if not plan.runs(shard):
        runs = len(plan.runs())
        raise UsageError(
            f"--shard {options.shard}: there {'is' if runs == 1 else 'are'} {runs} run{'s' if runs != 1 else ''}, "
            "one for each method and seed; nothing is left for this process.",
            f"Share them among {runs} at most." if runs > 1 else "Leave --shard out.",
        )
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(
            f"--out '{options.out}' is not a folder.", "Name a new one, or one of an earlier run."
        )
    if options.sheet and len(_methods_of(plan)) < 2:
        raise UsageError(
            f"--sheet '{options.sheet}': {plan.methods[0]} would be alone on it.",
            "Name several --methods, or an --out that others are in.",
        )
    check_output(options.out / "clip.mp4")
    check_encoders(source, options.clip)
    found.check_size(settings.height, settings.width)
    opened = open_base(session, source, base.device, base.dtype)
    _share_cores(opened, shard[1])
    opened.latent_shape(settings.frames, settings.height, settings.width)
    with progress(quiet=session.quiet) as report:
        examiner = _examiner(session, opened, options, stream, report)
        _go(session, plan, opened, examiner, shard, settings, dict(RECIPES[found.family]), report)


def _methods_of(plan: Plan) -> set[str]:
    """The folders of methods that will be in a stream's results."""
    there = (plan.out / plan.stream.name).glob("*/seed*")
    return {seed.parent.name for seed in (*there, *(plan.folder(method, 0) for method in plan.methods))}


def _share_cores(base: Base, shards: int) -> None:
    """Processes on one CPU that each take all cores stand in each other's way, and take many times as long as with a part each."""
    import torch

    if base.device.type == "cpu" and shards > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // shards))


def _check_methods_decide(settings: SampleSettings, default: SampleSettings) -> None:
    """Raises UsageError for an option that methods answer each in its own way."""
    for field in ("aggregation", "relevance_threshold", "top_k", "subject_schedule"):
        value = getattr(settings, field)
        if value != getattr(default, field):
            raise UsageError(
                f"--{field.replace('_', '-')} {value}: who acts, and how much, is what methods differ in.",
                "Leave it out; --ablate leaves out parts of ccvd.",
            )


def _go(
    session: Session,
    plan: Plan,
    base: Base,
    examiner: ExactExaminer,
    shard: tuple[int, int],
    settings: SampleSettings,
    recipes: dict[Any, Any],
    report: Any,
) -> None:
    """All of a shard's runs; each is sound before the first one begins."""
    from ..measure.benchmark import Run

    runs = [
        Run(base, examiner, plan, method, seed, recipes, settings, report)
        for method, seed in plan.runs(shard)
    ]
    for run in runs:
        run.check()
    clock = _Clock(session, sum(run.left() for run in runs))
    while runs:  # one that is done need not stay on the device
        run = runs.pop(0)
        run.on_task = clock.of(f"{run.folder.parent.name}, seed {run.seed}")
        run.go()


@dataclass
class _Clock:
    """Says what was done, and how long the rest will take at that pace."""

    session: Session
    left: int
    done: int = 0
    spent: float = 0.0

    def of(self, run: str) -> Any:
        def heard(task: Task, seconds: float) -> None:
            self.done, self.spent = self.done + 1, self.spent + seconds
            rest = duration((self.left - self.done) * self.spent / self.done)
            self.session.say(f"{run}: {task.order}. {task.name} in {duration(seconds)}; about {rest} left.")

        return heard


# --- before a base is loaded -------------------------------------------------------------------------


def _shard(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and len(n) < 10 and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: not the I-th of N.", "Say 1/4 for the first of four.")
    return int(i), int(n)


def _stream(options: BenchmarkOptions) -> Stream:
    from ..measure.streams import open_stream

    return open_stream(options.stream or "toy10", skip_missing=options.skip_missing)


def _check_sizes(stream: Stream, settings: SampleSettings) -> None:
    if settings.frames < 2:
        raise UsageError("--frames 1: a picture does not move.", "Measure clips of 2 frames or more.")
    if stream.toy and (settings.height, settings.width) != (64, 64):
        raise UsageError(
            f"--stream {stream.name}: the world draws 64x64, not {settings.width}x{settings.height}.",
            "Leave --height and --width out, or give a file of tasks.",
        )


def _plan(options: BenchmarkOptions, stream: Stream, at_once: int) -> Plan:
    from ..measure.benchmark import Plan
    from ..measure.methods import ABLATIONS, METHODS

    methods = options.methods or "ccvd"
    asked = list(METHODS) if methods == "all" else _listed(methods, METHODS, "--methods")
    without = _listed(options.ablate, ABLATIONS, "--ablate") if options.ablate else []
    if without and "ccvd" not in asked:
        raise UsageError(
            f"--ablate {options.ablate}: parts are left out of ccvd alone.", "Add ccvd to --methods."
        )
    return Plan(
        stream,
        tuple(asked),
        options.out,
        tuple(part for part in ABLATIONS if part in without),
        options.seeds,
        options.effort,
        options.every,
        options.prompts,
        at_once,
        _changes(options.set or (), asked),
    )


def _changes(given: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What `--set` changes, by method, in the order in which methods list their settings. Raises UsageError."""
    from pydantic import ValidationError

    from ..measure.methods import METHODS
    from .overrides import first_problem

    found: dict[str, dict[str, str]] = {}
    for text in given:
        what, _, value = text.partition("=")
        method, _, name = what.partition(".")
        if not (name and value):
            raise UsageError(f"--set {text}: not METHOD.NAME=VALUE.", "Say, for example, ewc.weight=100.")
        if method not in methods:
            raise UsageError(
                f"--set {text}: '{method}' is not among --methods.", "Add it, or leave this out."
            )
        known = METHODS[method].Own.model_fields
        if name not in known:
            has = f"It has {', '.join(known)}." if known else "It has none."
            raise UsageError(f"--set {text}: {method} has no setting '{name}'.", has)
        if found.setdefault(method, {}).setdefault(name, value) != value:
            raise UsageError(f"--set {method}.{name} is given twice.", "Measure one after the other.")
    changes = {}
    for method, values in found.items():
        try:
            settings = METHODS[method].Own.model_validate(values)
        except ValidationError as error:
            name, problem = first_problem(error)
            name = name or next(iter(values))
            raise UsageError(f"--set {method}.{name}={values[name]}: {problem}.") from error
        changes[method] = settings.model_dump(exclude_defaults=True)
    return {method: changed for method, changed in changes.items() if changed}


def _listed(text: str, known: Any, option: str) -> list[str]:
    """Names between commas, each once. Raises UsageError for one that is not known."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {text}: unknown '{name}'.", f"There are {', '.join(known)}.")
    return names


def _examiner(
    session: Session, base: Base, options: BenchmarkOptions, stream: Stream, report: Any
) -> ExactExaminer:
    from ..measure.benchmark import ExactExaminer
    from ..measure.exact import Exact
    from ..world.judge import judges_folder
    from .examining import open_encoders

    opened = open_encoders(base, options.clip, options.dino)
    exact = (
        Exact(base, stream.subjects, judges_folder(session.home), report, session.say) if stream.toy else None
    )
    return ExactExaminer(opened.clip, opened.dino, exact=exact)


def _draw(results: Sequence[Result], sheet: Path) -> None:
    """The first prompt of a concept and of each way to say several, by every method. Raises UsageError if no two methods have clips."""
    from ..engine.media import load_film
    from ..engine.media_out import contact_sheet
    from ..measure.report.benchmark import side_by_side

    first: dict[tuple[str, str], dict[str, Shot]] = {}
    for stream in dict.fromkeys(result.stream for result in results):
        for shots in side_by_side([result for result in results if result.stream == stream]):
            (one, *_) = shots.values()
            first.setdefault((stream, one.composed), shots)
    clips = [
        (f"{name}: {shot.prompt}", shot.path) for shots in first.values() for name, shot in shots.items()
    ]
    if not clips:
        raise UsageError(
            f"--sheet '{sheet}': no two methods have clips of one prompt.", "Run another method into --out."
        )
    rows = [(label, _small(load_film(path, most=_SHOWN).frames)) for label, path in clips]
    contact_sheet(rows, sheet, frames_per_row=_SHOWN, scale=1, columns=_COLUMNS)


def _small(frames: Tensor) -> Tensor:
    """(F, 3, H, W) in [-1, 1] -> in [0, 1], of _SIDE to twice as many pixels."""
    from torch.nn.functional import avg_pool2d

    return avg_pool2d((frames + 1) / 2, max(1, min(frames.shape[-2:]) // _SIDE))


# --- what is told ------------------------------------------------------------------------------------


def _tell(session: Session, found: Sequence[Standing]) -> None:
    for standing in found:
        if standing.unfinished:
            session.say(
                f"{standing.stream}, {standing.method}: {standing.unfinished} unfinished, not counted."
            )
    tell(found)
