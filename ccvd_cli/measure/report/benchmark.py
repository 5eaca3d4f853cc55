"""Methods held against each other, as `ccvd benchmark` does it: only seeds that came to the end of the stream count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..results import Result, Shot, Standing, means_over_tasks, standings

COMPARED = 12  # prompts of a stream that are shown side by side


@dataclass(frozen=True)
class Method(Standing):
    """`done`: tasks of the seed that came farthest; by metric, `curves` are means over all that was learned so far, by (task, mean), and `kept`
    those of every concept since it was learned; of all seeds.
    """

    done: int
    curves: dict[str, list[tuple[float, float]]]
    kept: dict[str, dict[str, list[tuple[float, float]]]]

    @property
    def name(self) -> str:
        return self.method


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
        methods = [_method(s, [r for r in of if r.method == s.method]) for s in standings(of)]
        methods.sort(key=lambda m: m.method)
        judges = {metric: share for r in of for metric, share in r.judges.items()}
        found.append(Stream(name, tasks, methods, judges, chosen, len(every)))
    return found


def _method(standing: Standing, results: Sequence[Result]) -> Method:
    done = max(r.order for r in results)
    return Method(**vars(standing), done=done, curves=_curves(results), kept=_kept(results))


def _curves(results: Sequence[Result]) -> dict[str, list[tuple[float, float]]]:
    """Of tasks after which everything learned so far was scored: else means would be over ever other concepts."""
    values: dict[str, dict[int, list[float]]] = {}
    for result in results:
        if len(result.scores) == result.order:
            for metric, _, mean in means_over_tasks([result]):
                values.setdefault(metric, {}).setdefault(result.order, []).append(mean)
    # The first task's concept alone and all of them at the end are no curve.
    last = max((r.tasks for r in results), default=0)
    return {m: _points(of) for m, of in values.items() if last < 3 or set(of) != {1, last}}


def _kept(results: Sequence[Result]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Of concepts that were scored again after further tasks."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for result in results:
        for metric, concept, mean in means_over_tasks([result]):
            of = values.setdefault(metric, {}).setdefault(concept, {})
            of.setdefault(result.order, []).append(mean)
    found = {m: {c: _points(of) for c, of in by.items() if len(of) > 1} for m, by in values.items()}
    return {metric: lines for metric, lines in found.items() if lines}


def _points(by_task: Mapping[int, Sequence[float]]) -> list[tuple[float, float]]:
    return [(float(task), sum(v) / len(v)) for task, v in sorted(by_task.items())]


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
