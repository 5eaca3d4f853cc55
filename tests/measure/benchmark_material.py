"""A tiny base that reads captions, a short stream, and recipes of a moment."""

from __future__ import annotations

from pathlib import Path

from tiny_models import build_mini, with_captions

from ccvd_cli.choices import Kind
from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.measure.benchmark import Plan, Run
from ccvd_cli.measure.encoders import Embedded
from ccvd_cli.measure.evaluate import Examiner
from ccvd_cli.measure.methods import Common, make
from ccvd_cli.measure.methods.contract import Method
from ccvd_cli.measure.methods.ewc import Ewc, EwcSettings
from ccvd_cli.measure.methods.l2dm import L2dm, L2dmSettings
from ccvd_cli.measure.streams import TOY, Stream, material, toy_tasks
from ccvd_cli.settings import RECIPES, SAMPLING, Recipe

QUICK = {"token_steps": 1, "adapter_steps": 2, "batch_size": 1, "bottleneck": 0.2, "last_layers": 0}
RECIPE: dict[Kind, Recipe] = {
    kind: recipe.model_copy(update=QUICK) for kind, recipe in RECIPES["mini"].items()
}
SAMPLE = SAMPLING["mini"].model_copy(update={"steps": 1, "frames": 4})


def tiny_base(folder: Path) -> Base:
    return open_base(str(with_captions(build_mini(folder))), device="cpu", dtype="float32")


def stream(*kinds: str) -> Stream:
    """The first toy tasks of these kinds."""
    left, tasks = list(toy_tasks(TOY["toy35"])), []
    for order, kind in enumerate(kinds, 1):
        task = next(t for t in left if t.kind == kind)
        left.remove(task)
        tasks.append(type(task)(order, task.kind, task.name, task.noun))
    return Stream("short", tuple(tasks))


def method(name: str, base: Base, *without: str) -> Method:
    return quick(make(name, Common(base, RECIPE, SAMPLE), without))  # type: ignore[arg-type]


def quick(one: Method) -> Method:
    """With fewer samples of what is not looked at."""
    if isinstance(one, Ewc):
        one.settings = EwcSettings(samples=2)
    if isinstance(one, L2dm):
        one.settings = L2dmSettings(candidates=5)
    return one


def teach(one: Method, of: Stream) -> None:
    for task in of.tasks:
        one.learn(task, material(task, SAMPLE.model_copy(update={"frames": 16})))


def run(base: Base, of: Stream, out: Path, name: str = "ccvd", **plan: object) -> Run:
    """Without judges, which would have to be trained."""
    planned = Plan(of, (name,), out, prompts=1, **plan)  # type: ignore[arg-type]
    found = Run(base, Examiner(Embedded(base)), planned, name, 0, RECIPE, SAMPLE)
    quick(found.method)
    return found
