"""The boxes of a path (F, 4): x and y of the middle, width and height, in fractions of the frame."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .regions import Box

Path: TypeAlias = "npt.NDArray[np.float64]"

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LEAST = 0.02  # of a frame's side: no box is smaller


def at_frames(path: Path, frames: int) -> Path:
    """A path in as many frames, linear between its own: (frames, 4)."""
    own, asked = np.linspace(0, 1, len(path)), np.linspace(0, 1, frames)
    return np.stack([np.interp(asked, own, side) for side in path.T], 1)


def further(path: Path, strength: float) -> Path:
    """A path whose middles are so many times as far from their mean."""
    middles, sizes = path[:, :2], path[:, 2:]
    mean = middles.mean(0)
    return np.concatenate([mean + strength * (middles - mean), sizes], 1)


def within(path: Path, box: Box) -> list[Box]:
    """A path in fractions of a box -> x0, y0, x1, y1 by frame, in fractions of the frame that the box lies in, and inside of it."""
    low, high = np.array(box[:2]), np.array(box[2:])
    least = LEAST / (high - low).clip(LEAST)
    half = np.maximum(path[:, 2:], least) / 2
    middles = path[:, :2].clip(least / 2, 1 - least / 2)
    inside = np.concatenate([middles - half, middles + half], 1).clip(0, 1)
    boxes = np.tile(low, 2) + np.tile(high - low, 2) * inside
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.clip(0, 1).tolist()]
