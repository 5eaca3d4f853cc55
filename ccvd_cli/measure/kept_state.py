"""What a method has learned so far, on disk in full precision: a run that is cut off goes on from its last task.

Learners are written once, each to a file of its own; what a method keeps besides is written anew after every task, and that file says which
task it was. A file appears whole or not at all. What several runs learn alike, of one stream or
of several, one of them learns and the others take over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from ..errors import CcvdError
from ..outputs import whole
from .methods.contract import learner_of, learner_tensors
from .streams import Task

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from .methods import Method

_UNREADABLE = (SafetensorError, OSError, KeyError, ValueError, RuntimeError)


@dataclass(frozen=True)
class State:
    """In the folder of a run: `run.json` says what it is, `state/` what was learned."""

    run: Path

    @property
    def folder(self) -> Path:
        return self.run / "state"

    def about(self) -> dict[str, Any]:
        """What the run said of itself when it began; nothing if it did not."""
        try:
            found: dict[str, Any] = json.loads((self.run / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def begin(self, about: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole(self.run / "run.json") as (part,):
            part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def keep(self, method: Method, task: Task, seconds: float) -> None:
        """After a task that took so many seconds to learn."""
        facts = {"seconds": str(seconds)}
        lesson = {"lesson": method.lessons[task.name]} if task.name in method.lessons else {}
        _save(self._learner(task), learner_tensors(method.known[task.name]), facts | lesson)
        _save(self.folder / "method.safetensors", method.extra_state(), facts | {"after": str(task.order)})

    def taken(self, task: Task, lesson: str, base: Base) -> tuple[Learner, float] | None:
        """What any run beside this one, of this or another stream, has learned by this lesson, and how many seconds that took.

        A file that cannot be read is passed over.
        """
        name = f"*-{escape(task.name)}.safetensors"
        for path in sorted(self.run.parents[2].glob(f"*/*/seed*/{self.folder.name}/{name}")):
            with suppress(*_UNREADABLE), safe_open(path, "pt") as file:
                facts = file.metadata() or {}
                if facts.get("lesson") == lesson:
                    return learner_of(task, load_file(path), base), float(facts["seconds"])
        return None

    def restore(self, method: Method, tasks: Sequence[Task]) -> tuple[int, float]:
        """How many tasks were learned, and how many seconds the last one took; the method is as it was then. Raises CcvdError."""
        path = self.folder / "method.safetensors"
        if not path.exists():
            return 0, 0.0
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
            done = int(facts["after"])
            learned = {t.name: learner_of(t, load_file(self._learner(t)), method.base) for t in tasks[:done]}
            method.restore(learned, load_file(path))
        except _UNREADABLE as error:
            raise CcvdError(
                f"'{self.folder}' cannot be read: {error}", f"remove '{self.run}' to begin it anew"
            ) from error
        return done, float(facts["seconds"])

    def _learner(self, task: Task) -> Path:
        return self.folder / f"{task.order:02d}-{task.name}.safetensors"


def _save(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, str]) -> None:
    with whole(path) as (part,):
        # Copies: what several names share can be saved once only. As bytes: what a full disk says of those is an OSError.
        part.write_bytes(save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, facts))
