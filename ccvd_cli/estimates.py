"""A mean or a share, and how far to trust it. No torch here: reports need it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over so many prompts, concepts or whatever else varies, and where it would lie in 95 of 100 repetitions."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Rate:
    """`right` of `total`; of answers that are right in part, parts count too."""

    right: float
    total: int

    @property
    def value(self) -> float:
        return self.right / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval (Wilson 1927): honest for small counts, and at 0 and 1 too."""
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.959964, self.total, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(max(0.0, p * (1 - p)) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def estimate(
    values: Sequence[float],
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    resamples: int = 2_000,
    seed: int = 0,
) -> Estimate:
    """The mean with its percentile bootstrap interval (Efron 1979). NaN for no values; one value has no width.

    Of two values the bootstrap draws nothing beyond the two, which holds the truth half of the time: of ten or fewer the interval is at least
    as wide as Student's. It keeps within the `bounds` of what was measured.
    """
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    x = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    low, high = np.percentile(x[drawn].mean(1), [2.5, 97.5])
    mean = float(x.mean())
    if 1 < len(x) <= 1 + len(_STUDENT):
        half = _STUDENT[len(x) - 2] * float(x.std(ddof=1)) / math.sqrt(len(x))
        low, high = min(low, mean - half), max(high, mean + half)
    return Estimate(mean, max(bounds[0], float(low)), min(bounds[1], float(high)), len(x))


# The 97.5th percentile of Student's t distribution of 1, 2, ... degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def rate(right: Sequence[float]) -> Estimate:
    """Of answers that are right (1), wrong (0) or right in part, with Wilson's interval: resampled, all of few right would have no width."""
    found = Rate(math.fsum(right), len(right))
    return Estimate(found.value, *found.interval, len(right))


def widened(found: Estimate, answers: int) -> Estimate:
    """A mean over groups of `answers` that are right or wrong, with an interval that is never narrower than theirs."""
    low, high = Rate(found.mean * answers, answers).interval
    return replace(found, low=max(0.0, min(found.low, low)), high=min(1.0, max(found.high, high)))


__all__ = ["Estimate", "Rate", "estimate", "rate", "widened"]
