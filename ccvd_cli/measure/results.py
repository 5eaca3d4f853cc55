"""Results of a benchmark, read back from its files and held against each other: no model is needed for it.

There is one JSON file per method, seed and task. What is damaged is skipped, and named; of seeds that did not come to the end nothing counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UsageError, first_of
from ..estimates import Estimate, estimate, rate, widened
from ..metric_names import SHARES, bounds_of
from .forgetting import Forgetting, forgetting
from .result_file import Clip, ResultFile


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
    """What a method has after a task; it is called by its name and what it was run without or with.

    scores: means by concept, then metric; judges: how often each is right; learning, evaluating: seconds of the task.
    """

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


@dataclass(frozen=True)
class Standing:
    """One method on one stream, over its finished seeds.

    scores: at the end, over concepts and seeds; forgotten: by metric; composed: by kind of prompt and metric, over clips; judges: how often
    each is right on rendered truth, the least of all runs; learning, evaluating: seconds of a task.
    """

    stream: str
    method: str
    seeds: int
    unfinished: int
    scores: dict[str, Estimate]
    forgotten: dict[str, Forgetting]
    composed: dict[str, dict[str, Estimate]]
    judges: dict[str, float]
    learning: float | None
    evaluating: float | None

    def as_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(v) for key, v in value.items()}
            if isinstance(value, float):
                return None if math.isnan(value) else round(value, 5)
            return value

        found: dict[str, Any] = plain(asdict(self))
        return found


def read(folder: Path) -> tuple[list[Result], list[str]]:
    """Results, and what is wrong with files that are none. Raises UsageError if there is no result at all."""
    paths = sorted(folder.glob("*/*/seed*/[0-9]*-*.json")) if folder.is_dir() else []
    found: dict[tuple[str, str, int, int], Result] = {}
    wrong: list[str] = []
    for path in paths:
        try:
            result = _result(path)
            if found.setdefault((result.stream, result.method, result.seed, result.order), result) != result:
                raise ValueError("another file is of the same method, seed and task")
        except (OSError, ValueError) as error:
            wrong.append(
                f"{path.relative_to(folder)}: {_why(error)}; remove its folder to run that seed anew"
            )
    if found:
        return list(found.values()), wrong
    raise UsageError(
        f"'{folder}' holds no results of a benchmark{f' ({wrong[0]})' if wrong else ''}.",
        "Run ccvd benchmark first, or give the folder that has <stream>/<method>/seed<k>/<task>.json.",
    )


def _why(error: Exception) -> str:
    return first_of(error) if isinstance(error, ValidationError) else str(error)


def _result(path: Path) -> Result:
    file = ResultFile.model_validate_json(path.read_bytes())
    return Result(
        stream=file.stream,
        method=file.called,
        seed=file.seed,
        order=file.task.order,
        tasks=file.tasks or file.task.order,
        scores={name: _known({m: s.mean for m, s in of.items() if s}) for name, of in file.scores.items()},
        shots=[shot for clip in file.clips if (shot := _shot(clip, path.parent))],
        judges=_known(file.judges),
        learning=file.seconds.learning,
        evaluating=file.seconds.evaluating,
    )


def _shot(clip: Clip, folder: Path) -> Shot | None:
    """None if its file is elsewhere."""
    path = folder / clip.file
    if not path.resolve().is_relative_to(folder.resolve()):
        return None
    return Shot(clip.concept, clip.prompt, clip.seed, path, _known(clip.scores), clip.composed)


def _known(found: Mapping[str, float | None]) -> dict[str, float]:
    """Scores that say nothing are left out."""
    return {metric: value for metric, value in found.items() if value is not None}


def standings(results: Sequence[Result]) -> list[Standing]:
    """By stream and method, in the order of the results. Runs that ended before their stream had grown are unfinished."""
    groups: dict[tuple[str, str], list[Result]] = {}
    ends: dict[str, int] = {}
    for r in results:
        groups.setdefault((r.stream, r.method), []).append(r)
        ends[r.stream] = max(r.tasks, ends.get(r.stream, 0))
    return [_standing(stream, method, of, ends[stream]) for (stream, method), of in groups.items()]


def _standing(stream: str, method: str, results: Sequence[Result], tasks: int) -> Standing:
    runs: dict[int, list[Result]] = {}
    for result in sorted(results, key=lambda r: r.order):
        runs.setdefault(result.seed, []).append(result)
    whole = [run for run in runs.values() if len(run) == tasks]
    histories: dict[str, dict[str, list[float]]] = {}
    for run in whole:
        for metric, concept, mean in means_over_tasks(run):
            histories.setdefault(metric, {}).setdefault(f"{run[0].seed} {concept}", []).append(mean)
    lost = {metric: forgetting(of) for metric, of in histories.items()}
    finals = [run[-1] for run in whole]
    at_the_end: dict[str, dict[str, list[float]]] = {}
    for final in finals:
        for metric, concept, mean in means_over_tasks([final]):
            at_the_end.setdefault(metric, {}).setdefault(concept, []).append(mean)
    return Standing(
        stream,
        method,
        len(whole),
        len(runs) - len(whole),
        {metric: _at_the_end(metric, of, finals) for metric, of in at_the_end.items()},
        {metric: found for metric, found in lost.items() if not math.isnan(found.since_first)},
        _composed(finals),
        {m: min(r.judges[m] for r in finals if m in r.judges) for m in _judged(finals)},
        _mean([r.learning for run in whole for r in run if r.learning is not None]),
        _mean([r.evaluating for run in whole for r in run if r.evaluating is not None]),
    )


def means_over_tasks(run: Sequence[Result]) -> Iterator[tuple[str, str, float]]:
    """Metric, concept and its mean, task after task."""
    for result in run:
        for concept, scores in result.scores.items():
            for metric, mean in scores.items():
                yield metric, concept, mean


def _composed(finals: Sequence[Result]) -> dict[str, dict[str, Estimate]]:
    """Over prompts, as `_at_the_end` has it over concepts."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for shot in (shot for result in finals for shot in result.shots if shot.composed):
        for metric, score in shot.scores.items():
            prompts = values.setdefault(shot.composed, {}).setdefault(metric, {})
            prompts.setdefault(f"{shot.concept}: {shot.prompt}", []).append(score)
    return {
        kind: {m: rate(_means_of(v)) if m in SHARES else _estimate(m, v) for m, v in of.items()}
        for kind, of in values.items()
    }


def _at_the_end(metric: str, concepts: Mapping[str, Sequence[float]], finals: Sequence[Result]) -> Estimate:
    """Over concepts, which are resampled: seeds show how one concept varies and are no further concepts, so each is its mean over them.

    Of what is right or wrong the interval is at least as wide as that of all answers with one seed.
    """
    found = _estimate(metric, concepts)
    answers = sum(metric in shot.scores for r in finals for shot in r.shots if not shot.composed)
    return widened(found, max(1, answers // len(finals))) if metric in SHARES and answers else found


def _estimate(metric: str, groups: Mapping[str, Sequence[float]]) -> Estimate:
    return estimate(_means_of(groups), bounds=bounds_of(metric))


def _means_of(groups: Mapping[str, Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in groups.values()]


def _judged(finals: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(metric for r in finals for metric in r.judges))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


__all__ = ["Result", "Shot", "Standing", "means_over_tasks", "read", "standings"]
