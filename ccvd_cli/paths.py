"""Files by their names and by what is in them (no torch here)."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def expanded(value: T) -> T:
    """Paths, alone or in a list, with the user's folder for `~`: shells leave that to us in `--out=~/clip.mp4`. Anything else as it is."""
    if isinstance(value, list):
        return [expanded(of) for of in value]  # type: ignore[return-value]
    if isinstance(value, Path):
        with suppress(RuntimeError):  # nobody is called so
            return value.expanduser()
    return value


def as_text(path: Path) -> str:
    """A name as JSON and databases can hold it: what is not UTF-8 in it is escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
