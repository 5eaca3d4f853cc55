"""Results of the benchmark, read back from their files and held against each other: no model is needed for it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import CcvdError, UsageError
from .estimates import Estimate, estimate
from .forgetting import Forgetting, forgetting

Result = dict[str, Any]
Means = dict[tuple[int, str], list[float]]  # by seed and concept, in the order of tasks


@dataclass(frozen=True)
class Standing:
    """One method on one stream, over its finished seeds.

    scores: at the end, over concepts and seeds; forgotten: by metric; composed: by kind of prompt and metric, over clips.
    """

    stream: str
    method: str
    seeds: int
    unfinished: int
    scores: dict[str, Estimate]
    forgotten: dict[str, Forgetting]
    composed: dict[str, dict[str, Estimate]]
    seconds: float  # of learning a task

    def as_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(v) for key, v in value.items()}
            if isinstance(value, float):
                return None if math.isnan(value) else round(value, 5)
            return value

        found: dict[str, Any] = plain(asdict(self))
        return found


def read(out: Path) -> list[Result]:
    """Every result below a folder, in the order of streams, methods, seeds and tasks.

    Raises:
        UsageError: there is none.
        CcvdError: a file is no result.
    """
    found = []
    for path in sorted(out.glob("*/*/seed*/[0-9]*-*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["format"] != 1:
                raise ValueError(f"format {result['format']}")
            result["label"] = path.parent.parent.name
            found.append(result)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CcvdError(
                f"'{path}' is no result of a benchmark ({error})",
                f"remove '{path.parent}', and run it anew",
            ) from error
    if not found:
        raise UsageError(f"There are no results in '{out}'.", "Run ccvd benchmark first, or name its --out.")
    return sorted(found, key=lambda r: (r["stream"], r["label"], r["seed"], r["task"]["order"]))


def standings(results: Sequence[Result]) -> list[Standing]:
    """By stream and method, in the order of the results; of seeds that did not come to the end nothing counts."""
    groups: dict[tuple[str, str], dict[int, list[Result]]] = {}
    for r in results:
        groups.setdefault((r["stream"], r["label"]), {}).setdefault(r["seed"], []).append(r)
    return [_standing(stream, label, runs) for (stream, label), runs in groups.items()]


def _standing(stream: str, label: str, runs: Mapping[int, list[Result]]) -> Standing:
    whole = {seed: run for seed, run in runs.items() if len(run) == run[-1]["tasks"]}
    histories: dict[str, Means] = {}
    for seed, run in whole.items():
        for metric, name, mean in _means(run):
            histories.setdefault(metric, {}).setdefault((seed, name), []).append(mean)
    finals = [run[-1] for run in whole.values()]
    kinds = dict.fromkeys(c["composed"] for r in finals for c in r["clips"] if "composed" in c)
    seconds = [r["seconds"]["learning"] for run in whole.values() for r in run]
    return Standing(
        stream,
        label,
        len(whole),
        len(runs) - len(whole),
        {metric: estimate([means[-1] for means in of.values()]) for metric, of in histories.items()},
        {
            metric: forgetting({f"{seed} {name}": means for (seed, name), means in of.items()})
            for metric, of in histories.items()
        },
        {kind: _composed(finals, kind) for kind in kinds},
        sum(seconds) / len(seconds) if seconds else math.nan,
    )


def _means(run: Sequence[Result]) -> Iterator[tuple[str, str, float]]:
    """Metric, concept and its mean, task after task."""
    for result in run:
        for name, scores in result["scores"].items():
            for metric, found in scores.items():
                yield metric, name, found["mean"]


def _composed(finals: Sequence[Result], kind: str) -> dict[str, Estimate]:
    values: dict[str, list[float]] = {}
    for result in finals:
        for clip in result["clips"]:
            if clip.get("composed") == kind:
                for metric, score in clip["scores"].items():
                    values.setdefault(metric, []).append(score)
    return {metric: estimate(found) for metric, found in values.items()}
