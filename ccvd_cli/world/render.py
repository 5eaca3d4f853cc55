"""A described clip -> pixels: scene behind, actors in front, a style over all. Seeded and deterministic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .motions import trajectory
from .scenes import background
from .shapes import ACCESSORIES, BLACK, NOUNS, RGB, Array
from .styles import STYLES

SIZE, FRAMES, FPS = 64, 16, 8
USUAL = 0.23  # of a single actor; smaller ones take smaller steps
Frames = npt.NDArray[np.uint8]

COLOURS: dict[str, RGB] = {
    "red": (0.88, 0.12, 0.14),
    "orange": (0.98, 0.52, 0.06),
    "yellow": (0.98, 0.87, 0.16),
    "green": (0.16, 0.66, 0.22),
    "blue": (0.14, 0.30, 0.88),
    "purple": (0.52, 0.18, 0.72),
    "pink": (0.98, 0.52, 0.74),
    "white": (0.97, 0.97, 0.97),
}
TEXTURES = ("plain", "striped", "spotted", "checked")
# How fine textures are, per unit of an actor. A latent cell is four pixels wide, and in a pair an actor's unit may be eleven: what repeats
# within less than two cells is a blur by then, whoever learns it.
STRIPES, CHECKS, SPOTS = 8.0, 5.5, 1.4
SIZES = {1: (0.21, 0.25), 2: (0.18, 0.20), 3: (0.15, 0.17)}  # of actors without a spot, by how many there are
DARKER = 0.35  # a texture's second colour, where none is said, is the first and so much as bright


@dataclass(frozen=True)
class Actor:
    """Who: a noun in a colour, with a second colour for its texture and perhaps an accessory."""

    noun: str
    colour: RGB
    second: RGB | None = None  # default: the colour, darker
    texture: str = "plain"
    accessory: str | None = None
    accessory_colour: RGB = (0.9, 0.2, 0.2)


class Spot(NamedTuple):
    """Where an actor is at rest: its centre, and its size from there to its edge, in fractions of the frame."""

    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Clip:
    """What a clip shows. `seed` fixes what the description leaves open (where exactly, which clouds)."""

    actors: tuple[Actor, ...]
    scene: str
    motion: str = "standing still"
    style: str | None = None
    seed: int = 0
    spots: tuple[Spot, ...] | None = None  # one for each actor; None: the usual place


def texture_mask(texture: str, x: Array, y: Array) -> Array:
    """Share of the second colour at each point of the actor's plane, in [0, 1]."""

    def soft(wave: Array, sharpness: float = 3.0) -> Array:
        return np.clip(0.5 + sharpness * wave, 0, 1)

    if texture == "striped":
        return soft(np.sin(STRIPES * x))
    if texture == "checked":
        return soft(np.sin(CHECKS * x) * np.sin(CHECKS * y), 4.0)
    if texture == "spotted":
        u, v = (x * SPOTS) % 1 - 0.5, (y * SPOTS) % 1 - 0.5
        return soft(0.095 - (u * u + v * v), 14.0)
    return np.zeros_like(x)


def _blend(frames: Array, mask: Array, colour: Array) -> None:
    frames += mask[..., None] * (colour - frames)


def _draw(frames: Array, actor: Actor, x: Array, y: Array, pixels: Array) -> None:
    """Paint one actor onto (F, H, W, 3); x, y are its plane's coordinates there, `pixels` its unit in pixels."""
    drawing = NOUNS[actor.noun](x, y)

    def mask(distance: Array) -> Array:
        return np.clip(0.5 - distance * pixels, 0, 1)

    main = np.asarray(actor.colour, np.float32)
    second = np.asarray(actor.second, np.float32) if actor.second else main * DARKER
    share = texture_mask(actor.texture, x, y)[..., None]
    fill = main + share * (second - main)
    outline = np.asarray(BLACK, np.float32)
    _blend(frames, np.clip(0.5 - (drawing.body * pixels - 0.9), 0, 1), outline)
    _blend(frames, mask(drawing.body), fill)
    if drawing.shade is not None:
        _blend(frames, np.clip(0.5 - (drawing.shade * pixels - 0.5), 0, 1) * mask(drawing.body), fill * 0.45)
        _blend(frames, mask(drawing.shade), fill * 0.72)
    for distance, colour in drawing.details:
        _blend(frames, mask(distance), np.asarray(colour, np.float32))
    if actor.accessory:
        parts, anchor = ACCESSORIES[actor.accessory]
        ax, ay = getattr(drawing, anchor)
        for i, (distance, shade) in enumerate(parts(x - ax, y - ay)):
            if i == 0:
                _blend(frames, np.clip(0.5 - (distance * pixels - 0.9), 0, 1), outline)
            _blend(frames, mask(distance), np.asarray(actor.accessory_colour, np.float32) * shade)


def boxes(clip: Clip, frames: int = FRAMES) -> Array:
    """Where the actors are: (actors, F, 4) as x0, y0, x1, y1 in fractions of the frame."""
    poses = _poses(clip, frames, np.random.default_rng(clip.seed))
    half = [np.stack([p[2] * np.maximum(p[4], 1), p[2]], -1) * 1.05 for p in poses]
    centres = [np.stack([p[0], p[1]], -1) for p in poses]
    return np.stack([np.concatenate([c - h, c + h], -1) for c, h in zip(centres, half, strict=True)])


def _poses(clip: Clip, frames: int, rng: np.random.Generator) -> list[tuple[Array, ...]]:
    """Per actor: centre x, y, size (fractions of the frame), angle, stretch, facing, each (F,)."""
    path = trajectory(clip.motion, frames)
    several = len(clip.actors) > 1
    poses: list[tuple[Array, ...]] = []
    for i, _ in enumerate(clip.actors):
        jitter = rng.uniform(-0.03, 0.03, 2)
        cx = (i + 0.5) / len(clip.actors) if several else 0.5
        size = rng.uniform(*SIZES[min(len(clip.actors), 3)])
        spread = 0.3 if several else 1.0  # neighbours keep to their own place
        rise, x, y = 0.7 if several else 1.0, cx + jitter[0], 0.56 + jitter[1]
        if clip.spots:
            x, y, size = clip.spots[i]
            spread, rise = spread * min(1.0, size / USUAL), min(1.0, size / USUAL)
        poses.append(
            (
                x + spread * path.dx,
                y + rise * path.dy,
                size * path.scale,
                path.angle,
                path.stretch,
                path.facing,
            )
        )
    return poses


def render(clip: Clip, frames: int = FRAMES, size: int = SIZE) -> Frames:
    """Draw a clip.

    Returns: uint8 (frames, size, size, 3).
    Raises: KeyError for a noun, scene, motion, style or accessory that the world does not know.
    """
    rng = np.random.default_rng(clip.seed)
    poses = _poses(clip, frames, rng)
    picture = np.repeat(background(clip.scene, size, rng)[None], frames, 0)
    _paint(picture, clip, poses)
    if clip.style:
        picture = STYLES[clip.style](picture)
    return _bytes(picture)


def cover(clip: Clip, frames: int = FRAMES, size: int = SIZE) -> Frames:
    """How much of every pixel of `render` is the actors', 255 being all of it: uint8 (frames, size, size).

    What is painted on black and on white differs by as much as the ground shows.
    """
    poses = _poses(clip, frames, np.random.default_rng(clip.seed))
    black, white = (np.full((frames, size, size, 3), ground, np.float32) for ground in (0, 1))
    for picture in (black, white):
        _paint(picture, clip, poses)
    return _bytes(1 - (white - black).mean(-1))


def _paint(picture: Array, clip: Clip, poses: list[tuple[Array, ...]]) -> None:
    """The actors, onto (F, H, W, 3)."""
    size = picture.shape[1]
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    for actor, (cx, cy, scale, angle, stretch, facing) in zip(clip.actors, poses, strict=True):
        # Only the pixels the actor can reach are worth drawing.
        reach = float(scale.max() * max(stretch.max(), 1.0)) * 1.75
        x0, x1 = (int(np.clip(v * size, 0, size)) for v in (cx.min() - reach, cx.max() + reach + 1 / size))
        y0, y1 = (int(np.clip(v * size, 0, size)) for v in (cy.min() - reach, cy.max() + reach + 1 / size))
        if x1 <= x0 or y1 <= y0:
            continue
        column = (slice(None), None, None)
        dx = (axis[None, None, x0:x1] - cx[column]) / scale[column]
        dy = (axis[None, y0:y1, None] - cy[column]) / scale[column]
        cos, sin = np.cos(angle)[column], np.sin(angle)[column]
        x = (cos * dx + sin * dy) * facing[column] / stretch[column]
        y = -sin * dx + cos * dy
        pixels = (scale * size * np.minimum(stretch, 1))[column]
        _draw(picture[:, y0:y1, x0:x1], actor, x.astype(np.float32), y.astype(np.float32), pixels)


def _bytes(picture: Array) -> Frames:
    return np.asarray(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
