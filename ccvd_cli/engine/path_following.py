"""Who performs a motion is led along its path: a region of the prompt whose boxes are the path's (after TrailBlazer, arXiv 2401.00896).

What a motion's adapter beside the clock has to say is mostly where things are when; and it says so in the colours and shapes of its clips. A
base that was told boxes knows better: where a path leads, that adapter is silent. Those of the temporal layers act as ever.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..prompts import named
from ..regions import Box, Keyframe, Region
from .bases.contract import Base
from .concept import Learner
from .content import Asked

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LEAST = 0.02  # of a frame's side: no box is smaller


def led(base: Base, asked: Asked) -> Asked:
    """What is asked for of one prompt, with boxes that follow paths; the same where nobody follows any.

    Without regions, the prompt is led if it names one motion with a path and no more than one subject. Of regions, those that stand still and
    name one such motion themselves; or the only one, if the prompt does. A path then leads within the region's box.
    """
    (prompt,), settings = asked.prompts, asked.settings
    paths = {x.name: x.path for x in asked.learners if x.path is not None}
    if not settings.path_strength or settings.frames == 1 or not paths:
        return asked
    followed = set[str]()

    def along(region: Region, said: str) -> Region:
        names = [name for name in named(said) if name in paths]
        if len(names) != 1 or len(region.keyframes) > 1:
            return region
        followed.update(names)
        path = further(at_frames(paths[names[0]], settings.frames), settings.path_strength)
        boxes = within(path, region.keyframes[0].box)
        keyframes = tuple(Keyframe(frame=k, box=box) for k, box in enumerate(boxes))
        return region.model_copy(update={"keyframes": keyframes})

    regions = settings.regions
    if not regions:
        subjects = {x.name for x in asked.learners if x.kind == "subject"}
        if len(subjects.intersection(named(prompt))) < 2:
            regions = (along(Region(prompt=prompt, keyframes=(Keyframe(frame=0, box=WHOLE),)), prompt),)
    else:
        alone = len(regions) == 1
        regions = tuple(along(r, f"{r.prompt} {prompt}" if alone else r.prompt) for r in regions)
    if not followed:
        return asked
    learners = [silent(base, x) if x.name in followed else x for x in asked.learners]
    return asked._replace(learners=learners, settings=settings.model_copy(update={"regions": regions}))


def leading(base: Base, asked: Asked) -> list[str]:
    """The motions that lead somebody."""
    now = led(base, asked).learners
    return [x.name for x, after in zip(asked.learners, now, strict=True) if after is not x]


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
