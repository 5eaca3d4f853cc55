"""The file of a benchmark's results: one JSON for each method, seed and task, as it is written and as it is read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FORMAT: Literal[1] = 1


def number(value: object) -> float | None:
    """None for what is no finite number."""
    try:
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
    except OverflowError:  # an integer that no float holds
        return None


Number = Annotated[float | None, BeforeValidator(number)]
Numbers = Mapping[str, Number]  # by metric


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class Learned(_Facts):
    """The task after which this was measured; `order` counts from 1."""

    order: int = Field(ge=1)
    kind: str = ""
    name: str = ""
    noun: str = ""


class Score(_Facts):
    """A mean over `count` clips with its 95% interval."""

    mean: Number
    low: Number = None
    high: Number = None
    count: int = 0


class Clip(_Facts):
    """What was made and how it was scored; `file` is relative to the folder of the run. `composed`: the kind of prompt for several concepts."""

    concept: str = ""
    prompt: str
    seed: int
    file: str
    scores: Numbers = {}
    composed: str = ""


class Seconds(_Facts):
    """What the task took."""

    learning: Number = None
    evaluating: Number = None


class ResultFile(_Facts):
    """scores: by concept and metric; composed: by kind of prompt and metric; judges: how often each is right on rendered truth, by metric.

    `method` was run without what is `ablated`, and with its own settings `changed`. `tasks`: of the stream as it was then.
    """

    format: Literal[1]
    stream: str
    method: str
    ablated: list[str] = []
    changed: dict[str, Any] = {}
    seed: int
    task: Learned
    tasks: int | None = None
    base: str = ""
    dtype: str = ""
    effort: float = 1.0
    recipe: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    seconds: Seconds = Seconds()
    encoders: list[str] = []
    judges: Numbers = {}
    scores: dict[str, dict[str, Score | None]]
    composed: dict[str, dict[str, Score | None]] = {}
    clips: list[Clip] = []

    @property
    def called(self) -> str:
        """The method, and what it was run without or with: 'ccvd without tokens'."""
        changed = [f"{key} {value}" for key, value in self.changed.items()]
        parts = (" without ", self.ablated), (" with ", changed)
        return self.method + "".join(word + ", ".join(of) for word, of in parts if of)


__all__ = ["FORMAT", "Clip", "Learned", "Numbers", "ResultFile", "Score", "Seconds", "number"]
