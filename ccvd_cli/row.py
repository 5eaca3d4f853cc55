"""Several subjects in a row: in a box of the frame each, or in a window of the base's own size each, where it draws them as it draws one.

Half of a small frame has no room for what makes somebody himself. Windows overlap by a quarter; where a frame of them is denoised window by
window (engine/windows.py), everybody has one, and the frame is as wide as that needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .regions import Region
    from .settings import SampleSettings

TOP = 0.1  # of the frame is left to the prompt, above boxes


def side_by_side(texts: Sequence[str]) -> list[Region]:
    """Boxes of equal width in a row, from left to right."""
    width = 1 / len(texts)
    return [_region(text, (i * width, TOP, (i + 1) * width, 1.0)) for i, text in enumerate(texts)]


def width_of(count: int, own: int) -> int:
    """Pixels of so many windows in a row, of which each is `own` wide."""
    return own + (count - 1) * step_of(own)


def step_of(own: int) -> int:
    """From one window to the next, of which each is `own` wide: they overlap by a quarter."""
    return own - own // 4


def in_a_row(
    settings: SampleSettings, texts: Sequence[str], own: tuple[int, int] | None, *, widen: bool = True
) -> SampleSettings:
    """`settings` with a region for each of several prompts.

    own: height and width of the base's own frames, in pixels, if it says. widen: a frame of that size may become as wide as windows need.
    """
    if len(texts) < 2:
        return settings.model_copy(update={"regions": ()})
    boxes = settings.model_copy(update={"regions": tuple(side_by_side(texts))})
    if own is None or settings.windows is False or settings.height != own[0]:
        return boxes
    width = own[1]
    wide = width_of(len(texts), width)
    if settings.width != wide and not (widen and settings.width == width):
        return boxes
    lows = [width_of(i + 1, width) - width for i in range(len(texts))]
    row = [_region(t, (x / wide, 0.0, (x + width) / wide, 1.0)) for t, x in zip(texts, lows, strict=True)]
    return settings.model_copy(update={"regions": tuple(row), "width": wide, "windows": True})


def fills_windows(settings: SampleSettings, own: tuple[int, int] | None) -> bool:
    """Whether every region is a window of its own."""
    again = in_a_row(settings, [region.prompt for region in settings.regions], own, widen=False)
    return bool(settings.regions and settings.windows and again == settings)


def without_row(
    settings: SampleSettings, own: tuple[int, int] | None, *, narrow: bool = True
) -> SampleSettings:
    """`settings` without regions, and, if these were windows in a row and `narrow`, in a frame of the base's own width again."""
    alone: dict[str, Any] = {"regions": ()}
    if own and narrow and fills_windows(settings, own):
        alone |= {"width": own[1], "windows": None}
    return settings.model_copy(update=alone)


def _region(text: str, box: tuple[float, float, float, float]) -> Region:
    from .regions import Keyframe, Region

    return Region(prompt=text, keyframes=(Keyframe(frame=0, box=box),))
