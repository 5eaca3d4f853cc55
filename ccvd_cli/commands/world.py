"""`ccvd world`: material with known truth, the embedded base's pretraining, and how well a base listens."""

from __future__ import annotations

import json as jsonlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UNREADABLE, UsageError
from ..output import emit, emit_json, emit_table
from ..outputs import check_sheet, whole
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import LARGEST_SEED, BaseOptions, JsonOption, SampleOptions
from .wiring import command

if TYPE_CHECKING:
    from ..estimates import Rate
    from ..settings import SampleSettings
    from ..world.adherence import Adherence, Answer
    from ..world.render import Clip, Frames

_CAPTIONS = "captions.jsonl"
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


class Stage(str, Enum):
    vae = "vae"
    text = "text"
    image = "image"
    video = "video"
    captions = "captions"


@dataclass(frozen=True)
class MaterialOptions:
    """Where material goes, and how much of it."""

    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="A new or empty folder.", show_default=False)
    ]
    count: Annotated[int, Option("--count", min=1, max=1_000, help="How many files.")] = 5
    seed: Annotated[int, Option("--seed", min=0, help="The same seed draws the same.")] = 0
    scale: Annotated[
        int, Option("--scale", min=1, max=32, help="Pixels per pixel, so that people can see.")
    ] = 4
    yes: Annotated[bool, Option("--yes", "-y", help="Replace what was written there before.")] = False
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    world = typer.Typer(help="The procedural video world: material with known truth.", no_args_is_help=True)
    app.add_typer(
        world,
        name="world",
        epilog="Example: ccvd world subject --out rex --index 3",
        rich_help_panel="The embedded world",
    )
    material = {
        "sample": (sample, "--out clips --count 20", "--out clips --seed 7 --scale 8"),
        "subject": (subject, "--out photos --index 3", "--out photos --index 12 --count 4 --json"),
        "motion": (motion, "--out clips --name circling", "--out clips --name rocking --count 6"),
        "style": (style, "--out pictures --name sketch", "--out pictures --name neon --seed 1"),
    }
    for name, (function, *arguments) in material.items():
        command(
            world, name, function, examples=[f"ccvd world {name} {a}" for a in arguments], panel="Material"
        )
    command(
        world,
        "pretrain",
        pretrain,
        examples=("ccvd world pretrain --stage vae --folder runs/mini --minutes 15",),
        panel="The embedded base",
    )
    command(
        world,
        "adherence",
        adherence,
        examples=(
            "ccvd world adherence --sheet sheet.png",
            "ccvd world adherence --count 200 --seed 1 --json",
        ),
        panel="The embedded base",
    )


# --- material ----------------------------------------------------------------------------------------


def sample(session: Session, options: MaterialOptions) -> None:
    """Random captioned clips, as pretraining sees them."""
    import numpy as np

    from ..world.captions import random_clip
    from ..world.render import render

    rng = np.random.default_rng([9_900, options.seed])
    drawn = [random_clip(rng) for _ in range(options.count)]
    entries = [{"caption": caption, **_truth(clip)} for clip, caption in drawn]
    _write_clips(session, options, "clip", (render(clip) for clip, _ in drawn), entries)


def subject(
    session: Session,
    options: MaterialOptions,
    index: Annotated[
        int, Option("--index", min=0, help="Which one: 0 is a fish, 1 a flower, 3 a rocket, 4 a dog ...")
    ] = 0,
) -> None:
    """Photos of a character that pretraining never saw, in several scenes."""
    from ..world import heldout

    who = heldout.subject(index)
    pictures = heldout.subject_images(index, options.count, seed=options.seed)
    facts = {"caption": who.description, "noun": who.noun, "subject": who.name, "split": who.split}
    _write_pictures(
        session, options, who.name, pictures, [{**facts, "actor": asdict(who.actor)}] * len(pictures)
    )
    session.say(f"Try: {session.command('learn-subject', '--images', options.out, '--class-noun', who.noun)}")


def motion(
    session: Session,
    options: MaterialOptions,
    name: Annotated[str, Option("--name", help="Which one: circling, rocking ...")] = "circling",
) -> None:
    """Clips of a motion that pretraining never saw, by different actors."""
    from ..world import heldout
    from ..world.motions import HELDOUT_MOTIONS
    from ..world.render import render

    _check_name("motion", name, HELDOUT_MOTIONS)
    clips = heldout.motion_truth(name, options.count, seed=options.seed)
    _write_clips(
        session, options, name, (render(clip) for clip in clips), [_described(clip) for clip in clips]
    )
    session.say(f"Try: {session.command('learn-motion', '--videos', options.out, '--class-noun', name)}")


def style(
    session: Session,
    options: MaterialOptions,
    name: Annotated[str, Option("--name", help="Which one: sketch, neon ...")] = "sketch",
) -> None:
    """Pictures in a style that pretraining never saw."""
    from ..world import heldout
    from ..world.styles import STYLES

    _check_name("style", name, STYLES)
    clips = heldout.style_truth(name, options.count, seed=options.seed)
    pictures = heldout.style_images(name, options.count, seed=options.seed)
    _write_pictures(session, options, name, pictures, [{**_described(clip), "style": name} for clip in clips])
    session.say(f"Try: {session.command('learn-style', '--images', options.out)}")


def _check_name(kind: str, name: str, known: Sequence[str] | dict[str, Any]) -> None:
    if name not in known:
        raise UsageError(f"There is no held-out {kind} '{name}'.", f"Choose one of {', '.join(known)}.")


def _described(clip: Clip) -> dict[str, Any]:
    """The caption of a single ordinary actor, and the truth."""
    from ..world.captions import Words, phrase, sentence

    truth = _truth(clip)
    return {"caption": sentence(phrase(Words(**truth["actors"][0])), clip.motion, clip.scene), **truth}


def _truth(clip: Clip) -> dict[str, Any]:
    from ..world.render import COLOURS, boxes

    named = {rgb: name for name, rgb in COLOURS.items()}
    who = [{"noun": a.noun, "colour": named[a.colour], "texture": a.texture} for a in clip.actors]
    return {
        "actors": who,
        "scene": clip.scene,
        "motion": clip.motion,
        "boxes": boxes(clip).round(4).tolist(),
    }


def _write_pictures(
    session: Session, options: MaterialOptions, stem: str, pictures: Frames, entries: list[dict[str, Any]]
) -> None:
    from PIL import Image

    _make_folder(options)
    paths = _paths(options.out, stem, len(pictures), ".png")
    lines = _captions(options, paths, entries)
    for path, picture in zip(paths, pictures, strict=True):
        large = picture.repeat(options.scale, 0).repeat(options.scale, 1)
        with whole(path) as (part,):
            Image.fromarray(large).save(part)
    _tell(session, options, paths, lines)


def _write_clips(
    session: Session,
    options: MaterialOptions,
    stem: str,
    clips: Iterator[Frames],
    entries: list[dict[str, Any]],
) -> None:
    _make_folder(options)
    import torch

    from ..engine.media_out import write_clip
    from ..world.render import FPS

    paths = _paths(options.out, stem, len(entries), ".mp4")
    lines = _captions(options, paths, entries)
    for path, frames in zip(paths, clips, strict=True):
        write_clip(torch.from_numpy(frames).movedim(-1, 1) / 255, path, FPS, scale=options.scale)
    _tell(session, options, paths, lines)


def _make_folder(options: MaterialOptions) -> None:
    """Raises UsageError if it cannot be, or holds something and --yes was not given."""
    folder = options.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not options.yes:
            hint = "Name a new folder, or say --yes to replace what `ccvd world` wrote there."
            raise UsageError(f"'{folder}' is not empty.", hint)
        for path in _written_before(folder):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"Cannot write to '{folder}': {error.strerror}.", "Choose another --out.") from error


def _written_before(folder: Path) -> list[Path]:
    """What captions.jsonl says was written: anything else in the folder is the user's."""
    told = folder / _CAPTIONS
    try:
        names = [jsonlib.loads(line)["file"] for line in told.read_text(encoding="utf-8").splitlines()]
        return [*(folder / Path(name).name for name in names), told]
    except (FileNotFoundError, TypeError, *UNREADABLE):
        return []


def _paths(folder: Path, stem: str, count: int, suffix: str) -> list[Path]:
    digits = max(3, len(str(count - 1)))
    return [folder / f"{stem}-{i:0{digits}}{suffix}" for i in range(count)]


def _captions(
    options: MaterialOptions, paths: list[Path], entries: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Writes what each of the files will show, a JSON line for each: before them, so that --yes knows those of a run that was cut off."""
    lines = [{"file": path.name, **entry} for path, entry in zip(paths, entries, strict=True)]
    text = "".join(jsonlib.dumps(line) + "\n" for line in lines)
    with whole(options.out / _CAPTIONS) as (part,):
        part.write_text(text, encoding="utf-8")
    return lines


def _tell(session: Session, options: MaterialOptions, paths: list[Path], lines: list[dict[str, Any]]) -> None:
    if options.json:
        emit_json(lines)
    else:
        for path in paths:
            emit(str(path))
    session.say(f"{len(paths)} files and {_CAPTIONS} in {options.out}.")


# --- the embedded base -------------------------------------------------------------------------------


def pretrain(
    session: Session,
    stage: Annotated[Stage, Option("--stage", help="In this order.", show_default=False)],
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
    session.say(f"Training {stage.value} for {minutes:g} minutes on {where}.")
    STAGES[stage.value](folder, torch.device(where), minutes, seed)
    emit(str(folder / "model"))


def _checkpoint(stage: Stage, folder: Path) -> Path:
    return folder / f"{stage.value}.state.safetensors"


def _check_stage(stage: Stage, folder: Path) -> None:
    """Raises UsageError if an earlier stage, which this one starts from, has not been."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is not a folder.", "Choose another --folder.")
    needs = {Stage.image: (Stage.vae,), Stage.video: (Stage.vae, Stage.image)}
    for before in needs.get(stage, ()):
        shipped = folder / "model" / ("vae" if before is Stage.vae else "unet")
        starts = (shipped, _checkpoint(before, folder), _checkpoint(stage, folder))
        if not any(start.exists() for start in starts):
            raise UsageError(
                f"Stage {stage.value} starts from stage {before.value}, which is not in '{folder}'.",
                f"First: ccvd world pretrain --stage {before.value} --folder {shlex.quote(str(folder))}",
            )


def _so_far(stage: Stage, folder: Path) -> str:
    path = _checkpoint(stage, folder)
    if not path.exists():
        return f"Nothing of stage {stage.value} is in {folder} yet: it starts from random weights."
    try:
        with path.open("rb") as file:  # a safetensors header: its length, then JSON
            length = int.from_bytes(file.read(8), "little")
            header = jsonlib.loads(file.read(min(length, path.stat().st_size)))
        facts = header["__metadata__"]
        minutes = float(facts["seconds"]) / 60
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(
            f"'{path}' is no checkpoint of this program.", "Move it away to start anew, or restore it."
        ) from error
    return f"Stage {stage.value} goes on from step {facts['step']}, after {minutes:.1f} minutes."


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
    place.check_size(settings.height, settings.width)
    _check_adherence(sampling, settings)
    if sheet is not None:
        check_sheet(sheet)
    opened = open_base(session, source, base.device, base.dtype)
    from ..engine.media_out import contact_sheet
    from ..world import adherence as world
    from ..world.judge import Autoencoder, accuracy_on, attribute_judge, judges_folder
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
