"""`ccvd world pretrain`, `ccvd world adherence`: the embedded base's training, and how well a base listens."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..choices import PretrainStage
from ..errors import UsageError
from ..output import emit, emit_json, emit_table
from ..outputs import check_sheet
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import LARGEST_SEED, BaseOptions, JsonOption, SampleOptions
from .wiring import command

if TYPE_CHECKING:
    from ..estimates import Rate
    from ..settings import SampleSettings
    from ..world.adherence import Adherence, Answer

_PANEL = "The embedded base"
# Options of sampling that are about concepts and regions.
_OF_CONCEPTS = (
    "subject_schedule",
    "aggregation",
    "relevance_threshold",
    "top_k",
    "region_attention",
    "noise_guidance",
    "estimate_of",
)


def register(world: typer.Typer) -> None:
    command(
        world,
        "pretrain",
        pretrain,
        examples=("ccvd world pretrain --stage vae --folder runs/mini --minutes 15",),
        panel=_PANEL,
    )
    command(
        world,
        "adherence",
        adherence,
        examples=(
            "ccvd world adherence --sheet sheet.png",
            "ccvd world adherence --count 200 --seed 1 --json",
        ),
        panel=_PANEL,
    )


def pretrain(
    session: Session,
    stage: Annotated[PretrainStage, Option("--stage", help="In this order.", show_default=False)],
    folder: Annotated[
        Path, Option("--folder", metavar="DIR", help="Checkpoints, log and model.", show_default=False)
    ],
    minutes: Annotated[float, Option("--minutes", min=0.05, help="Length of this stretch.")] = 15,
    device: Annotated[
        str, Option("--device", metavar="auto|cpu|cuda|mps", help="Where to compute.")
    ] = "auto",
    seed: Annotated[
        int, Option("--seed", min=0, max=LARGEST_SEED, help="Of weights, material and noise.")
    ] = 0,
) -> None:
    """Train a part of the embedded base from nothing; in the same folder it goes on where it stopped."""
    _check_stage(stage, folder)
    session.say(_so_far(stage, folder))
    from ..engine import bases
    from ..world.pretrain import STAGES

    where = bases.choose_device(device)
    import torch

    torch.manual_seed(seed)
    session.say(f"Training {stage} for {minutes:g} minutes on {where}.")
    STAGES[stage](folder, torch.device(where), minutes, seed)
    emit(str(folder / "model"))


# Stages that start from the weights of the model folder, if it has some.
_GOES_ON: tuple[PretrainStage, ...] = ("vae", "video")


def _checkpoint(stage: PretrainStage, folder: Path) -> Path:
    return folder / f"{stage}.state.safetensors"


def _check_stage(stage: PretrainStage, folder: Path) -> None:
    """Raises UsageError if an earlier stage, which this one starts from, has not been."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder.", "Choose another --folder.")
    needs: dict[PretrainStage, tuple[PretrainStage, ...]] = {"image": ("vae",), "video": ("vae", "image")}
    for before in needs.get(stage, ()):
        shipped = folder / "model" / ("vae" if before == "vae" else "unet")
        starts = (shipped, _checkpoint(before, folder), _checkpoint(stage, folder))
        if not any(start.exists() for start in starts):
            raise UsageError(
                f"Stage {stage} starts from stage {before}, which is not in '{folder}'.",
                f"First: ccvd world pretrain --stage {before} --folder {shlex.quote(str(folder))}",
            )


def _so_far(stage: PretrainStage, folder: Path) -> str:
    from safetensors import SafetensorError, safe_open

    path = _checkpoint(stage, folder)
    if not path.exists():
        there = folder / "model" / ("vae" if stage == "vae" else "unet")
        weights = (
            f"the weights in {folder / 'model'}" if stage in _GOES_ON and there.exists() else "random weights"
        )
        return f"Nothing of stage {stage} is in {folder} yet: it starts from {weights}."
    try:
        with safe_open(path, "np") as file:
            facts = file.metadata() or {}
        step, minutes = facts["step"], float(facts["seconds"]) / 60
    except (OSError, ValueError, LookupError, SafetensorError) as error:
        raise UsageError(
            f"'{path}' is no checkpoint of this program.", "Move it away to start anew, or restore it."
        ) from error
    return f"Stage {stage} goes on from step {step}, after {minutes:.1f} minutes."


def adherence(
    session: Session,
    sampling: SampleOptions,
    base: BaseOptions,
    count: Annotated[int, Option("--count", min=1, max=10_000, help="Prompts.")] = 100,
    seed: Annotated[int, Option("--seed", min=0, max=LARGEST_SEED, help="Of prompts and noise.")] = 0,
    sheet: Annotated[
        Path | None,
        Option("--sheet", metavar="FILE", help="A PNG with every clip and its verdict.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Generate held-out prompts and have a judge, trained on rendered truth, say what the clips show."""
    from ..settings import sampling_of
    from .overrides import override

    source = base.base or "mini"
    place = find_base(source)
    settings = override(sampling_of(place.family, concepts=False), {**asdict(sampling), "seed": seed})
    place.check_size(settings.height, settings.width, settings.frames)
    _check_adherence(sampling, settings)
    if sheet is not None:
        check_sheet(sheet)
    opened = open_base(session, source, base.device, base.dtype)
    from ..engine.media_out import contact_sheet
    from ..world import adherence as world
    from ..world.judge_making import Autoencoder, accuracy_on, attribute_judge, judges_folder
    from ..world.judge_material import ordinary

    rows: list[tuple[str, Any]] = []

    def keep(answers: list[Answer], clips: Any) -> None:
        if sheet is not None:
            rows.extend((answer.label, clip) for answer, clip in zip(answers, clips, strict=True))

    with progress(quiet=session.quiet) as report:
        autoencoder = Autoencoder.of(opened)
        judge = attribute_judge(autoencoder, judges_folder(session.home), on_step=report)
        found = world.adherence(
            opened,
            judge,
            settings,
            count=count,
            accuracy=accuracy_on(judge, ordinary, autoencoder, settings.frames),
            on_clips=keep,
            on_step=lambda step, total: report("sampling", step, total),
        )
    if json:
        emit_json(found.as_json())
    else:
        _print_adherence(found)
    if sheet is not None:
        contact_sheet(rows, sheet, scale=1 if count > 20 else 2)
        session.say(f"Sheet: {sheet}")


def _check_adherence(sampling: SampleOptions, settings: SampleSettings) -> None:
    """Raises UsageError for pictures, in which nothing moves, and for options about concepts and regions, which no prompt has."""
    from .overrides import option_of

    if settings.frames < 2:
        raise UsageError(
            f"--frames {settings.frames}: a picture does not move.", "Judge clips of 2 frames or more."
        )
    for name in _OF_CONCEPTS:
        if getattr(sampling, name) is not None:
            raise UsageError(
                f"{option_of(name)}: the prompts name no concepts and no regions.", "Leave it out."
            )


def _print_adherence(found: Adherence) -> None:
    judged = [
        (name, *_cells(rate), f"{found.accuracy[name]:.1%}" if name in found.accuracy else "")
        for name, rate in found.rates.items()
    ]
    emit_table(("ATTRIBUTE", "RIGHT", "OF", "RATE", "95% INTERVAL", "JUDGE'S OWN"), judged)
    for attribute in ("motion", "noun"):
        emit("")
        rows = [(name, *_cells(rate)) for name, rate in found.by(attribute).items()]
        emit_table((attribute.upper(), "RIGHT", "OF", "RATE", "95% INTERVAL"), rows)


def _cells(rate: Rate) -> tuple[object, ...]:
    low, high = rate.interval
    return rate.right, rate.total, f"{rate.value:.0%}", f"{low:.0%} - {high:.0%}"
