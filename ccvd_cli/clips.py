"""Names and sizes of the files that generating writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .outputs import frame_paths

if TYPE_CHECKING:
    from .settings import SampleSettings

_TINY = 128  # pixels: a clip no higher or no wider than this is hard to see


def default_path(prompt: str, seed: int) -> Path:
    """`ccvd-a-v1-dog-surfing-7.mp4` in the current folder."""
    slug = "-".join(re.findall(r"\w+", prompt.lower()))[:48].strip("-_")
    return Path(f"ccvd-{slug or 'clip'}-{seed}.mp4")


def numbered(path: Path, count: int) -> list[Path]:
    """`path` itself for one clip; name_000.mp4, name_001.mp4 ... for more."""
    if count == 1:
        return [path]
    return frame_paths(path, count)


def sidecar_path(path: Path) -> Path:
    """`clip.mp4.json` beside `clip.mp4`."""
    return path.with_name(path.name + ".json")


def frame_of(clip: Path, name: str) -> bool:
    """Whether a file is called as a frame of the .png `clip` is."""
    numbered = rf"{re.escape(clip.stem)}_\d{{3,}}{re.escape(clip.suffix)}"
    return clip.suffix.lower() == ".png" and re.fullmatch(numbered, name) is not None


def default_scale(settings: SampleSettings) -> int:
    """Pixels in the file per pixel of the clip: 4 for tiny clips, so that people can see them."""
    return 4 if min(settings.height, settings.width) <= _TINY else 1
