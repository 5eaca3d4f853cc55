"""A picture of a clip's boxes: where each is at the first, a middle and the last frame, the way there, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .outputs import whole
from .regions import Region

_COLOURS = ((230, 60, 60), (40, 130, 230), (40, 160, 70), (220, 140, 20), (150, 70, 200), (20, 150, 160))
_SIDE = 512  # of the shorter side, in pixels


def draw(regions: Sequence[Region], size: tuple[int, int], frames: int, path: Path) -> None:
    """Writes a PNG in the proportions of `size` (width, height). Raises CcvdError if the file system refuses."""
    scale = _SIDE / min(size)
    width, height = (round(side * scale) for side in size)
    picture = Image.new("RGB", (width, height), (250, 250, 248))
    pen = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(16)
    for k in range(1, 4):  # quarters, to measure by
        pen.line([(width * k // 4, 0), (width * k // 4, height)], (0, 0, 0, 25))
        pen.line([(0, height * k // 4), (width, height * k // 4)], (0, 0, 0, 25))
    for i, region in enumerate(regions):
        colour = _COLOURS[i % len(_COLOURS)]
        moving = len(region.keyframes) > 1
        if moving:  # the way of its middle
            boxes = [region.box_at(frame) for frame in range(frames)]
            way = [((x0 + x1) / 2 * width, (y0 + y1) / 2 * height) for x0, y0, x1, y1 in boxes]
            pen.line(way, (*colour, 130), width=3, joint="curve")
        for frame in (0, frames // 2, frames - 1) if moving else (0,):
            x0, y0, x1, y1 = region.box_at(frame)
            corners = (x0 * width, y0 * height, x1 * width - 1, y1 * height - 1)
            pen.rectangle(corners, fill=(*colour, 25), outline=(*colour, 255), width=3)
            whose = region.prompt if frame == 0 else ""
            label = "  ".join(filter(None, [whose, f"frame {frame}" if moving else ""]))
            pen.text((corners[0] + 8, corners[1] + 6 + 20 * (i % 3)), label, colour, font)
    with whole(path) as (part,):
        picture.save(part)
