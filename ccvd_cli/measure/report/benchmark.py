"""Results of a benchmark: one JSON per (method, seed, task), read into plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..forgetting import forgetting

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """What a method scored after a task: `scores` and `composed` are means by concept (or number of concepts), then metric."""

    stream: str
    method: str
    seed: int
    order: int
    scores: dict[str, dict[str, float]]
    composed: dict[str, dict[str, float]]
    clips: list[tuple[str, int, Path]]  # prompt, seed, file


@dataclass(frozen=True)
class Method:
    """A method on a stream: means over concepts, then seeds, at each seed's last task; `curves` by metric are (task, mean)."""

    stream: str
    name: str
    seeds: int
    tasks: int
    last: dict[str, float]
    lost: dict[str, tuple[float, float]]
    curves: dict[str, list[tuple[float, float]]]


def read(folder: Path) -> list[Result]:
    """Raises UsageError if there are no results, or one is not what a benchmark writes."""
    paths = sorted(folder.glob("*/*/seed*/*.json")) if folder.is_dir() else []
    if not paths:
        raise UsageError(
            f"--benchmark '{folder}' holds no results.",
            "Give the folder that has <stream>/<method>/seed<k>/<task>.json.",
        )
    return [_result(path) for path in paths]


def _result(path: Path) -> Result:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, not {FORMAT}")
        clips = [(str(c["prompt"]), int(c["seed"]), path.parent / c["file"]) for c in found.get("clips", ())]
        return Result(
            str(found["stream"]),
            str(found["method"]),
            int(found["seed"]),
            int(found["task"]["order"]),
            _means(found["scores"]),
            _means(found.get("composed", {})),
            [clip for clip in clips if clip[2].resolve().is_relative_to(path.parent.resolve())],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"'{path}' is not a result of a benchmark: {type(error).__name__}: {error}.",
            "Remove it, or make it again.",
        ) from error


def _means(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {n: {m: float(e["mean"]) for m, e in of.items() if e} for n, of in found.items()}


def methods(results: Sequence[Result]) -> list[Method]:
    """By stream and method, in that order."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.stream, result.method), []).append(result)
    return [_method(stream, name, groups[stream, name]) for stream, name in sorted(groups)]


def _method(stream: str, name: str, results: Sequence[Result]) -> Method:
    runs: dict[int, list[Result]] = {}
    for result in sorted(results, key=lambda r: r.order):
        runs.setdefault(result.seed, []).append(result)
    last: dict[str, list[float]] = {}
    lost: dict[str, list[tuple[float, float]]] = {}
    for run in runs.values():
        for metric, value in (_over_concepts(run[-1].scores) | _composed(run[-1])).items():
            last.setdefault(metric, []).append(value)
        for metric in _over_concepts(run[-1].scores):
            found = forgetting(_histories(run, metric))
            if not math.isnan(found.since_first):
                lost.setdefault(metric, []).append((found.since_first, found.since_best))
    curves: dict[str, dict[int, list[float]]] = {}
    for result in results:
        for metric, value in _over_concepts(result.scores).items():
            curves.setdefault(metric, {}).setdefault(result.order, []).append(value)
    return Method(
        stream,
        name,
        len(runs),
        max(r.order for r in results),
        {m: _mean(v) for m, v in last.items()},
        {m: (_mean([a for a, _ in v]), _mean([b for _, b in v])) for m, v in lost.items()},
        {m: [(float(t), _mean(v)) for t, v in sorted(of.items())] for m, of in curves.items()},
    )


def _histories(run: Sequence[Result], metric: str) -> dict[str, list[float]]:
    histories: dict[str, list[float]] = {}
    for result in run:
        for concept, scores in result.scores.items():
            if metric in scores:
                histories.setdefault(concept, []).append(scores[metric])
    return histories


def _over_concepts(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    metrics = dict.fromkeys(m for of in scores.values() for m in of)
    return {m: _mean([of[m] for of in scores.values() if m in of]) for m in metrics}


def _composed(result: Result) -> dict[str, float]:
    return {f"{n}: {m}": v for n, of in result.composed.items() for m, v in of.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def side_by_side(results: Sequence[Result]) -> dict[tuple[str, str, int], dict[str, Path]]:
    """Clips by (stream, prompt, seed), then method, newest task's; only what two methods or more have."""
    found: dict[tuple[str, str, int], dict[str, Path]] = {}
    for result in sorted(results, key=lambda r: r.order):
        for prompt, seed, path in result.clips:
            if path.is_file():
                found.setdefault((result.stream, prompt, seed), {})[result.method] = path
    return {asked: clips for asked, clips in found.items() if len(clips) > 1}


__all__ = ["Method", "Result", "methods", "read", "side_by_side"]
