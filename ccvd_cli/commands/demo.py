"""`ccvd demo`: the whole journey in one go, on the embedded base and material that the world draws.

It runs the command lines that a user would, and says each of them before it does.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ..clips import sidecar_path
from ..errors import UsageError
from ..output import duration, emit
from ..session import Session
from .options import LARGEST_SEED, BaseOptions
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
    """The steps of the demo, each a command line that is said and then run, as it would be if somebody typed it."""

    session: Session
    out: Path
    base: BaseOptions
    plan: Plan
    seed: int

    def _run(self, *words: object, **options: object) -> None:
        """`ccvd` with these words, and with those options that are not None."""
        from ..app import app

        spelled = [
            (f"--{name.replace('_', '-')}", value) for name, value in options.items() if value is not None
        ]
        line = [str(word) for word in (*words, *chain.from_iterable(spelled), "--home", self.session.home)]
        self.session.say("\n$ " + shlex.join(["ccvd", *line]))
        line += ["--quiet"] * self.session.quiet
        if code := app(args=line, prog_name="ccvd", standalone_mode=False):
            raise typer.Exit(code)

    def _material(self, name: str) -> Path:
        return self.out / "material" / name

    def subject(self, name: str, index: int, noun: str) -> None:
        photos = self._material(name)
        self._run("world", "subject", index=index, out=photos)
        self._learn("subject", "--images", photos, name, noun, self.plan.token_steps, self.plan.subject_steps)

    def motion(self, name: str, motion: str) -> None:
        clips = self._material(name)
        self._run("world", "motion", name=motion, out=clips)
        steps = self.plan.motion_token_steps, self.plan.motion_steps
        self._learn("motion", "--videos", clips, name, motion, *steps)

    def _learn(
        self,
        kind: str,
        shown: str,
        folder: Path,
        name: str,
        noun: str,
        token_steps: int | None,
        steps: int | None,
    ) -> None:
        how = {"class_noun": noun, "token_steps": token_steps, "steps": steps, "seed": self.seed}
        self._run(f"learn-{kind}", shown, folder, "--name", name, "--no-preview", **how, **asdict(self.base))

    def clip(self, name: str, prompt: str) -> Path:
        path = self.out / f"{name}.mp4"
        how = {"out": path, "seed": self.seed, "steps": self.plan.sampling_steps}
        self._run("generate", prompt, **how, **asdict(self.base))
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
