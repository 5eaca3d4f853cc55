"""Where the actor of a clip goes, held against the path that the world gives to its motion.

The actor is what differs from the background, and the background is what a pixel shows most of the time: its median over the frames. The
centre of the difference is followed; what never leaves its place is not seen, and rightly said to rest. Paths are about their own mean,
since a prompt does not say where an actor starts. All in sides of the frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..world.captions import words
from ..world.motions import trajectory
from ..world.parts import pixels
from ..world.render import FRAMES, Clip, render
from ..world.scenes import PLACES

Array = npt.NDArray[np.float64]

VERSION = "2"  # of the measurement: scores of another one cannot be compared
NOISE = 0.10  # of a pixel's range: what differs by less is flicker
SEEN = 0.0005  # of a frame's pixels differ in full: with less, nobody is seen in it
EXAMINED = 16  # rendered clips of a motion
TRAVELS = 0.03  # the mean distance of a path from its middle: a frozen picture is as near to a shorter one as can be measured


def followed(clip: Tensor) -> Array:
    """Where the actor of a clip (F, 3, H, W) in [0, 1] is, (F, 2), about its mean; all zero for one that rests."""
    frames = clip.float().cpu()
    apart = (frames - torch.from_numpy(np.median(frames.numpy(), 0))).abs().mean(1)
    weight = (apart - NOISE).clamp(min=0).numpy().astype(np.float64)  # (F, H, W)
    total = weight.sum((1, 2))
    seen = total > SEEN * weight[0].size
    if seen.sum() < 2:
        return np.zeros((len(frames), 2))
    height, width = weight.shape[1:]
    x = (weight.sum(1) * (np.arange(width) + 0.5) / width).sum(-1)
    y = (weight.sum(2) * (np.arange(height) + 0.5) / height).sum(-1)
    at, moments = np.stack([x, y], -1)[seen] / total[seen, None], np.arange(len(frames))
    path = np.stack([np.interp(moments, moments[seen], at[:, k]) for k in (0, 1)], -1)
    return np.asarray(path - path.mean(0))


def travels(motion: str) -> bool:
    """Whether a motion of the world leads anywhere: of spinning, growing or standing still a path tells nothing. Raises KeyError."""
    return rest_error(motion, FRAMES) > TRAVELS


def rest_error(motion: str, frames: int) -> float:
    """`path_error` of a frozen picture. Raises KeyError."""
    return float(np.linalg.norm(_asked(motion, frames), axis=-1).mean())


def _asked(motion: str, frames: int) -> Array:
    path = trajectory(motion, frames)
    asked = np.stack([path.dx, path.dy], -1)
    return np.asarray(asked - asked.mean(0))


def path_error(clip: Tensor, motion: str) -> float:
    """How far, on the mean over frames, the actor of a clip is from where a motion of the world has it.

    Raises:
        KeyError: a motion that the world does not know.
    """
    return float(np.linalg.norm(followed(clip) - _asked(motion, len(clip)), axis=-1).mean())


def own_error(motion: str, frames: int, through: Callable[[Tensor], Tensor]) -> float:
    """`path_error` of rendered clips of so many frames, which is that of the measurement; they (N, 3, H, W) pass `through` an autoencoder."""
    rng = np.random.default_rng(0)
    errors = []
    for k in range(EXAMINED):
        actor = words(rng).actor()
        clip = Clip((actor,), list(PLACES)[k % len(PLACES)], motion, seed=int(rng.integers(2**31)))
        drawn = (pixels(render(clip, frames)[None], torch.device("cpu"))[0] + 1) / 2
        errors.append(path_error(through(drawn), motion))
    return float(np.mean(errors))


__all__ = ["VERSION", "followed", "own_error", "path_error"]
