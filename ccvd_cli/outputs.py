"""Where files may be written, checked before a model is loaded, and how: whole or not at all (no torch here)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from .errors import CcvdError, UsageError

SUFFIXES: dict[str, str] = {
    ".mp4": "H.264 video",
    ".gif": "animated GIF",
    ".webp": "animated WebP",
    ".png": "one PNG per frame, numbered",
}

LARGEST = 16_383  # pixels a side that H.264 and WebP can have


def check_output(path: Path) -> None:
    """Says whether a clip can be written at `path`, without creating anything.

    Folders on the way that do not exist yet are fine: writing creates them.

    Raises:
        UsageError: unknown suffix, `path` is a folder, or its folder cannot be created or written to.
    """
    check_suffix(path)
    check_file(path)


def check_file(path: Path) -> None:
    """As `check_output`, whatever the suffix. Raises UsageError."""
    try:
        if path.is_dir():
            raise UsageError(f"'{path}' is a folder.", "Choose another name, or a file in it.")
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
    except OSError as error:  # a name too long for the file system, a folder that may not be entered
        raise UsageError(f"Cannot write to '{path}': {error.strerror}.", "Choose another place.") from error
    if not folder.is_dir():
        raise UsageError(f"Cannot write to '{path}': '{folder}' is not a folder.", "Choose another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"Cannot write to '{path}': no permission to write in '{folder}'.",
            "Choose another place, or make the folder writable.",
        )


def check_sheet(path: Path) -> None:
    """As `check_output`, of what `--sheet` names. Raises UsageError."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet '{path}' is not a PNG.", "Name a file such as sheet.png.")
    check_output(path)


@contextmanager
def whole(*targets: Path) -> Iterator[list[Path]]:
    """Hidden files beside `targets` to write to: they take these names at the end, or are gone if anything fails.

    Raises:
        CcvdError: the file system refuses.
    """
    # Processes in containers share folders and process numbers.
    parts = [t.with_name(f".{uuid4().hex}.part{t.suffix}") for t in targets]
    try:
        for folder in {t.parent for t in targets}:
            folder.mkdir(parents=True, exist_ok=True)
        yield parts
        for part, target in zip(parts, targets, strict=True):
            part.replace(target)
    except OSError as error:  # PyAV's errors about files are OSErrors too
        raise CcvdError(
            f"Cannot write '{targets[0]}': {error.strerror or error}.", "Choose another place, or free space."
        ) from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()


def check_suffix(path: Path) -> str:
    """The suffix of `path` in lower case. Raises UsageError if no writer knows it."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(f"{name} ({what})" for name, what in SUFFIXES.items())
        quoted = f"Unknown suffix '{path.suffix}'" if path.suffix else "No suffix"
        raise UsageError(f"{quoted} in '{path}'.", f"Choose one of {known}.")
    return suffix


def written_size(path: Path, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels of a clip of `size` in the file `path`: H.264 has even sides alone."""
    return (size[0] + size[0] % 2, size[1] + size[1] % 2) if path.suffix.lower() == ".mp4" else size


def clip_files(path: Path, frames: int) -> list[Path]:
    """The files that a clip of so many frames is written to: one, or one per frame for .png."""
    return frame_paths(path, frames) if path.suffix.lower() == ".png" else [path]


def as_written(path: Path) -> Path:
    """How the files of a clip are found: for frames in PNG, a pattern."""
    return path.with_name(f"{path.stem}_*{path.suffix}") if path.suffix.lower() == ".png" else path


def frame_paths(path: Path, count: int) -> list[Path]:
    """The files that `count` PNG frames of `path` go to: name.png becomes name_000.png, name_001.png ..."""
    return [path.with_name(f"{path.stem}_{number}{path.suffix}") for number in numbers(count)]


def numbers(count: int) -> list[str]:
    """000, 001 ...: names that sort as they count."""
    digits = max(3, len(str(count - 1)))
    return [f"{i:0{digits}}" for i in range(count)]
