"""A run of a benchmark, opened again: what its method makes of a prompt with what it has learned so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import Kind
from ..errors import UNREADABLE, UsageError
from ..settings import Recipe, SampleSettings
from .kept_state import State
from .methods import METHODS, Common, Method, make, method_in
from .streams import Task

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.bases.contract import Base


@dataclass(frozen=True)
class PastRun:
    """What a run's folder says of it; nothing is loaded. without: parts of ccvd that it had not; own: the method's own settings."""

    folder: Path
    name: str
    seed: int
    base: str  # its fingerprint
    without: tuple[str, ...]
    own: Mapping[str, Any]
    recipes: Mapping[Kind, Recipe]
    sampling: SampleSettings
    tasks: tuple[Task, ...]

    def label(self, among: Sequence[PastRun]) -> str:
        """'finetune, seed 0'; with as many of the folders that it is in as it takes to tell it from others that are called so too."""
        parts, count = self.folder.parts, 1
        while sum(other.folder.parts[-1 - count :] == parts[-1 - count :] for other in among) > 1:
            count += 1
        return f"{'/'.join(parts[-1 - count : -1])}, seed {self.seed}"

    @classmethod
    def read(cls, folder: Path) -> PastRun:
        """<stream>/<method>/seed<k> of a benchmark's folder. Raises UsageError."""
        folder = folder.resolve()
        said, about, seed = folder.parent.name, State(folder).about(), folder.name.removeprefix("seed")
        name, hint = method_in(said), "Name <stream>/<method>/seed<k> in the --out of ccvd benchmark."
        if not (name and about and seed.isdecimal()):
            raise UsageError(f"'{folder}' is no run of a benchmark.", hint)
        try:
            return cls(
                folder,
                name,
                int(seed),
                about["base"],
                tuple(said.partition("-without-")[2].split("+")) if "-without-" in said else (),
                METHODS[name].Own(**about["method"]).model_dump(),
                {kind: Recipe(**{**recipe, "seed": int(seed)}) for kind, recipe in about["recipes"].items()},
                SampleSettings(**about["sampling"], seed=int(seed)),
                tuple(Task(i, *task[:3]) for i, task in enumerate(about["tasks"], 1)),
            )
        except (TypeError, *UNREADABLE) as error:
            raise UsageError(
                f"'{folder}' is of another version: its run.json cannot be read.", hint
            ) from error

    def opened(self, base: Base, sampling: SampleSettings) -> Method:
        """Its method, as it was left; clips will be made by `sampling`.

        Raises:
            UsageError: another base, or nothing is kept of what was learned.
            CcvdError: what is kept cannot be read.
        """
        if base.fingerprint != self.base:
            raise UsageError(
                f"'{self.folder}' was run on another base than {base.name}.", "Name it with --base."
            )
        method = make(self.name, Common(base, self.recipes, sampling, self.seed), self.without, self.own)  # type: ignore[arg-type]
        done, _ = State(self.folder).restore(method, self.tasks)
        if not done:
            if any(self.folder.glob("[0-9]*-*.json")):
                raise UsageError(
                    f"'{self.folder}' has results, but not what was learned for them.",
                    "Results that come with ccvd are scores alone: run the method in an --out of your own.",
                )
            raise UsageError(f"'{self.folder}' has learned nothing yet.", "Let ccvd benchmark go on with it.")
        return method


def made_by(
    method: Method, prompt: str, settings: SampleSettings, on_step: Callable[[int, int], None]
) -> Tensor:
    """A clip (F, 3, H, W) in [0, 1]: what takes part in the prompt, and where, is the method's business."""
    from ..engine.compose import generate_batch

    part = method.weights_for(prompt)
    with part.attached(method.base):
        changed = settings.model_copy(update=dict(part.changes))
        return generate_batch(method.base, [part.prompt], part.learners, changed, on_step)[0]


__all__ = ["PastRun", "made_by"]
