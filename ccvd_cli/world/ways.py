"""How an actor moves, where words end: "a dog performing one" moves as a vector says.

Paths at random join the nine motions that have names, so that the base reads any path off a word's vector; a concept's token, which takes that
word's place, is then looked for among vectors that the base knows how to read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .motions import HELDOUT_MOTIONS, Path, is_way, trajectory, way
from .render import FRAMES, Clip
from .shapes import Array

ONE = "one"
PERFORMING = f"performing {ONE}"
MOMENTS = np.linspace(0, FRAMES - 1, 8).round().astype(int)
WAY = 7 * len(MOMENTS)
_APART = 0.1  # root mean square over frames: nearer than that, a path at random is a held-out one


def features(path: Path) -> Array:
    """(F, 7): what a pose is, in numbers of about 1 / 4."""
    turned = 0.3 * np.stack([np.sin(path.angle), np.cos(path.angle)])
    sizes = np.stack([np.log(path.scale), 0.5 * np.log(path.stretch)]) * 0.5
    return np.stack([path.dx, path.dy, *sizes, *turned, 0.2 * path.facing], -1).astype(np.float32)


@lru_cache(maxsize=1)
def _heldout() -> Array:
    return np.stack([features(trajectory(name, FRAMES)) for name in HELDOUT_MOTIONS])


def is_heldout_path(path: Path) -> bool:
    """Whether a path over all frames is nearly a held-out one, there or back."""
    mine = features(path)
    near = [np.sqrt(((_heldout() - one) ** 2).sum(-1).mean(-1)).min() for one in (mine, mine[::-1])]
    return min(near) < _APART


def random_way(rng: np.random.Generator) -> str:
    """The name of a path at random that is no held-out one's double."""
    while True:
        name = way(int(rng.integers(2**31)))
        if not is_heldout_path(trajectory(name, FRAMES)):
            return name


def ways(clips: list[Clip]) -> Array:
    """What the ways of clips are, (N, 1, WAY); zeros where motions have names."""
    told = np.zeros((len(clips), 1, WAY), np.float32)
    for row, clip in zip(told, clips, strict=True):
        if is_way(clip.motion):
            row[0] = 4 * features(trajectory(clip.motion, FRAMES))[MOMENTS].ravel()
    return told
