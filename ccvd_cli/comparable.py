"""Evaluations that asked the same, and so can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccvd_registry import EvaluationView


def by_task(evaluations: Sequence[EvaluationView]) -> list[EvaluationView]:
    """Of evaluations that asked the same, in the order of time, the last after each task."""
    return list({past.after: past for past in evaluations}.values())


def asked_alike(evaluations: Sequence[EvaluationView]) -> list[list[EvaluationView]]:
    """Those of a concept, in the order of time, by what they asked, `by_task` in each; what was asked first comes first."""
    ways: list[list[EvaluationView]] = []
    for one in evaluations:
        if way := next((way for way in ways if way[0].how == one.how), None):
            way.append(one)
        else:
            ways.append([one])
    return [by_task(way) for way in ways]


__all__ = ["asked_alike", "by_task"]
