"""`ccvd benchmark`: methods of continual learning on a stream of tasks, and what each of them has left at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UsageError
from ..output import duration, emit_json
from ..outputs import check_output, check_sheet
from ..progress import progress
from ..session import Session
from .benchmark_plan import (
    asked_for,
    check_methods_decide,
    check_sizes,
    check_table,
    methods_of,
    plan_of,
    shard_of,
    stream_of,
)
from .opening import find_base, open_base
from .options import BaseOptions, ClipOption, DinoOption, JsonOption, SampleOptions
from .standing import draw, tell
from .wiring import command

if TYPE_CHECKING:
    from ..choices import Family, Kind
    from ..engine.bases.contract import Base
    from ..measure.benchmark import Plan
    from ..measure.evaluate import Examiner
    from ..measure.results import Standing
    from ..measure.streams import Stream, Task
    from ..settings import Recipe, SampleSettings


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
    clip: ClipOption = None
    dino: DinoOption = None
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
        check_table(options, sampling, base)
    else:
        _run(session, options, sampling, base)
    results, wrong = read(options.out)
    if options.table:
        results = asked_for(results, options)
    for file in wrong:
        session.warn(f"Not counted: {file}")
    found = standings(results)
    if options.json:
        emit_json([standing.as_json() for standing in found])
    else:
        _tell(session, found)
    if options.sheet:
        draw(results, options.sheet)
        session.say(f"Sheet: {options.sheet}")


def _run(session: Session, options: BenchmarkOptions, sampling: SampleOptions, base: BaseOptions) -> None:
    from ..settings import SAMPLING
    from .asking import check_encoders
    from .request import sample_settings

    shard = shard_of(options.shard)
    if not 0 < options.effort < 100:
        raise UsageError(f"--effort {options.effort}: not above 0 and below 100.")
    stream = stream_of(options)
    source = base.base or "mini"
    found = find_base(source)
    # By all methods alike.
    usual = SAMPLING[found.family].model_copy(update={"style_guidance": 0.0, "path_strength": 0.0})
    settings = sample_settings(usual, sampling, None)
    check_methods_decide(settings, usual)
    check_sizes(stream, settings)
    plan = plan_of(options, stream, 8 if found.family == "mini" else 1)
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
    if options.sheet and len(methods_of(plan)) < 2:
        raise UsageError(
            f"--sheet '{options.sheet}': {plan.methods[0]} would be alone on it.",
            "Name several --methods, or an --out that others are in.",
        )
    check_output(options.out / "clip.mp4")
    check_encoders(source, options.clip)
    found.check_size(settings.height, settings.width, settings.frames)
    opened = open_base(session, source, base.device, base.dtype)
    _share_cores(opened, shard[1])
    opened.latent_shape(settings.frames, settings.height, settings.width)
    with progress(quiet=session.quiet) as report:
        examiner = _examiner(session, opened, options, stream, report)
        _go(session, plan, opened, examiner, shard, settings, recipes(found.family), report)


def recipes(family: Family) -> dict[Kind, Recipe]:
    """The usual ones, as all methods were measured with: nobody is led along a path, so none is looked for, and masks are of whole cells."""
    from ..measure.methods import UNUSED_TO_LEARN
    from ..settings import RECIPES

    without = dict.fromkeys(UNUSED_TO_LEARN, False)
    return {k: recipe.model_copy(update=without) for k, recipe in RECIPES[family].items()}


def _share_cores(base: Base, shards: int) -> None:
    """Processes on one CPU that each take all cores stand in each other's way, and take many times as long as with a part each."""
    import torch

    if base.device.type == "cpu" and shards > 1 and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // shards))


def _go(
    session: Session,
    plan: Plan,
    base: Base,
    examiner: Examiner,
    shard: tuple[int, int],
    settings: SampleSettings,
    recipes: dict[Kind, Recipe],
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


def _examiner(
    session: Session, base: Base, options: BenchmarkOptions, stream: Stream, report: Any
) -> Examiner:
    from ..measure.exact import Exact
    from ..measure.known import Judges
    from ..world.judge_making import judges_folder
    from .examining import open_encoders

    opened = open_encoders(base, options.clip, options.dino)
    if not stream.toy:
        return opened
    exact = Exact(base, stream.subjects, judges_folder(session.home), report, session.warn)
    return replace(opened, judges=Judges.alone(exact))


def _tell(session: Session, found: Sequence[Standing]) -> None:
    for standing in found:
        if standing.unfinished:
            session.warn(
                f"{standing.stream}, {standing.method}: {standing.unfinished} unfinished, not counted."
            )
    tell(found)
