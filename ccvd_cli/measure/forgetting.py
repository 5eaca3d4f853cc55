"""How much of what was learned is left. No torch here: reports need it too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Forgetting:
    """What was lost on average, in units of the score; below 0, it was gained."""

    since_first: float  # just learned, or when it was first scored - now
    since_best: float  # best ever - now


def forgetting(histories: Mapping[str, Sequence[float]]) -> Forgetting:
    """F-x: each concept's scores in the order of tasks, first just after it was learned, last now; over all that were scored after others too.

    The last task's concept has one score and nothing to forget: it is left out. NaN if nobody has two.
    """
    again = [scores for scores in histories.values() if len(scores) > 1]
    if not again:
        return Forgetting(math.nan, math.nan)
    return Forgetting(
        float(np.mean([scores[0] - scores[-1] for scores in again])),
        float(np.mean([max(scores) - scores[-1] for scores in again])),
    )


__all__ = ["Forgetting", "forgetting"]
