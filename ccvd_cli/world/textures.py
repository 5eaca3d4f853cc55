"""Pictures with the statistics of photographs, for the autoencoder: dead leaves, coloured noise, patterns.

Dead leaves (occluding shapes of power-law size) share a photograph's edges, 1/f noise its spectrum; random
colour pairs and patterns are what no fixed palette would show it. NumPy in, NumPy out; a batch at a time.
"""

from __future__ import annotations

import numpy as np

from .shapes import Array


def _noise(rng: np.random.Generator, n: int, size: int) -> Array:
    """Coloured noise with a random spectral slope, (n, size, size, 3), zero mean, unit variance."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) + 1 / size
    slope = rng.uniform(0.6, 2.2, (n, 1, 1, 1))
    white = np.fft.rfft2(rng.standard_normal((n, 3, size, size)))
    noise = np.fft.irfft2(white / f**slope, s=(size, size))
    noise = noise / noise.std((2, 3), keepdims=True)
    mix = 0.7 * np.ones((n, 3, 3)) / 3 + 0.6 * rng.standard_normal((n, 3, 3)) * rng.uniform(0, 1, (n, 1, 1))
    return np.einsum("nij,njhw->nhwi", mix, noise).astype(np.float32)


def _gradient(rng: np.random.Generator, n: int, size: int) -> Array:
    corners = rng.uniform(0, 1, (n, 2, 2, 1, 1, 3)).astype(np.float32)
    t = np.linspace(0, 1, size, dtype=np.float32)
    y, x = t[:, None, None], t[None, :, None]
    top = corners[:, 0, 0] * (1 - x) + corners[:, 0, 1] * x
    bottom = corners[:, 1, 0] * (1 - x) + corners[:, 1, 1] * x
    return top * (1 - y) + bottom * y


def textures(rng: np.random.Generator, n: int, size: int = 64, leaves: int = 24) -> Array:
    """n random pictures, float32 (n, size, size, 3) in [0, 1]."""
    picture = _gradient(rng, n, size)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    ys, xs = axis[None, :, None], axis[None, None, :]

    def draw(low: float, high: float) -> Array:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    for _ in range(leaves):
        # Power law of sizes: few large leaves, many small ones; each picture stops at its own random count.
        radius = 0.45 * draw(0.02, 1) ** 1.5 + 0.02
        angle, aspect = draw(0, 2 * np.pi), draw(0.3, 1)
        dx, dy = xs - draw(-0.1, 1.1), ys - draw(-0.1, 1.1)
        x = (np.cos(angle) * dx + np.sin(angle) * dy) / radius
        y = (-np.sin(angle) * dx + np.cos(angle) * dy) / (radius * aspect)
        round_ = draw(0, 1) < 0.5
        distance = np.where(round_, np.sqrt(x * x + y * y), np.maximum(np.abs(x), np.abs(y))) - 1
        mask = np.clip(0.5 - distance * radius * aspect * size, 0, 1) * (draw(0, 1) < 0.75)
        one, two = (rng.uniform(0, 1, (n, 1, 1, 3)).astype(np.float32) for _ in range(2))
        frequency = draw(2, 9) / radius * 0.25
        wave = np.sin(frequency * x * radius * 2 * np.pi) * np.where(
            draw(0, 1) < 0.5, 1, np.sin(frequency * y * 6)
        )
        share = np.clip(0.5 + 3 * wave, 0, 1) * (draw(0, 1) < 0.35)
        picture += mask[..., None] * (one + share[..., None] * (two - one) - picture)
    amount = rng.uniform(0, 1, (n, 1, 1, 1)).astype(np.float32) ** 2
    picture = picture * (1 - 0.5 * amount) + 0.35 * amount * (_noise(rng, n, size) * 0.5 + 0.5)
    return np.clip(picture, 0, 1).astype(np.float32)
