"""`ccvd world`: material with known truth."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UNREADABLE, UsageError
from ..output import emit, emit_json
from ..outputs import numbers, whole
from ..session import Session
from . import embedded
from .options import JsonOption
from .wiring import command

if TYPE_CHECKING:
    from ..world.render import Clip, Frames

_CAPTIONS = "captions.jsonl"


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
    embedded.register(world)


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
    captions = folder / _CAPTIONS
    try:
        names = [jsonlib.loads(line)["file"] for line in captions.read_text(encoding="utf-8").splitlines()]
        return [*(folder / Path(name).name for name in names), captions]
    except (FileNotFoundError, TypeError, *UNREADABLE):
        return []


def _paths(folder: Path, stem: str, count: int, suffix: str) -> list[Path]:
    return [folder / f"{stem}-{number}{suffix}" for number in numbers(count)]


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
