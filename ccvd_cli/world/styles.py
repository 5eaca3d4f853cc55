"""Held-out styles, which pretraining never sees: filters over finished frames (F, H, W, 3) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .shapes import Array

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
