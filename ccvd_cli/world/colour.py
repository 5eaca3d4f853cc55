"""Colours as eyes see them, and what to call one that has no name of its own."""

from __future__ import annotations

from functools import cache

import numpy as np

from .render import COLOURS
from .shapes import RGB, Array

# More words than the world's actors come in, for strangers.
SHADES: dict[str, RGB] = COLOURS | {
    "black": (0.08, 0.08, 0.08),
    "grey": (0.5, 0.5, 0.5),
    "brown": (0.45, 0.28, 0.14),
    "teal": (0.1, 0.62, 0.62),
}


def oklab(rgb: np.ndarray) -> Array:
    """sRGB (..., 3) in [0, 1] -> OKLab, where distance is what eyes see (bottosson.github.io/posts/oklab)."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    lms = linear @ np.asarray(_LMS).T
    return np.asarray(np.cbrt(lms) @ np.asarray(_LAB).T, np.float32)


_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


@cache
def _shades() -> Array:
    return oklab(np.asarray(list(SHADES.values())))


def called(rgb: RGB) -> str:
    """The nearest shade's name."""
    return list(SHADES)[int(np.linalg.norm(_shades() - oklab(np.asarray(rgb)), axis=-1).argmin())]
