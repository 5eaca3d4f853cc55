"""One prompt and one seed, made by methods of a benchmark with what each of them has learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..progress import progress
from ..prompts import check_kinds, named
from ..session import Session
from .benchmark_plan import check_methods_decide
from .opening import open_base
from .options import BaseOptions, RegionOptions, SampleOptions
from .request import sample_settings

if TYPE_CHECKING:
    from torch import Tensor

    from ..measure.past_run import PastRun
    from ..settings import SampleSettings


def runs_of(ways: Sequence[str], known: Sequence[str]) -> list[Path]:
    """The folders among `ways`, if they are no `known` settings but all folders. Raises UsageError for some of both."""
    folders = [Path(way) for way in ways if way not in known and Path(way).is_dir()]
    if folders and len(folders) < len(ways):
        other = next(way for way in ways if Path(way) not in folders)
        raise UsageError(
            f"--with {','.join(ways)}: '{other}' is no run of a benchmark, as '{folders[0]}' is.",
            "Compare settings, or runs.",
        )
    return folders


def planned(
    prompt: str, folders: Sequence[Path], sampling: SampleOptions, regions: RegionOptions, seed: int
) -> tuple[list[PastRun], SampleSettings]:
    """The runs, and how all of them sample. Raises UsageError for what cannot be made."""
    from ..measure.past_run import PastRun
    from .overrides import option_of

    runs = [PastRun.read(folder) for folder in folders]
    for i, run in enumerate(runs):
        if any(other.folder == run.folder for other in runs[:i]):
            raise UsageError(f"--with: '{folders[i]}' is given twice.", "Name each once.")
    for field in fields(regions):
        if getattr(regions, field.name) != field.default:
            raise UsageError(
                f"{option_of(field.name)}: where somebody stands is for the methods of a benchmark to say.",
                "Leave it out.",
            )
    for run in runs:
        kinds = {task.name: task.kind for task in run.tasks}
        if strangers := [name for name in named(prompt) if name not in kinds]:
            raise UsageError(
                f"'{run.folder}' does not know <{strangers[0]}>.", f"It goes through {', '.join(kinds)}."
            )
        check_kinds(prompt, kinds)
    usual = runs[0].sampling
    settings = sample_settings(usual, sampling, seed)
    check_methods_decide(settings, usual)
    return runs, settings


def by_methods(
    session: Session, prompt: str, runs: Sequence[PastRun], settings: SampleSettings, base: BaseOptions
) -> Iterator[tuple[str, Tensor]]:
    """Each run's label and clip. Raises UsageError before the first one is made."""
    from ..measure.past_run import made_by

    opened = open_base(session, base.base or "mini", base.device, base.dtype)
    methods = [(run.label(runs), run.opened(opened, settings)) for run in runs]
    for (_, method), run in zip(methods, runs, strict=True):
        if unlearned := [name for name in named(prompt) if name not in method.known]:
            raise UsageError(
                f"'{run.folder}' has not learned {unlearned[0]} yet.", "Let ccvd benchmark go on with it."
            )
    for label, method in methods:
        session.say(f"Generating, {label}: {prompt}")
        with progress(quiet=session.quiet) as report:
            yield (
                label,
                made_by(method, prompt, settings, lambda step, total: report("sampling", step, total)),
            )
