"""Photos and clips on disk -> tensors to learn from. Writing is in `media_out`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..paths import sha256
from .clip_reader import Pixels, Unreadable, read_clip, read_whole
from .picture_reader import fitted, on_white, read_picture

__all__ = [
    "Film",
    "Loaded",
    "find_images",
    "find_videos",
    "load_film",
    "load_images",
    "load_videos",
]

# What lies beside photos and clips in a folder. Anything else is tried: the reader decides, not the suffix.
_SIDECARS = frozenset(
    {".txt", ".json", ".jsonl", ".csv", ".tsv", ".md", ".yaml", ".yml", ".toml", ".xml", ".html", ".log"}
    | {".ini", ".db", ".srt", ".vtt", ".xmp", ".aae", ".part", ".tmp"}
)
_MANY = 5  # so many files are named in an error; the rest are counted


@dataclass(frozen=True)
class Loaded:
    """What was read from a folder, in the order of the file names.

    `tensors`, `used` and `digests` (sha256 of the file, hex) run in parallel. `skipped` names every file
    that could not be read, and why.
    """

    tensors: list[Tensor]
    used: list[Path]
    skipped: list[tuple[Path, str]]
    digests: list[str]


@dataclass(frozen=True)
class Film:
    """One clip from its beginning to its end, to be made anew: `frames` (F, 3, H, W) in [-1, 1], those `taken` of its `count`.

    `seconds` is how long it takes, `size` its own (height, width) in pixels, `digest` the sha256 of the file, hex.
    """

    frames: Tensor
    taken: tuple[int, ...]
    count: int
    seconds: float
    size: tuple[int, int]
    digest: str

    @property
    def fps(self) -> float:
        """Its own frames per second; their mean, if they are of uneven length."""
        return self.count / self.seconds

    @property
    def held(self) -> list[int]:
        """For how many of the clip's frames each that was taken stands, so that all of them are stood for."""
        count = len(self.taken)
        return np.bincount(np.arange(self.count) * count // self.count, minlength=count).tolist()


def find_images(folder: Path) -> list[Path]:
    """Files of `folder` that may be photos, sorted by name; `folder` may also be a single file.

    Raises:
        UsageError: it does not exist, may not be listed, or holds no candidate.
    """
    return _find(folder, "photo")


def find_videos(folder: Path) -> list[Path]:
    """Files of `folder` that may be clips, sorted by name; `folder` may also be a single file.

    Raises:
        UsageError: it does not exist, may not be listed, or holds no candidate.
    """
    return _find(folder, "clip")


def load_images(folder: Path, *, size: tuple[int, int], minimum: int = 1) -> Loaded:
    """Reads every photo as float32 (3, height, width) in [-1, 1]: upright, alpha on white, centre crop.

    Args:
        folder: a folder of photos, or one photo.
        size: (height, width) in pixels.
        minimum: how many readable photos are needed.

    Raises:
        UsageError: as `find_images`, or fewer than `minimum` photos can be read.
    """
    return _load(folder, "photo", minimum, lambda path: _read_photo(path, size))


def load_videos(folder: Path, *, size: tuple[int, int], frames: int, fps: int, minimum: int = 1) -> Loaded:
    """Reads every clip as float32 (frames, 3, height, width) in [-1, 1]; see `clip_reader.read_clip`.

    Args:
        folder: a folder of clips, or one clip.
        size: (height, width) in pixels.
        frames: frames per clip.
        fps: frames per second of the base that will learn from them.
        minimum: how many readable clips are needed.

    Raises:
        UsageError: as `find_videos`, or fewer than `minimum` clips can be read.
    """
    return _load(folder, "clip", minimum, lambda path: read_clip(path, size=size, frames=frames, fps=fps))


def load_film(path: Path, *, size: tuple[int, int] | None = None, most: int) -> Film:
    """Reads one clip whole, at most `most` of its frames, squeezed to `size` (height, width) if there is one; see `clip_reader.read_whole`.

    Raises:
        UsageError: there is no such file, or it is no clip of two frames or more.
    """
    advice = "Give a clip that a viewer can open: MP4, AVI, WebM or GIF, of two frames or more."
    try:
        if not path.exists():
            raise UsageError(f"There is no file '{path}'.", advice)
        if not path.is_file():
            raise UsageError(f"'{path}' is not a file.", advice)
        whole, digest = read_whole(path, size=size, most=most), sha256(path)
    except Unreadable as error:
        raise UsageError(f"Cannot read '{path}': {error}.", advice) from error
    except OSError as error:
        raise UsageError(f"Cannot read '{path}': {error.strerror}.", advice) from error
    return Film(_tensor(whole.pixels), whole.taken, whole.count, whole.seconds, whole.shown, digest)


def _tensor(pixels: Pixels) -> Tensor:
    """uint8 (..., height, width, 3) -> float32 (..., 3, height, width) in [-1, 1]."""
    tensor = torch.from_numpy(pixels.astype(np.float32)).movedim(-1, -3).contiguous()
    return tensor.div_(127.5).sub_(1)


def _find(folder: Path, what: str) -> list[Path]:
    advice = f"Give a folder that holds the {what}s, or one {what}."
    try:
        if folder.is_file():
            return [folder]
        if not folder.exists():
            raise UsageError(f"There is no folder '{folder}'.", advice)
        if not folder.is_dir():
            raise UsageError(f"'{folder}' is neither a folder nor a file.", advice)
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        found = [path for path in inside if path.is_file() and path.suffix.lower() not in _SIDECARS]
    except OSError as error:
        raise UsageError(f"Cannot read folder '{folder}': {error.strerror}.", advice) from error
    if not found:
        nested = any(path.is_dir() for path in inside)
        where = f"Folders in it are not searched: give the one that holds the {what}s." if nested else advice
        raise UsageError(f"No {what} in folder '{folder}'.", where)
    return found


def _load(folder: Path, what: str, minimum: int, read: Callable[[Path], Pixels]) -> Loaded:
    """Reads every candidate with `read`, which gives uint8 (..., height, width, 3)."""
    loaded = Loaded([], [], [], [])
    for path in _find(folder, what):
        try:
            pixels, digest = read(path), sha256(path)
        except Unreadable as error:
            loaded.skipped.append((path, str(error)))
            continue
        except OSError as error:
            loaded.skipped.append((path, (error.strerror or "cannot be read").lower()))
            continue
        loaded.tensors.append(_tensor(pixels))
        loaded.used.append(path)
        loaded.digests.append(digest)
    if len(loaded.used) < max(minimum, 1):
        raise _too_few(folder, what, minimum, loaded)
    return loaded


def _too_few(folder: Path, what: str, minimum: int, loaded: Loaded) -> UsageError:
    reasons = [f"{path.name}: {reason}" for path, reason in loaded.skipped[:_MANY]]
    if len(loaded.skipped) > _MANY:
        reasons.append(f"and {len(loaded.skipped) - _MANY} more")
    listed = f" ({'; '.join(reasons)})" if reasons else ""
    if folder.is_file() and reasons:
        problem = f"Cannot read '{folder}': {loaded.skipped[0][1]}."
    elif loaded.used:
        problem = f"Only {len(loaded.used)} readable {what}{'s' * (len(loaded.used) > 1)} in '{folder}', {minimum} needed{listed}."
    else:
        problem = f"No readable {what} in '{folder}'{listed}."
    kinds = "JPEG, PNG or WebP" if what == "photo" else "MP4, AVI, WebM or GIF, of two frames or more"
    least = f"{minimum} {what}s" if minimum > 1 else f"one {what}"
    return UsageError(problem, f"Give at least {least} that a viewer can open: {kinds}.")


def _read_photo(path: Path, size: tuple[int, int]) -> Pixels:
    """One photo as uint8 (height, width, 3). Raises Unreadable."""
    return read_picture(path, lambda image: np.asarray(on_white(fitted(image, size)[0])))
