"""Training material in memory, drawn by all cores from one seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .captions import ORDINARY, Mix, dressed, random_clip
from .heldout import is_double
from .motions import trajectory
from .render import FRAMES, Clip, render
from .styles import STYLES
from .textures import textures

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True)
class Corpus:
    """Clips (N, F, H, W, 3) uint8 with what they show and how they are captioned."""

    pixels: Pixels
    clips: list[Clip]
    captions: list[str]


def cores() -> int:
    """That this process may use; where the system does not say, all there are."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def parallel(work: Callable[[int], T], seeds: range) -> Iterator[T]:
    with ProcessPoolExecutor(cores()) as pool:
        yield from pool.map(work, seeds)


CHUNK = 250


@dataclass(frozen=True)
class Part:
    """A part of the denoiser's material: how many clips, drawn from which seed on, and what they are made of."""

    name: str
    count: int
    seed: int
    mix: Mix


# Clips that the world's words describe in full, and clips of actors in any colours.
MATERIAL = (
    Part("familiar", 7_000, 5_100_000, ORDINARY),
    Part("strangers", 12_000, 6_100_000, Mix(strangers=True)),
)


def _pairs(seed: int, mix: Mix) -> list[tuple[Clip, str]]:
    """A chunk of random clips with their captions; one that shows a held-out subject's double is drawn again."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[Clip, str]] = []
    while len(pairs) < CHUNK:
        clip, caption = random_clip(rng, mix)
        if not any(is_double(actor) for actor in clip.actors):
            pairs.append((clip, caption))
    return pairs


def _described(seed: int, mix: Mix = ORDINARY) -> tuple[Pixels, list[Clip], list[str]]:
    pairs = _pairs(seed, mix)
    return np.stack([render(c) for c, _ in pairs]), [c for c, _ in pairs], [t for _, t in pairs]


def undrawn(n: int, seed: int, mix: Mix = ORDINARY) -> list[tuple[Clip, str]]:
    """The clips of `described` and their captions, without pixels."""
    pairs: list[tuple[Clip, str]] = []
    for i in range(0, n, CHUNK):
        pairs += _pairs(seed + i // CHUNK, mix)
    return pairs[:n]


def headings(clips: list[Clip]) -> npt.NDArray[np.float32]:
    """How actors are turned: sine and cosine of their angle, and which way they face, (N, F, 3)."""
    paths = {m: trajectory(m, FRAMES) for m in {c.motion for c in clips}}
    turned = {m: np.stack([np.sin(p.angle), np.cos(p.angle), p.facing], -1) for m, p in paths.items()}
    return np.stack([turned[c.motion] for c in clips]).astype(np.float32)


def _stills(seed: int) -> tuple[Pixels, list[Clip], list[str]]:
    """Four moments of every clip."""
    pixels, clips, captions = _described(seed)
    rng = np.random.default_rng(seed)
    moments = np.stack([rng.choice(FRAMES, 4, replace=False) for _ in clips])
    picked = np.take_along_axis(pixels, moments[:, :, None, None, None], 1)
    return picked, clips, captions


def described(n: int, seed: int, mix: Mix = ORDINARY, *, stills: bool = False) -> Corpus:
    """n random clips with captions; `stills` keeps four random frames of each."""
    work = _stills if stills else partial(_described, mix=mix)
    chunks = list(parallel(work, range(seed, seed + -(-n // CHUNK))))
    return Corpus(
        np.concatenate([c[0] for c in chunks])[:n],
        [x for c in chunks for x in c[1]][:n],
        [x for c in chunks for x in c[2]][:n],
    )


def disguise(clip: Clip, rng: np.random.Generator) -> Clip:
    """The same clip with `dressed` actors, sometimes in a style."""
    actors = tuple(dressed(a, rng) for a in clip.actors)
    style = str(rng.choice(list(STYLES))) if rng.random() < 0.2 else None
    return replace(clip, actors=actors, style=style)


def _varied(seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(CHUNK):
        clip, _ = random_clip(rng, Mix(together=0.5))  # small actors are the hardest
        if rng.random() < 0.6:
            clip = disguise(clip, rng)
        out.append(render(clip)[rng.choice(FRAMES, 2, replace=False)])
    made = (textures(rng, CHUNK * 2) * 255).astype(np.uint8)
    return np.concatenate([*out, made])


def varied(n: int, seed: int) -> Pixels:
    """n pictures for the autoencoder, half from the world in disguise, half dead leaves and noise: (N, H, W, 3)."""
    return np.concatenate(list(parallel(_varied, range(seed, seed + -(-n // (CHUNK * 4))))))[:n]
