"""Who performs a motion is led along its path: a region of the prompt whose boxes are the path's (after TrailBlazer, arXiv 2401.00896).

What a motion's adapter beside the clock has to say is mostly where things are when; and it says so in the colours and shapes of its clips. A
base that was told boxes knows better: where a path leads, that adapter is silent, unless the motion is said elsewhere too. Those of the temporal
layers act as ever.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..leading import leaders
from ..regions import Box, Keyframe, Region
from ..row import fills_windows
from ..settings import SampleSettings
from .bases.contract import Base
from .concept import Learner
from .content import Asked

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LEAST = 0.02  # of a frame's side: no box is smaller


def led(base: Base, asked: Asked) -> Asked:
    """What is asked for of one prompt, with boxes that follow paths (`leading.leaders`); the same where nobody is led.

    Without regions the whole prompt is one. In regions a path leads within their boxes. Where these are windows of their own, the rest of a
    window is its region's, too.
    """
    (prompt,), settings = asked.prompts, asked.settings
    paths = {x.name: x.path for x in asked.learners if x.kind == "motion" and x.path is not None}
    leading = leaders(prompt, {x.name: x.kind for x in asked.learners}, paths, settings)
    if not any(leading):
        return asked
    whole = Region(prompt=prompt, keyframes=(Keyframe(frame=0, box=WHOLE),))
    each = list(zip(settings.regions or (whole,), leading, strict=True))
    regions = tuple(_along(region, paths[name], settings) if name else region for region, name in each)
    speaking = {name for region, leader in each if not leader for name in region.names}
    learners = [silent(base, x) if x.name in {*leading} - speaking else x for x in asked.learners]
    housed = fills_windows(settings, base.own_size)
    return asked._replace(
        learners=learners,
        settings=settings.model_copy(update={"regions": regions}),
        housed=frozenset(k for k, name in enumerate(leading) if name and housed),
    )


def _along(region: Region, path: Tensor, settings: SampleSettings) -> Region:
    boxes = within(further(at_frames(path, settings.frames), settings.path_strength), region.keyframes[0].box)
    keyframes = tuple(Keyframe(frame=k, box=box) for k, box in enumerate(boxes))
    return region.model_copy(update={"keyframes": keyframes})


def silent(base: Base, learner: Learner) -> Learner:
    """The same without its adapter beside the clock."""
    beside = {site.name for site in base.sites_of("moment")}
    return replace(learner, adapters={s: a for s, a in learner.adapters.items() if s not in beside})


def at_frames(path: Tensor, frames: int) -> Tensor:
    """A path (F, 4) in as many frames, linear between its own: (frames, 4)."""
    return F.interpolate(path.T[None].float(), size=frames, mode="linear", align_corners=True)[0].T


def further(path: Tensor, strength: float) -> Tensor:
    """A path (F, 4) whose middles are so many times as far from their mean."""
    middles, sizes = path.split(2, 1)
    mean = middles.mean(0)
    return torch.cat([mean + strength * (middles - mean), sizes], 1)


def within(path: Tensor, box: Box) -> list[Box]:
    """A path (F, 4) in fractions of a box -> x0, y0, x1, y1 by frame, in fractions of the frame that the box lies in, and inside of it."""
    low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
    least = LEAST / (high - low).clamp(min=LEAST)
    half = (path[:, 2:] / 2).maximum(least / 2)
    middles = path[:, :2].maximum(least / 2).minimum(1 - least / 2)
    inside = torch.cat([middles - half, middles + half], 1).clamp(0, 1)
    boxes = low.repeat(2) + (high - low).repeat(2) * inside
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.clamp(0, 1).tolist()]
