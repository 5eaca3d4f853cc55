"""A mean and how far to trust it. No torch here: reports need it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean over clips, and where it would lie in 95 of 100 repetitions."""

    mean: float
    low: float
    high: float
    count: int


def estimate(values: Sequence[float], *, resamples: int = 2_000, seed: int = 0) -> Estimate:
    """The mean with its percentile bootstrap interval (Efron 1979). NaN for no values; one value has no width."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan, 0)
    x = np.asarray(values, np.float64)
    drawn = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    low, high = np.percentile(x[drawn].mean(1), [2.5, 97.5])
    return Estimate(float(x.mean()), float(low), float(high), len(x))


__all__ = ["Estimate", "estimate"]
