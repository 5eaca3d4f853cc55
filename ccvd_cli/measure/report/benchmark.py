"""Methods held against each other, as `ccvd benchmark` does it: only seeds that came to the end of the stream count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..estimates import Estimate, estimate
from ..forgetting import Forgetting, forgetting
from .results import Result, Shot

COMPARED = 12  # prompts of a stream that are shown side by side


@dataclass(frozen=True)
class Method:
    """A method on a stream: `scores` at the end are over concepts and seeds, `composed` over clips by kind of prompt, `curves` means over
    all that was learned so far, by (task, mean), of all seeds. `learning` and `evaluating` are seconds of a task."""

    name: str
    seeds: int
    unfinished: int
    done: int  # tasks of the seed that came farthest
    scores: dict[str, Estimate]
    lost: dict[str, Forgetting]
    composed: dict[str, dict[str, Estimate]]
    curves: dict[str, list[tuple[float, float]]]
    learning: float | None
    evaluating: float | None


@dataclass(frozen=True)
class Stream:
    """`judges`: the share of rendered truth on which each is right. `asked`: clips of one prompt by method, of `prompts` that there are."""

    name: str
    tasks: int
    methods: list[Method]
    judges: dict[str, float]
    asked: list[dict[str, Shot]]
    prompts: int


def streams(results: Sequence[Result]) -> list[Stream]:
    """In the order of their names, and so their methods."""
    found = []
    for name in sorted({r.stream for r in results}):
        of = sorted((r for r in results if r.stream == name), key=lambda r: r.order)
        tasks = max(r.tasks for r in of)
        every = side_by_side(of)
        chosen = (
            [every[i * len(every) // COMPARED] for i in range(COMPARED)] if len(every) > COMPARED else every
        )
        methods = [
            _method(m, [r for r in of if r.method == m], tasks) for m in sorted({r.method for r in of})
        ]
        judges = {metric: share for r in of for metric, share in r.judges.items()}
        found.append(Stream(name, tasks, methods, judges, chosen, len(every)))
    return found


def _method(name: str, results: Sequence[Result], tasks: int) -> Method:
    runs: dict[int, list[Result]] = {}
    for result in results:
        runs.setdefault(result.seed, []).append(result)
    whole = [run for run in runs.values() if len(run) == tasks]
    histories: dict[str, dict[str, list[float]]] = {}
    for run in whole:
        for metric, concept, mean in _means(run):
            histories.setdefault(metric, {}).setdefault(f"{run[0].seed} {concept}", []).append(mean)
    lost = {metric: forgetting(of) for metric, of in histories.items()}
    return Method(
        name,
        len(whole),
        len(runs) - len(whole),
        max(r.order for r in results),
        {metric: estimate([means[-1] for means in of.values()]) for metric, of in histories.items()},
        {metric: found for metric, found in lost.items() if not math.isnan(found.since_first)},
        _composed([run[-1] for run in whole]),
        _curves(results),
        _mean([r.learning for r in results if r.learning is not None]),
        _mean([r.evaluating for r in results if r.evaluating is not None]),
    )


def _means(run: Sequence[Result]) -> Iterator[tuple[str, str, float]]:
    for result in run:
        for concept, scores in result.scores.items():
            for metric, mean in scores.items():
                yield metric, concept, mean


def _composed(finals: Sequence[Result]) -> dict[str, dict[str, Estimate]]:
    values: dict[str, dict[str, list[float]]] = {}
    for shot in (shot for result in finals for shot in result.shots if shot.composed):
        for metric, score in shot.scores.items():
            values.setdefault(shot.composed, {}).setdefault(metric, []).append(score)
    return {kind: {metric: estimate(v) for metric, v in of.items()} for kind, of in values.items()}


def _curves(results: Sequence[Result]) -> dict[str, list[tuple[float, float]]]:
    """Of tasks after which everything learned so far was scored: else means would be over ever other concepts."""
    values: dict[str, dict[int, list[float]]] = {}
    for result in results:
        if len(result.scores) == result.order:
            for metric, _, mean in _means([result]):
                values.setdefault(metric, {}).setdefault(result.order, []).append(mean)
    return {m: [(float(t), sum(v) / len(v)) for t, v in sorted(of.items())] for m, of in values.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def side_by_side(results: Sequence[Result]) -> list[dict[str, Shot]]:
    """Clips by method, newest task's, of what two methods or more were asked: the k-th prompt of a concept, in the lowest seed that they share.

    A method may word a prompt in its own way, so that it is known by its place.
    """
    found: dict[tuple[int, str, str, int], dict[str, Shot]] = {}
    for result in sorted(results, key=lambda r: r.order):
        places: dict[tuple[str, str], int] = {}
        for shot in result.shots:
            k = places[shot.composed, shot.concept] = places.get((shot.composed, shot.concept), -1) + 1
            if shot.path.is_file():
                asked = (result.seed, shot.composed, shot.concept, k)
                found.setdefault(asked, {})[result.method] = shot
    first: Mapping[tuple[str, str, int], dict[str, Shot]] = {
        asked[1:]: dict(sorted(of.items()))
        for asked, of in sorted(found.items(), reverse=True)
        if len(of) > 1  # the lowest seed comes last, and stays
    }
    return [first[asked] for asked in sorted(first)]


__all__ = ["Method", "Stream", "side_by_side", "streams"]
