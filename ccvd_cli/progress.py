"""Progress on stderr: a live bar on a terminal, elsewhere a plain line every few seconds, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .output import duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0  # seconds between plain lines
_MEMORY = 0.9  # how much of the smoothed loss stays at each step: single losses say little


class Report(Protocol):
    """Says that `step` of `total` steps of `stage` are done; stages follow one another."""

    def __call__(self, stage: str, step: int, total: int, loss: float | None = None) -> None: ...


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """A reporter for one piece of work; what it shows is gone or complete afterwards, come what may."""
    if quiet:
        yield _silent
    elif sys.stderr.isatty():
        with _live() as display:
            yield _Bar(display)
    else:
        yield _Lines()


@dataclass
class _Pace:
    """Smoothed loss, rate and time left of the current stage."""

    stage: str = ""
    begun: float = 0.0
    first: int = 0
    last: int = 0
    loss: float | None = None

    def update(self, stage: str, step: int, loss: float | None) -> bool:
        """Whether a new stage begins with this step, perhaps one of the same name."""
        fresh = stage != self.stage or step <= self.last
        self.last = step
        if fresh:
            self.stage, self.begun, self.first, self.loss = stage, time.monotonic(), step, None
        if loss is not None:
            self.loss = loss if self.loss is None else _MEMORY * self.loss + (1 - _MEMORY) * loss
        return fresh

    def words(self, step: int, total: int) -> str:
        parts = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        # The clock starts with the stage's first report, so that step does not count.
        if step > self.first and (elapsed := time.monotonic() - self.begun) > 0:
            rate = (step - self.first) / elapsed
            parts.append(f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step")
            if step < total:
                parts.append(f"{duration((total - step) / rate)} left")
        return ", ".join(parts)


def _silent(stage: str, step: int, total: int, loss: float | None = None) -> None:
    pass


@dataclass
class _Lines:
    pace: _Pace = field(default_factory=_Pace)
    said: float = 0.0

    def __call__(self, stage: str, step: int, total: int, loss: float | None = None) -> None:
        fresh = self.pace.update(stage, step, loss)
        now = time.monotonic()
        if fresh or step == total or now - self.said >= _EVERY:
            self.said = now
            words = self.pace.words(step, total)
            print(f"{stage} {step}/{total}{', ' if words else ''}{words}", file=sys.stderr, flush=True)


@dataclass
class _Bar:
    display: Progress
    pace: _Pace = field(default_factory=_Pace)
    task: TaskID | None = None

    def __call__(self, stage: str, step: int, total: int, loss: float | None = None) -> None:
        if self.pace.update(stage, step, loss) or self.task is None:
            self.task = self.display.add_task(stage, total=total, words="")
        self.display.update(self.task, completed=step, words=self.pace.words(step, total))


def _live() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        console=Console(stderr=True),
    )
