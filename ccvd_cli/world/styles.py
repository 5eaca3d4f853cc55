"""Styles: filters over finished frames (F, H, W, 3) in [0, 1].

Those with names are held out: pretraining never sees them. It sees manners, styles at random.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .shapes import RGB, Array

_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)


def _grey(frames: Array) -> Array:
    return frames @ _LUMA


def _edges(frames: Array) -> Array:
    grey = _grey(frames)
    gx = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    gy = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    return np.clip(3.0 * (gx + gy), 0, 1)


def sketch(frames: Array) -> Array:
    """Pencil on paper."""
    tone = 0.75 + 0.25 * _grey(frames)
    return ((tone * (1 - 0.85 * _edges(frames)))[..., None] * np.asarray([1.0, 0.98, 0.93])).astype(
        np.float32
    )


def sepia(frames: Array) -> Array:
    """An old brown photograph."""
    return (_grey(frames)[..., None] * np.asarray([1.08, 0.82, 0.55]) + 0.04).astype(np.float32)


def neon(frames: Array) -> Array:
    """Glowing outlines in the dark."""
    glow = _edges(frames)[..., None] * (0.4 + 0.9 * frames[..., [1, 2, 0]])
    return (0.10 * frames[..., [2, 0, 1]] + 1.3 * glow).astype(np.float32)


def negative(frames: Array) -> Array:
    return 1.0 - frames


def poster(frames: Array) -> Array:
    """Three flat levels of two inks."""
    level = np.round(_grey(frames) * 2.6) / 2.6
    ink, paper = np.asarray([0.13, 0.10, 0.45]), np.asarray([1.0, 0.78, 0.35])
    return (ink + level[..., None] * (paper - ink)).astype(np.float32)


def woodcut(frames: Array) -> Array:
    """Black ink or none, with the outlines cut out."""
    light = (_grey(frames) > 0.5).astype(np.float32)
    cut = np.where(_edges(frames) > 0.6, 1 - light, light)
    return np.repeat(0.06 + 0.90 * cut[..., None], 3, -1)


def moonlight(frames: Array) -> Array:
    """Blue and dim, darker towards the edges."""
    height, width = frames.shape[1:3]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    lamp = (1 - 0.35 * (x**2 + y**2)).clip(0.2)[..., None]
    return (_grey(frames)[..., None] * lamp * np.asarray([0.35, 0.50, 0.95])).astype(np.float32)


def pastel(frames: Array) -> Array:
    """Chalk: pale, with half the colour."""
    muted = 0.5 * frames + 0.5 * _grey(frames)[..., None]
    return (0.55 + 0.45 * muted).astype(np.float32)


STYLES: dict[str, Callable[[Array], Array]] = {
    f.__name__: f for f in (sketch, sepia, neon, negative, poster, woodcut, moonlight, pastel)
}


_MANNER, _SPACE = "manner ", 7_901
LEVELS = (2, 3, 4)  # of a tone that has few


@dataclass(frozen=True)
class Manner:
    """A style in numbers: tones from ink to paper, what is left of colours, lines along edges, darker corners."""

    ink: RGB
    paper: RGB
    levels: int  # of the tone; 0: as many as there are
    colour: float  # of the frame's own, -1 being their complements
    turned: int  # by so many channels
    lines: float  # how much of an edge is line
    line: RGB
    glow: float  # of the frame's own colours, in lines
    corners: float  # how much darker

    def __call__(self, frames: Array) -> Array:
        grey = _grey(frames)[..., None]
        tone = np.round(grey * (self.levels - 1)) / (self.levels - 1) if self.levels else grey
        ink, paper = np.asarray(self.ink), np.asarray(self.paper)
        own = frames[..., [(k + self.turned) % 3 for k in range(3)]]
        out = ink + tone * (paper - ink) + self.colour * (own - grey)
        if self.lines:
            share = self.lines * _edges(frames)[..., None]
            out = out + share * (np.asarray(self.line) + self.glow * own - out)
        height, width = frames.shape[1:3]
        y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
        return np.asarray(out * (1 - self.corners * (x**2 + y**2))[..., None], np.float32)


def manner(seed: int) -> str:
    """The name of a style that has none: `filtered` draws it from the seed."""
    return f"{_MANNER}{seed}"


def is_manner(style: str | None) -> bool:
    return bool(style) and str(style).startswith(_MANNER)


@lru_cache(maxsize=4096)
def drawn(style: str) -> Manner:
    """What a manner's name stands for."""
    rng = np.random.default_rng([_SPACE, int(style.removeprefix(_MANNER))])
    while True:
        ink, paper = rng.uniform(0, 1, (2, 3))
        if abs(float((paper - ink) @ _LUMA)) > 0.35:
            break
    if rng.random() < 0.25:
        ink, paper = np.zeros(3), np.ones(3)
    if rng.random() < 0.25:  # darker ink on any paper
        ink, paper = sorted((ink, paper), key=lambda tint: float(tint @ _LUMA))
    colour = 0.0 if rng.random() < 0.4 else float(rng.uniform(0.2, 1) * rng.choice((-1, 1, 1)))
    lines = 0.0 if rng.random() < 0.45 else float(rng.uniform(0.4, 1))
    return Manner(
        ink=_rgb(ink),
        paper=_rgb(paper),
        levels=int(rng.choice(LEVELS)) if rng.random() < 0.25 else 0,
        colour=colour,
        turned=int(rng.integers(3)),
        lines=lines,
        line=_rgb(rng.uniform(0, 1, 3) if rng.random() < 0.6 else np.full(3, float(rng.integers(2)))),
        glow=float(rng.uniform(0.3, 1)) if rng.random() < 0.3 else 0.0,
        corners=float(rng.uniform(0.1, 0.4)) if rng.random() < 0.25 else 0.0,
    )


def _rgb(values: Array) -> RGB:
    r, g, b = (float(v) for v in values)
    return r, g, b


def filtered(frames: Array, style: str) -> Array:
    """Frames (F, H, W, 3) in a style, a name or a `manner`.

    Raises:
        KeyError: a style that the world does not know.
    """
    return drawn(style)(frames) if is_manner(style) else STYLES[style](frames)
