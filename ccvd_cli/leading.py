"""Whom motions lead along the paths of their clips, by the words of prompts and settings, and along which boxes (no torch here).

A path is a box for each frame of a motion's clips: x and y of its middle, width and height, in fractions of the frame.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from .prompts import named

if TYPE_CHECKING:
    from .regions import Box, Region
    from .settings import SampleSettings

Path: TypeAlias = "Sequence[Sequence[float]]"

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LONGEST = 1000  # frames of a path
LEAST = 0.02  # of a frame's side: no box is smaller


def leaders(
    prompt: str, kinds: Mapping[str, str], paths: Collection[str], settings: SampleSettings
) -> list[str | None]:
    """The motion that leads in each region, or None; where there are no regions, that of the whole prompt, if it leads.

    A region or prompt is led by the one motion that it names, if that has a path, and if it names no more than one subject; a region only if it
    stands still.

    Args:
        kinds: of the concepts that take part, by name.
        paths: the motions among them that have one.
    """

    def leader(said: str) -> str | None:
        motions, subjects = (
            [n for n in named(said) if kinds.get(n) == kind] for kind in ("motion", "subject")
        )
        leads = len(motions) == 1 and motions[0] in paths and len(subjects) < 2
        return motions[0] if leads else None

    if not settings.path_strength or settings.frames == 1:
        return [None] * len(settings.regions)
    if settings.regions:
        still = [len(region.keyframes) == 1 for region in settings.regions]
        return [leader(r.prompt) if at else None for r, at in zip(settings.regions, still, strict=True)]
    found = leader(prompt) if kinds.keys() >= set(named(prompt)) else None
    return [found] if found else []


def led_regions(
    prompt: str, leading: Sequence[str | None], paths: Mapping[str, Path], settings: SampleSettings
) -> tuple[Region, ...]:
    """The regions of a clip, with boxes that follow the path of who leads in each (`leaders`). Without regions the whole prompt is one."""
    from .regions import Keyframe, Region

    whole = Region(prompt=prompt, keyframes=(Keyframe(frame=0, box=WHOLE),))

    def along(region: Region, leader: str | None) -> Region:
        if leader is None:
            return region
        path = further(at_frames(paths[leader], settings.frames), settings.path_strength)
        boxes = within(path, region.keyframes[0].box)
        keyframes = tuple(Keyframe(frame=k, box=box) for k, box in enumerate(boxes))
        return region.model_copy(update={"keyframes": keyframes})

    return tuple(along(*each) for each in zip(settings.regions or (whole,), leading, strict=True))


def at_frames(path: Path, frames: int) -> Path:
    """A path in as many frames, at least two; linear between its own, which are two at least as well."""
    found = []
    for k in range(frames):
        at = k * (len(path) - 1) / (frames - 1)
        before = min(int(at), len(path) - 2)
        share = at - before
        found.append(
            [(1 - share) * a + share * b for a, b in zip(path[before], path[before + 1], strict=True)]
        )
    return found


def further(path: Path, strength: float) -> Path:
    """A path whose middles are so many times as far from their mean."""
    x, y = (fmean(box[k] for box in path) for k in (0, 1))
    return [[x + strength * (box[0] - x), y + strength * (box[1] - y), *box[2:]] for box in path]


def within(path: Path, box: Box) -> list[Box]:
    """A path in fractions of a box -> x0, y0, x1, y1 by frame, in fractions of the frame that the box lies in, and inside of it."""

    def side(middle: float, size: float, low: float, high: float) -> tuple[float, float]:
        least = LEAST / max(high - low, LEAST)
        half = max(size, least) / 2
        middle = min(max(middle, least / 2), 1 - least / 2)
        ends = max(middle - half, 0.0), min(middle + half, 1.0)
        first, last = (low + (high - low) * end for end in ends)
        return max(first, 0.0), min(last, 1.0)

    found = []
    for x, y, width, height in path:
        (x0, x1), (y0, y1) = side(x, width, box[0], box[2]), side(y, height, box[1], box[3])
        found.append((x0, y0, x1, y1))
    return found
