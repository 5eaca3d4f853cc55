"""Whom motions lead along the paths of their clips, by the words of prompts and settings, and along which boxes (no torch here)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .prompts import named

if TYPE_CHECKING:
    from .regions import Region
    from .settings import SampleSettings

LONGEST = 1000  # frames of a path


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
    prompt: str,
    leading: Sequence[str | None],
    paths: Mapping[str, Sequence[Sequence[float]]],
    settings: SampleSettings,
) -> tuple[Region, ...]:
    """The regions of a clip, with boxes that follow the path of who leads in each (`leaders`). Without regions the whole prompt is one.

    paths: as in path_boxes.py, by the motions' names.
    """
    import numpy as np

    from .path_boxes import WHOLE, at_frames, further, within
    from .regions import Keyframe, Region

    whole = Region(prompt=prompt, keyframes=(Keyframe(frame=0, box=WHOLE),))

    def along(region: Region, leader: str | None) -> Region:
        if leader is None:
            return region
        path = further(at_frames(np.array(paths[leader]), settings.frames), settings.path_strength)
        boxes = within(path, region.keyframes[0].box)
        keyframes = tuple(Keyframe(frame=k, box=box) for k, box in enumerate(boxes))
        return region.model_copy(update={"keyframes": keyframes})

    return tuple(along(*each) for each in zip(settings.regions or (whole,), leading, strict=True))
