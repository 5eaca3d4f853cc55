"""A concept's evaluations over tasks: which can be compared, and a line of blocks for each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..comparable import asked_alike
from ..metric_names import SAID
from ..output import date, emit, emit_table

if TYPE_CHECKING:
    from ccvd_registry import EvaluationView

_BLOCKS, _ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_WIDTH = 48  # of a line, so that its words fit into 80 columns beside it
_LEAST_SPAN = 0.05  # from the lowest block to the highest: what differs by less is not made to look like much
# Of a kind, the score that says most about it comes first.
_MAIN = {
    "subject": ("identity", "clip_i", "dino_i", "clip_t"),
    "style": ("style", "clip_i", "dino_i", "clip_t"),
    "motion": ("motion_class", "motion", "clip_t"),
}


@dataclass(frozen=True)
class History:
    """Evaluations that asked the same, one after each task, and the means of the concept's main metric in them."""

    asked: int  # its number
    metric: str
    evaluations: Sequence[EvaluationView]

    @property
    def means(self) -> list[float]:
        return [e.scores[self.metric]["mean"] for e in self.evaluations]

    def as_json(self) -> dict[str, Any]:
        points = [{"after": e.after, "created": e.created, **e.scores[self.metric]} for e in self.evaluations]
        first, best, now = (points[i] for i in (0, self._best, -1))
        facts = {"asked": self.asked, "metric": self.metric, "how": self.evaluations[-1].how}
        marks = {"first": first["mean"], "best": best["mean"], "now": now["mean"]}
        return facts | {"points": points} | marks

    def words(self) -> str:
        """'first 0.812 (after task 3), best 0.830 (4), now 0.790 (35)'."""
        of = {"first": 0, "best": self._best, "now": -1}
        parts = [f"{word} {self.means[i]:.3f} ({self.evaluations[i].after})" for word, i in of.items()]
        return ", ".join(parts).replace("(", "(after task ", 1)

    @property
    def _best(self) -> int:
        return max(range(len(self.means)), key=self.means.__getitem__)


def histories(kind: str, evaluations: Sequence[EvaluationView]) -> list[History]:
    """One for every way of asking, numbered as they came, of those in which a main metric of the kind was found."""
    found = []
    for i, alike in enumerate(asked_alike(evaluations), 1):
        metric = next((m for m in _MAIN[kind] if all(m in e.scores for e in alike)), None)
        if metric:
            found.append(History(i, metric, alike))
    return found


def tell(kind: str, evaluations: Sequence[EvaluationView]) -> None:
    """A line for every history, and then one for every evaluation: only those of the same number can be compared."""
    characters = _BLOCKS if _can_say(_BLOCKS) else _ASCII
    for history in histories(kind, evaluations):
        emit("")
        name = f"asked {history.asked}: {SAID.get(history.metric, history.metric)}"
        emit(f"{name}  {sparkline(history.means, characters)}")
        emit(f"  {history.words()}")
    metrics = list(dict.fromkeys(metric for e in evaluations for metric in e.scores))
    ways = [way[0].how for way in asked_alike(evaluations)]
    rows = []
    for e in evaluations:
        means = (f"{e.scores[m]['mean']:.3f}" if m in e.scores else "" for m in metrics)
        rows.append((date(e.created), e.after, 1 + ways.index(e.how), *means))
    emit("")
    emit_table(("EVALUATED", "AFTER TASK", "ASKED", *(SAID.get(m, m.upper()) for m in metrics)), rows)


def sparkline(values: Sequence[float], characters: str = _BLOCKS, width: int = _WIDTH) -> str:
    """A character for each value, or, of more than `width`, for the mean of some neighbours: the last character is the highest."""
    if not values:
        return ""
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        parts = [values[a:b] for a, b in pairwise(edges)]
        values = [sum(part) / len(part) for part in parts]
    middle = (max(values) + min(values)) / 2
    span = max(max(values) - min(values), _LEAST_SPAN)
    shares = [(value - middle) / span + 0.5 for value in values]
    top = len(characters) - 1
    return "".join(characters[min(top, max(0, round(share * top)))] for share in shares)


def _can_say(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
