"""Results of a benchmark, as its files tell them: one JSON per method, seed and task. What is damaged is skipped, and named."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError

FORMAT = 1


@dataclass(frozen=True)
class Shot:
    """A clip: of a concept, or of several that were `composed` in one of the ways that prompts know."""

    concept: str
    prompt: str
    seed: int
    path: Path
    scores: dict[str, float]
    composed: str


@dataclass(frozen=True)
class Result:
    """What a method has after a task: `scores` are means by concept, then metric; `judges` how often each is right; seconds by task."""

    stream: str
    method: str
    seed: int
    order: int
    tasks: int
    scores: dict[str, dict[str, float]]
    shots: list[Shot]
    judges: dict[str, float]
    learning: float | None
    evaluating: float | None


def read(folder: Path) -> tuple[list[Result], list[str]]:
    """Results, and what is wrong with files that are none. Raises UsageError if there is no result at all."""
    paths = sorted(folder.glob("*/*/seed*/[0-9]*-*.json")) if folder.is_dir() else []
    found, wrong = [], []
    for path in paths:
        try:
            found.append(_result(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            wrong.append(f"{path.relative_to(folder)}: {_why(error)}")
    if found:
        return found, wrong
    raise UsageError(
        f"--benchmark '{folder}' holds no results{f' ({wrong[0]})' if wrong else ''}.",
        "Give the folder that has <stream>/<method>/seed<k>/<task>.json.",
    )


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    return str(error) if isinstance(error, (ValueError, OSError)) else "its fields are of other types"


def _result(path: Path) -> Result:
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']!r}, not {FORMAT}")
    seconds = found.get("seconds") or {}
    without = ", ".join(map(str, found.get("ablated") or ()))
    order = int(found["task"]["order"])
    return Result(
        str(found["stream"]),
        str(found["method"]) + (f" without {without}" if without else ""),
        int(found["seed"]),
        order,
        int(found.get("tasks") or order),
        {str(name): means(of) for name, of in found["scores"].items()},
        [shot for clip in found.get("clips") or () if (shot := _shot(clip, path.parent))],
        _numbers(found.get("judges") or {}),
        number(seconds.get("learning")),
        number(seconds.get("evaluating")),
    )


def _shot(clip: Mapping[str, Any], folder: Path) -> Shot | None:
    """None if its file is elsewhere."""
    path = folder / clip["file"]
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    return Shot(
        str(clip.get("concept", "")),
        str(clip["prompt"]),
        int(clip["seed"]),
        path,
        _numbers(clip.get("scores") or {}),
        str(clip.get("composed") or ""),
    )


def means(found: Mapping[str, Any]) -> dict[str, float]:
    """Of scores as `ccvd evaluate` and benchmarks store them; those that say nothing are left out."""
    return _numbers({metric: score["mean"] for metric, score in found.items() if score})


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {str(k): v for k, given in found.items() if (v := number(given)) is not None}


def number(value: Any) -> float | None:
    """None for what is no finite number."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


__all__ = ["Result", "Shot", "number", "read"]
