"""The eight backgrounds: each a simple picture with its own palette and small random variations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .shapes import RGB, Array, box, capsule, ellipse, polygon, union


class Canvas:
    """A float picture (size, size, 3) in [0, 1]; coordinates are fractions of the frame, y down."""

    def __init__(self, size: int) -> None:
        self.size = size
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.y, self.x = np.meshgrid(axis, axis, indexing="ij")
        self.picture = np.zeros((size, size, 3), np.float32)

    def sky(self, top: RGB, bottom: RGB) -> None:
        a, b = np.asarray(top, np.float32), np.asarray(bottom, np.float32)
        self.picture[:] = a + (b - a) * self.y[..., None]

    def paint(self, distance: Array, colour: RGB) -> None:
        mask = np.clip(0.5 - distance * self.size, 0, 1)[..., None]
        self.picture += mask * (np.asarray(colour, np.float32) - self.picture)

    def ground(
        self, level: float, colour: RGB, wave: float = 0.0, phase: float = 0.0, turns: float = 1.0
    ) -> None:
        edge = level + wave * np.sin(2 * np.pi * turns * self.x + phase)
        self.paint((edge - self.y).astype(np.float32), colour)


def beach(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.45, 0.75, 0.98), (0.80, 0.93, 1.0))
    c.paint(ellipse(c.x, c.y, rng.uniform(0.12, 0.88), 0.14, 0.09, 0.09), (1.0, 0.93, 0.45))
    c.ground(0.42, (0.10, 0.50, 0.80))
    c.ground(0.52, (0.20, 0.65, 0.88), 0.01, rng.uniform(0, 6), 3)
    c.ground(0.66, (0.94, 0.84, 0.58), 0.02, rng.uniform(0, 6), 1)


def forest(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.36, 0.60, 0.42), (0.22, 0.42, 0.24))
    for x in np.linspace(0.02, 0.98, 6) + rng.uniform(-0.05, 0.05, 6):
        c.paint(box(c.x, c.y, x, 0.5, 0.035, 0.5), (0.27, 0.18, 0.11))
        c.paint(ellipse(c.x, c.y, x, rng.uniform(0.02, 0.14), 0.14, 0.20), (0.10, 0.32, 0.14))
    c.ground(0.76, (0.16, 0.33, 0.13), 0.02, rng.uniform(0, 6), 2)


def street(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.66, 0.72, 0.80), (0.80, 0.82, 0.86))
    for x in np.linspace(0.1, 0.9, 4):
        top, shade = rng.uniform(0.08, 0.34), rng.uniform(0.38, 0.55)
        c.paint(box(c.x, c.y, x, (top + 0.7) / 2, 0.12, (0.7 - top) / 2), (shade + 0.08, shade, shade))
        for wy in np.arange(top + 0.07, 0.58, 0.13):
            c.paint(box(c.x, c.y, x - 0.05, wy, 0.025, 0.03), (0.95, 0.88, 0.60))
            c.paint(box(c.x, c.y, x + 0.05, wy, 0.025, 0.03), (0.95, 0.88, 0.60))
    c.ground(0.70, (0.26, 0.26, 0.29))
    shift = rng.uniform(0, 0.25)
    for x in np.arange(-0.2, 1.2, 0.25) + shift:
        c.paint(box(c.x, c.y, x, 0.86, 0.07, 0.015), (0.95, 0.95, 0.90))


def snow(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.62, 0.72, 0.84), (0.86, 0.91, 0.97))
    c.paint(polygon(c.x, c.y, (0.05, 0.75), (rng.uniform(0.2, 0.4), 0.22), (0.65, 0.75)), (0.72, 0.79, 0.89))
    c.paint(polygon(c.x, c.y, (0.45, 0.75), (rng.uniform(0.65, 0.85), 0.30), (1.1, 0.75)), (0.66, 0.74, 0.86))
    c.ground(0.68, (0.95, 0.97, 1.0), 0.03, rng.uniform(0, 6), 1)
    for x, y in rng.uniform(0, 1, (22, 2)):
        c.paint(ellipse(c.x, c.y, x, y, 0.013, 0.013), (1.0, 1.0, 1.0))


def desert(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.98, 0.70, 0.36), (1.0, 0.88, 0.62))
    c.ground(0.56, (0.86, 0.58, 0.28), 0.06, rng.uniform(0, 6), 1)
    c.ground(0.74, (0.76, 0.47, 0.20), 0.04, rng.uniform(0, 6), 1)
    x = rng.choice([0.10, 0.90])
    cactus = union(
        capsule(c.x, c.y, x, 0.46, x, 0.74, 0.03),
        capsule(c.x, c.y, x, 0.62, x + 0.07, 0.60, 0.02),
        capsule(c.x, c.y, x + 0.07, 0.60, x + 0.07, 0.52, 0.02),
    )
    c.paint(cactus, (0.20, 0.46, 0.22))


def underwater(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.16, 0.56, 0.72), (0.03, 0.20, 0.42))
    c.ground(0.86, (0.42, 0.46, 0.42), 0.02, rng.uniform(0, 6), 2)
    for x in rng.uniform(0.04, 0.96, 4):
        c.paint(capsule(c.x, c.y, x, 0.9, x + rng.uniform(-0.05, 0.05), 0.66, 0.018), (0.10, 0.50, 0.34))
    for x, y in rng.uniform((0, 0.05), (1, 0.8), (9, 2)):
        c.paint(np.abs(ellipse(c.x, c.y, x, y, 0.025, 0.025)) - 0.007, (0.62, 0.86, 0.94))


def room(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.90, 0.84, 0.72), (0.86, 0.78, 0.66))
    x = rng.uniform(0.2, 0.8)
    c.paint(box(c.x, c.y, x, 0.26, 0.16, 0.15), (0.99, 0.98, 0.95))
    c.paint(box(c.x, c.y, x, 0.26, 0.13, 0.12), (0.60, 0.80, 0.94))
    c.paint(box(c.x, c.y, x, 0.26, 0.012, 0.12), (0.99, 0.98, 0.95))
    c.ground(0.70, (0.56, 0.36, 0.22))
    c.paint(box(c.x, c.y, 0.5, 0.70, 0.6, 0.012), (0.98, 0.96, 0.92))
    for y in (0.79, 0.89):
        c.paint(box(c.x, c.y, 0.5, y, 0.6, 0.006), (0.45, 0.28, 0.17))


def moon(c: Canvas, rng: np.random.Generator) -> None:
    c.sky((0.02, 0.02, 0.06), (0.07, 0.06, 0.14))
    for x, y in rng.uniform((0, 0), (1, 0.6), (20, 2)):
        c.paint(ellipse(c.x, c.y, x, y, 0.010, 0.010), (0.95, 0.95, 0.85))
    x = rng.choice([0.15, 0.85])
    c.paint(ellipse(c.x, c.y, x, 0.16, 0.09, 0.09), (0.25, 0.50, 0.85))
    c.paint(ellipse(c.x, c.y, x - 0.02, 0.14, 0.04, 0.03), (0.35, 0.65, 0.35))
    c.ground(0.72, (0.60, 0.60, 0.63), 0.02, rng.uniform(0, 6), 1)
    for x in np.linspace(0.1, 0.9, 4) + rng.uniform(-0.08, 0.08, 4):
        c.paint(ellipse(c.x, c.y, x, rng.uniform(0.80, 0.95), 0.08, 0.025), (0.45, 0.45, 0.49))


SCENES: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    f.__name__: f for f in (beach, forest, street, snow, desert, underwater, room, moon)
}

PLACES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "street": "on the street",
    "snow": "in the snow",
    "desert": "in the desert",
    "underwater": "under the sea",
    "room": "in the room",
    "moon": "on the moon",
}


def background(scene: str, size: int, rng: np.random.Generator) -> Array:
    """The picture of a scene, (size, size, 3) in [0, 1]. Raises KeyError for an unknown scene."""
    canvas = Canvas(size)
    SCENES[scene](canvas, rng)
    return canvas.picture
