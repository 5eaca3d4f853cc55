"""Motions as paths of a pose over time.

A motion's path is nearly the same in every clip (small jitter only): what a caption says and which frame it
is then fix where the actor stands, which is what a small video model has to learn first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .shapes import Array


@dataclass(frozen=True)
class Path:
    """Per frame: offset from rest (in frame widths), size factor, angle (radians), width factor, facing."""

    dx: Array
    dy: Array
    scale: Array
    angle: Array
    stretch: Array
    facing: Array


def _path(t: Array, **moved: object) -> Path:
    rest = {"dx": 0.0, "dy": 0.0, "scale": 1.0, "angle": 0.0, "stretch": 1.0, "facing": 1.0}
    fields = {**rest, **moved}
    return Path(**{k: np.broadcast_to(np.asarray(v, np.float32), t.shape).copy() for k, v in fields.items()})


def _sin(t: Array, turns: float) -> Array:
    return np.sin(2 * np.pi * turns * t).astype(np.float32)


def _cos(t: Array, turns: float) -> Array:
    return np.cos(2 * np.pi * turns * t).astype(np.float32)


# t runs from 0 to 1 over the clip.
MOTIONS: dict[str, Callable[[Array], Path]] = {
    "standing still": lambda t: _path(t),
    "moving left": lambda t: _path(t, dx=0.28 - 0.56 * t, facing=-1.0),
    "moving right": lambda t: _path(t, dx=-0.28 + 0.56 * t),
    "jumping": lambda t: _path(t, dy=0.14 - 0.36 * np.abs(_sin(t, 1.0))),
    "spinning": lambda t: _path(t, angle=2 * np.pi * t),
    "growing": lambda t: _path(t, scale=0.45 + 0.95 * t),
    "shrinking": lambda t: _path(t, scale=1.40 - 0.95 * t),
    "falling": lambda t: _path(t, dy=-0.30 + 0.56 * t),
    "rising": lambda t: _path(t, dy=0.26 - 0.56 * t),
}

HELDOUT_MOTIONS: dict[str, Callable[[Array], Path]] = {
    "circling": lambda t: _path(t, dx=0.22 * _cos(t, 1.0), dy=0.22 * _sin(t, 1.0)),
    "zigzagging": lambda t: _path(t, dx=-0.26 + 0.52 * t, dy=0.18 * (4 * np.abs((2 * t) % 1 - 0.5) - 1)),
    "swinging": lambda t: _path(t, dx=0.22 * _sin(t, 1.0), angle=-0.7 * _sin(t, 1.0)),
    "pulsing": lambda t: _path(t, scale=0.85 + 0.40 * _sin(t, 2.0)),
    "diving": lambda t: _path(t, dx=-0.26 + 0.52 * t, dy=-0.24 + 0.48 * t, angle=0.7),
    "bouncing": lambda t: _path(t, dx=0.26 - 0.52 * t, dy=0.16 - 0.36 * np.abs(_sin(t, 1.5)), facing=-1.0),
    "flipping": lambda t: _path(
        t, stretch=np.abs(_cos(t, 1.0)) * 0.9 + 0.1, facing=np.sign(_cos(t, 1.0) + 1e-6)
    ),
    "stretching": lambda t: _path(t, stretch=1.0 + 0.55 * _sin(t, 1.0), dy=0.04 * _sin(t, 1.0)),
    "rocking": lambda t: _path(t, angle=0.55 * _sin(t, 2.0)),
    "somersaulting": lambda t: _path(t, dy=0.16 - 0.40 * np.sin(np.pi * t), angle=-2 * np.pi * t),
    "looping": lambda t: _path(
        t, dx=-0.26 + 0.52 * t + 0.16 * _sin(t, 1.0), dy=-0.20 * (1 - _cos(t, 1.0)) + 0.16
    ),
    "shaking": lambda t: _path(t, dx=0.11 * _sin(t, 3.0)),
    "bobbing": lambda t: _path(t, dy=0.13 * _sin(t, 2.0)),
    "tumbling": lambda t: _path(t, dx=0.28 - 0.56 * t, angle=-2 * np.pi * t, facing=-1.0),
    "retreating": lambda t: _path(t, dx=-0.24 + 0.48 * t, dy=0.10 - 0.20 * t, scale=1.3 - 0.85 * t),
}


def trajectory(motion: str, frames: int) -> Path:
    """The path of `motion` over `frames` frames.

    Raises:
        KeyError: a motion that the world does not know.
    """
    t = np.linspace(0, 1, frames, dtype=np.float32) if frames > 1 else np.zeros(1, np.float32)
    return (MOTIONS | HELDOUT_MOTIONS)[motion](t)
