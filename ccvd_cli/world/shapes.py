"""Signed distances and the actors drawn with them.

An actor lives in its own plane: x to the right, y down, the body within about [-1, 1]; it faces right. A
distance is negative inside, so `clip(0.5 - d * pixels, 0, 1)` is an anti-aliased mask at any size, angle and
sub-pixel position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]  # float32 in practice; sums with Python floats are typed wider
RGB = tuple[float, float, float]

BLACK: RGB = (0.09, 0.08, 0.12)
WHITE: RGB = (0.98, 0.98, 0.96)
GLASS: RGB = (0.72, 0.90, 0.98)
STEEL: RGB = (0.55, 0.57, 0.62)


def ellipse(x: Array, y: Array, cx: float, cy: float, rx: float, ry: float) -> Array:
    """Approximate distance to an axis-aligned ellipse (exact for circles)."""
    u, v = (x - cx) / rx, (y - cy) / ry
    return (np.sqrt(u * u + v * v) - 1.0) * min(rx, ry)


def box(x: Array, y: Array, cx: float, cy: float, hx: float, hy: float, r: float = 0.0) -> Array:
    """Distance to a box of half extents (hx, hy) with corners rounded by r."""
    qx, qy = np.abs(x - cx) - hx + r, np.abs(y - cy) - hy + r
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2)
    return outside + np.minimum(np.maximum(qx, qy), 0) - r


def capsule(x: Array, y: Array, ax: float, ay: float, bx: float, by: float, r: float) -> Array:
    """Distance to a thick line from a to b."""
    dx, dy = bx - ax, by - ay
    t = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - ax - t * dx, y - ay - t * dy) - r


def polygon(x: Array, y: Array, *points: tuple[float, float]) -> Array:
    """Distance-like field of a convex polygon, points in clockwise order on screen (y down)."""
    fields = []
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
        length = float(np.hypot(bx - ax, by - ay))
        fields.append(((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return np.maximum.reduce(fields)


def union(*fields: Array) -> Array:
    return np.minimum.reduce(fields)


@dataclass
class Drawing:
    """`body` takes the actor's colour and texture, `shade` that colour darker, details have their own."""

    body: Array
    shade: Array | None = None
    details: list[tuple[Array, RGB]] = field(default_factory=list)
    head: tuple[float, float] = (0.0, -0.6)  # where a hat sits
    neck: tuple[float, float] = (0.0, 0.0)  # where a scarf goes


def dog(x: Array, y: Array) -> Drawing:
    """In profile: long body, four legs, raised tail, hanging ear."""
    body = union(
        ellipse(x, y, -0.15, 0.10, 0.68, 0.34),
        ellipse(x, y, 0.60, -0.38, 0.34, 0.30),
        box(x, y, 0.86, -0.26, 0.20, 0.13, 0.10),
        capsule(x, y, 0.42, -0.15, 0.30, 0.10, 0.22),
        *(capsule(x, y, lx, 0.25, lx, 0.82, 0.115) for lx in (-0.64, -0.34, 0.14, 0.42)),
        capsule(x, y, -0.75, -0.05, -0.98, -0.55, 0.09),
    )
    ear = ellipse(x, y, 0.42, -0.30, 0.13, 0.32)
    eye, nose = ellipse(x, y, 0.68, -0.46, 0.075, 0.075), ellipse(x, y, 1.04, -0.30, 0.09, 0.08)
    return Drawing(body, ear, [(eye, BLACK), (nose, BLACK)], head=(0.58, -0.66), neck=(0.36, -0.02))


def cat(x: Array, y: Array) -> Drawing:
    """Sitting, seen from the front: pointed ears, whiskers, curled tail."""
    body = union(
        ellipse(x, y, 0.0, 0.45, 0.46, 0.52),
        ellipse(x, y, 0.0, -0.32, 0.52, 0.42),
        polygon(x, y, (-0.50, -0.36), (-0.46, -1.00), (-0.08, -0.62)),
        polygon(x, y, (0.08, -0.62), (0.46, -1.00), (0.50, -0.36)),
        capsule(x, y, 0.40, 0.80, 0.82, 0.60, 0.10),
        capsule(x, y, 0.82, 0.60, 0.80, 0.18, 0.10),
    )
    eyes = union(ellipse(x, y, -0.20, -0.36, 0.09, 0.12), ellipse(x, y, 0.20, -0.36, 0.09, 0.12))
    nose = polygon(x, y, (-0.09, -0.20), (0.09, -0.20), (0.0, -0.08))
    whiskers = union(
        *(capsule(x, y, s * 0.22, -0.12, s * 0.68, wy, 0.022) for s in (-1, 1) for wy in (-0.20, -0.04))
    )
    paws = union(ellipse(x, y, -0.18, 0.90, 0.16, 0.09), ellipse(x, y, 0.18, 0.90, 0.16, 0.09))
    return Drawing(
        body,
        paws,
        [(eyes, BLACK), (whiskers, BLACK), (nose, (0.95, 0.5, 0.6))],
        head=(0.0, -0.70),
        neck=(0.0, 0.08),
    )


def bird(x: Array, y: Array) -> Drawing:
    """Round, in profile: beak, wing, forked tail, thin legs."""
    body = union(
        ellipse(x, y, 0.0, 0.05, 0.58, 0.50),
        ellipse(x, y, 0.46, -0.44, 0.31, 0.31),
        polygon(x, y, (-1.05, -0.42), (-0.40, -0.10), (-0.46, 0.22), (-1.10, -0.05)),
    )
    wing = ellipse(x, y, -0.14, 0.02, 0.36, 0.22)
    beak = polygon(x, y, (0.72, -0.56), (1.10, -0.40), (0.72, -0.28))
    legs = union(capsule(x, y, -0.05, 0.5, -0.05, 0.92, 0.05), capsule(x, y, 0.2, 0.5, 0.2, 0.92, 0.05))
    eye = ellipse(x, y, 0.54, -0.50, 0.075, 0.075)
    return Drawing(
        body,
        wing,
        [(beak, (0.98, 0.70, 0.12)), (legs, (0.85, 0.50, 0.10)), (eye, BLACK)],
        head=(0.44, -0.72),
        neck=(0.34, -0.16),
    )


def fish(x: Array, y: Array) -> Drawing:
    """An oval with a triangular tail and fins."""
    body = union(
        ellipse(x, y, 0.18, 0.0, 0.74, 0.46),
        polygon(x, y, (-1.05, -0.55), (-0.38, -0.02), (-0.38, 0.02), (-1.05, 0.55)),
        polygon(x, y, (-0.10, -0.40), (0.10, -0.78), (0.48, -0.36)),
    )
    fin = polygon(x, y, (-0.05, 0.12), (0.28, 0.10), (0.02, 0.44))
    eye, pupil = ellipse(x, y, 0.56, -0.10, 0.14, 0.14), ellipse(x, y, 0.59, -0.10, 0.07, 0.07)
    return Drawing(body, fin, [(eye, WHITE), (pupil, BLACK)], head=(0.30, -0.44), neck=(0.34, 0.1))


def turtle(x: Array, y: Array) -> Drawing:
    """A dome of a shell over a flat belly, small head and feet."""
    shell = np.maximum(ellipse(x, y, -0.10, 0.30, 0.78, 0.88), y - 0.30)
    skin = union(
        ellipse(x, y, 0.84, 0.12, 0.24, 0.20),
        capsule(x, y, 0.5, 0.35, 0.80, 0.18, 0.11),
        ellipse(x, y, -0.58, 0.48, 0.17, 0.22),
        ellipse(x, y, 0.36, 0.48, 0.17, 0.22),
        polygon(x, y, (-1.08, 0.36), (-0.80, 0.20), (-0.80, 0.40)),
    )
    eye = ellipse(x, y, 0.90, 0.07, 0.06, 0.06)
    return Drawing(
        shell, None, [(skin, (0.80, 0.76, 0.52)), (eye, BLACK)], head=(0.80, -0.08), neck=(0.58, 0.22)
    )


def car(x: Array, y: Array) -> Drawing:
    """Low body, cabin with two windows, two wheels."""
    body = union(
        box(x, y, 0.0, 0.22, 1.02, 0.28, 0.14),
        polygon(x, y, (-0.66, 0.0), (-0.42, -0.50), (0.30, -0.50), (0.64, 0.0)),
    )
    windows = union(
        polygon(x, y, (-0.50, -0.02), (-0.36, -0.38), (-0.10, -0.38), (-0.10, -0.02)),
        polygon(x, y, (0.02, -0.02), (0.02, -0.38), (0.24, -0.38), (0.46, -0.02)),
    )
    tyres = union(ellipse(x, y, -0.56, 0.50, 0.25, 0.25), ellipse(x, y, 0.56, 0.50, 0.25, 0.25))
    hubs = union(ellipse(x, y, -0.56, 0.50, 0.10, 0.10), ellipse(x, y, 0.56, 0.50, 0.10, 0.10))
    lamp = ellipse(x, y, 0.96, 0.12, 0.09, 0.09)
    details = [(windows, GLASS), (tyres, BLACK), (hubs, STEEL), (lamp, (1.0, 0.93, 0.5))]
    return Drawing(body, None, details, head=(-0.06, -0.50), neck=(0.0, 0.1))


def boat(x: Array, y: Array) -> Drawing:
    """A hull, a mast and two sails."""
    hull = polygon(x, y, (-0.95, 0.32), (1.02, 0.32), (0.66, 0.82), (-0.62, 0.82))
    mast = capsule(x, y, 0.0, -0.95, 0.0, 0.32, 0.05)
    sails = union(
        polygon(x, y, (0.10, -0.88), (0.78, 0.20), (0.10, 0.20)),
        polygon(x, y, (-0.10, -0.66), (-0.10, 0.20), (-0.60, 0.20)),
    )
    body = union(hull, polygon(x, y, (0.10, -0.88), (0.78, 0.20), (0.10, 0.20)))
    return Drawing(
        body,
        None,
        [(np.maximum(sails, x), WHITE), (mast, (0.45, 0.30, 0.18))],
        head=(0.0, -0.95),
        neck=(0.0, 0.36),
    )


def rocket(x: Array, y: Array) -> Drawing:
    """Upright: pointed nose, round window, fins, flame."""
    body = union(
        ellipse(x, y, 0.0, -0.10, 0.38, 0.88),
        polygon(x, y, (-0.30, 0.10), (-0.30, 0.58), (-0.72, 0.76)),
        polygon(x, y, (0.30, 0.10), (0.72, 0.76), (0.30, 0.58)),
    )
    window, rim = ellipse(x, y, 0.0, -0.26, 0.15, 0.15), ellipse(x, y, 0.0, -0.26, 0.22, 0.22)
    flame = polygon(x, y, (-0.22, 0.70), (0.22, 0.70), (0.0, 1.18))
    core = polygon(x, y, (-0.10, 0.70), (0.10, 0.70), (0.0, 0.98))
    details = [(flame, (1.0, 0.50, 0.08)), (core, (1.0, 0.90, 0.35)), (rim, STEEL), (window, GLASS)]
    return Drawing(body, None, details, head=(0.0, -0.92), neck=(0.0, 0.14))


def robot(x: Array, y: Array) -> Drawing:
    """Square head with antenna, square body, arms and legs of bars."""
    body = union(
        box(x, y, 0.0, -0.48, 0.40, 0.30, 0.06),
        box(x, y, 0.0, 0.22, 0.50, 0.36, 0.06),
        capsule(x, y, -0.50, 0.05, -0.82, 0.42, 0.10),
        capsule(x, y, 0.50, 0.05, 0.82, 0.42, 0.10),
        box(x, y, -0.24, 0.76, 0.13, 0.22, 0.03),
        box(x, y, 0.24, 0.76, 0.13, 0.22, 0.03),
    )
    antenna = union(capsule(x, y, 0, -0.78, 0, -0.98, 0.04), ellipse(x, y, 0, -1.02, 0.10, 0.10))
    eyes = union(box(x, y, -0.17, -0.54, 0.09, 0.09), box(x, y, 0.17, -0.54, 0.09, 0.09))
    mouth = box(x, y, 0.0, -0.30, 0.22, 0.05)
    panel = box(x, y, 0.0, 0.20, 0.22, 0.15)
    return Drawing(
        body,
        None,
        [(antenna, STEEL), (eyes, WHITE), (mouth, BLACK), (panel, STEEL)],
        head=(0.0, -0.78),
        neck=(0.0, -0.14),
    )


def flower(x: Array, y: Array) -> Drawing:
    """Six petals round a yellow heart, a stem and two leaves."""
    angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    petals = union(
        *(ellipse(x, y, 0.40 * float(np.cos(a)), -0.40 + 0.40 * float(np.sin(a)), 0.27, 0.27) for a in angles)
    )
    heart = ellipse(x, y, 0.0, -0.40, 0.22, 0.22)
    stem = union(
        capsule(x, y, 0.0, 0.20, 0.0, 0.98, 0.07),
        ellipse(x, y, -0.26, 0.62, 0.25, 0.11),
        ellipse(x, y, 0.26, 0.50, 0.25, 0.11),
    )
    return Drawing(
        petals,
        None,
        [(heart, (1.0, 0.85, 0.25)), (stem, (0.20, 0.55, 0.22))],
        head=(0.0, -0.98),
        neck=(0.0, 0.2),
    )


NOUNS: dict[str, Callable[[Array, Array], Drawing]] = {
    f.__name__: f for f in (dog, cat, bird, fish, turtle, car, boat, rocket, robot, flower)
}


def hat(x: Array, y: Array) -> list[tuple[Array, float]]:
    """A top hat: brim, crown and band (part, shade of the accessory's colour)."""
    return [
        (union(box(x, y, 0, 0, 0.44, 0.07, 0.03), box(x, y, 0, -0.24, 0.26, 0.24, 0.03)), 1.0),
        (box(x, y, 0, -0.10, 0.26, 0.06), 0.45),
    ]


def crown(x: Array, y: Array) -> list[tuple[Array, float]]:
    spikes = [polygon(x, y, (c - 0.16, 0.02), (c, -0.46), (c + 0.16, 0.02)) for c in (-0.26, 0.0, 0.26)]
    return [(union(box(x, y, 0, 0, 0.42, 0.12), *spikes), 1.0)]


def cone(x: Array, y: Array) -> list[tuple[Array, float]]:
    """A party hat with a pompon."""
    return [
        (polygon(x, y, (-0.32, 0.06), (0.0, -0.66), (0.32, 0.06)), 1.0),
        (ellipse(x, y, 0, -0.66, 0.13, 0.13), 0.5),
    ]


def bow(x: Array, y: Array) -> list[tuple[Array, float]]:
    wings = union(
        polygon(x, y, (-0.42, -0.26), (0.0, 0.0), (-0.42, 0.26)),
        polygon(x, y, (0.0, 0.0), (0.42, -0.26), (0.42, 0.26)),
    )
    return [(wings, 1.0), (ellipse(x, y, 0, 0, 0.12, 0.12), 0.5)]


def scarf(x: Array, y: Array) -> list[tuple[Array, float]]:
    return [
        (union(box(x, y, 0, 0, 0.40, 0.11, 0.08), capsule(x, y, -0.18, 0.05, -0.26, 0.46, 0.11)), 1.0),
        (ellipse(x, y, -0.20, 0.04, 0.13, 0.13), 0.6),
    ]


# name -> (parts, anchor on the actor)
ACCESSORIES: dict[str, tuple[Callable[[Array, Array], list[tuple[Array, float]]], str]] = {
    "hat": (hat, "head"),
    "crown": (crown, "head"),
    "cone": (cone, "head"),
    "bow": (bow, "neck"),
    "scarf": (scarf, "neck"),
}
