"""The path of a motion: boxes that follow a thing through its clips, where the base itself sees it (contrast.py).

Nobody says what the clips show, so the base is asked for a thing. Where noise is high it expects one in the middle, and where it is low it
sees little else but edges; so it is asked in between. Of each frame's contrasts, what is above their threshold is a heap: its middle is the
box's, and its spread the box's size. A path is the mean over clips, as what is alike in them is the motion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .bases.contract import Base
from .contrast import contrasts, threshold
from .sample import OnStep, ignore

NOISES = 5  # of each frame; clips make up for few
WITHIN = 0.3, 0.45
REACH = 3.0  # standard deviations from the middle to the end of a box; with less room, things lag behind it
STAYS = 0.05  # of the frame: what moves no further than that, root mean square, moves in its place


def found_path(
    base: Base, clips: Tensor, noun: str, seed: int = 0, on_noise: OnStep = ignore
) -> Tensor | None:
    """Boxes (F, 4) of clips (N, F, 3, H, W) in [-1, 1]: x and y of the middle, width, height, in fractions of the frame.

    None if they lead nowhere.
    """
    maps = contrasts(base, list(clips.flatten(0, 1)), noun, seed, on_noise, noises=NOISES, within=WITHIN)
    path = around(maps).unflatten(0, (len(clips), -1)).mean(0)
    middles = path[:, :2]
    spread = (middles - middles.mean(0)).square().sum(1).mean().sqrt()
    return path if float(spread) > STAYS else None


def around(maps: Tensor) -> Tensor:
    """Maps (N, h, w) -> boxes (N, 4), as above, around what of each is above its threshold."""
    heaps = torch.stack([(one - threshold(one)).clamp(min=0) for one in maps]).double()
    heaps += heaps.sum((1, 2), keepdim=True) == 0  # nothing stands out: then it may be anywhere
    heaps /= heaps.sum((1, 2), keepdim=True)
    middles, sizes = [], []
    for along in (heaps.sum(1), heaps.sum(2)):  # x, y
        at = (torch.arange(along.shape[1]) + 0.5) / along.shape[1]
        middle = (along * at).sum(1)
        spread = (along * (at - middle[:, None]).square()).sum(1).sqrt()
        middles.append(middle)
        sizes.append((2 * REACH * spread).clamp(1 / along.shape[1], 1))
    return torch.stack([*middles, *sizes], 1).float()
