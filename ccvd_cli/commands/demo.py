"""`ccvd demo`: the whole journey in one go, on the embedded base and material that the world draws.

It runs the commands that a user would, and says each of them before it does.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ..clips import sidecar_path
from ..errors import UsageError
from ..output import duration, emit
from ..session import Session
from . import generate, learn, world
from .learn_options import LearnOptions, MaskOptions, MotionRecipeOptions, SubjectRecipeOptions
from .options import LARGEST_SEED, BaseOptions, ClipOptions, RegionOptions, SampleOptions
from .wiring import command

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """How much of everything: a quick look, or the demo."""

    token_steps: int | None
    subject_steps: int | None
    motion_token_steps: int | None
    motion_steps: int | None
    sampling_steps: int | None


QUICK = Plan(token_steps=40, subject_steps=100, motion_token_steps=150, motion_steps=20, sampling_steps=16)
FULL = Plan(None, None, None, None, None)
SUBJECTS, MOTION = (0, 1), "circling"


def register(app: typer.Typer) -> None:
    command(
        app,
        "demo",
        demo,
        examples=("ccvd demo", "ccvd demo --quick --out tour"),
        panel="Concepts and clips",
    )


def demo(
    session: Session,
    base: BaseOptions,
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="A new or empty folder for all of it.")
    ] = Path("ccvd-demo"),
    quick: Annotated[bool, Option("--quick", help="Learn for a shorter time; less to look at.")] = False,
    seed: Annotated[int, Option("--seed", min=0, max=LARGEST_SEED, help="Of everything random.")] = 0,
) -> None:
    """Learn two subjects and a motion, generate five clips, and put them on one sheet."""
    import time

    from ..world import heldout

    started = time.monotonic()
    _check_empty(out)
    if session.home:  # whose V1, V2 and V3 may be others
        session.say(f"The demo's concepts are kept in {out / 'home'}, not in {session.home}.")
    tour = Tour(
        session.with_options(home=out / "home", quiet=session.quiet),
        out,
        base,
        QUICK if quick else FULL,
        seed,
    )
    one, two = (heldout.subject(i) for i in SUBJECTS)
    tour.subject("V1", SUBJECTS[0], one.noun)
    tour.subject("V2", SUBJECTS[1], two.noun)
    tour.motion("V3", MOTION)
    prompts = (
        f"a <V1> {one.noun} on the beach",
        f"a <V2> {two.noun} jumping in the snow",
        f"a <V1> {one.noun} performing <V3> on the moon",
        f"a <V2> {two.noun} performing <V3> in the forest",
        f"a <V1> {one.noun} and a <V2> {two.noun} growing in the snow",
    )
    clips = [tour.clip(f"clip-{i + 1}", prompt) for i, prompt in enumerate(prompts)]
    sheet = tour.sheet(list(zip(prompts, clips, strict=True)))
    emit(str(sheet))
    session.say(f"Done in {duration(time.monotonic() - started)}. Look at {sheet}, then try:")
    for line in (
        tour.session.command("generate", f"a <V1> {one.noun} jumping under the sea"),
        tour.session.command("list", "concepts"),
        "ccvd learn-subject --images YOUR-PHOTOS/ --class-noun dog --base A-REAL-BASE",
    ):
        session.say(f"  {line}")


def _check_empty(out: Path) -> None:
    hint = "Name a new folder with --out."
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"'{out}' is not a folder.", hint)
        if out.exists() and any(out.iterdir()):
            raise UsageError(f"'{out}' is not empty.", hint)
    except OSError as error:  # a name too long, a folder that may not be entered
        raise UsageError(f"Cannot write to '{out}': {error.strerror}.", hint) from error


@dataclass(frozen=True)
class Tour:
    """The steps of the demo: each draws material, says a command, and does what it does."""

    session: Session
    out: Path
    base: BaseOptions
    plan: Plan
    seed: int

    def _say(self, *words: object) -> None:
        self.session.say("\n$ " + shlex.join(["ccvd", *map(str, words)]))

    def _material(self, name: str) -> world.MaterialOptions:
        return world.MaterialOptions(out=self.out / "material" / name)

    def subject(self, name: str, index: int, noun: str) -> None:
        material = self._material(name)
        self._say("world", "subject", "--index", index, "--out", material.out)
        world.subject(self.session, material, index)
        self._say("learn-subject", "--images", material.out, "--name", name, "--class-noun", noun)
        learn.learn_subject(
            self.session,
            [material.out],
            MaskOptions(),
            LearnOptions(name=[name], class_noun=[noun], no_preview=True),
            self.base,
            SubjectRecipeOptions(
                token_steps=self.plan.token_steps, adapter_steps=self.plan.subject_steps, seed=self.seed
            ),
        )

    def motion(self, name: str, motion: str) -> None:
        material = self._material(name)
        self._say("world", "motion", "--name", motion, "--out", material.out)
        world.motion(self.session, material, motion)
        self._say("learn-motion", "--videos", material.out, "--name", name, "--class-noun", motion)
        learn.learn_motion(
            self.session,
            material.out,
            LearnOptions(name=[name], class_noun=[motion], no_preview=True),
            self.base,
            MotionRecipeOptions(
                token_steps=self.plan.motion_token_steps, adapter_steps=self.plan.motion_steps, seed=self.seed
            ),
        )

    def clip(self, name: str, prompt: str) -> Path:
        path = self.out / f"{name}.mp4"
        self._say("generate", prompt, "--out", path, "--seed", self.seed)
        generate.generate(
            self.session,
            ClipOptions(out=path, seed=self.seed),
            SampleOptions(steps=self.plan.sampling_steps),
            self.base,
            RegionOptions(),
            prompt,
        )
        return path

    def sheet(self, clips: list[tuple[str, Path]]) -> Path:
        """What was learned from, and what came of it."""
        from ..engine.media_out import contact_sheet

        rows = [(f"photos of {n}", _pictures(self.out / "material" / n)) for n in ("V1", "V2")]
        rows += [(prompt, _clip(path)) for prompt, path in clips]
        return contact_sheet(rows, self.out / "sheet.png", frames_per_row=8, scale=2)


def _pictures(folder: Path) -> Tensor:
    import torch

    from ..engine.media import load_images

    return (torch.stack(load_images(folder, size=(64, 64)).tensors) + 1) / 2


def _clip(path: Path) -> Tensor:
    """As large as it was made."""
    from .. import sidecar
    from ..engine.media import load_videos

    made = sidecar.read(sidecar_path(path)).sample_settings
    size = made.height, made.width
    return (load_videos(path, size=size, frames=made.frames, fps=made.fps).tensors[0] + 1) / 2
