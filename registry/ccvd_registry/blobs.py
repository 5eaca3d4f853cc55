"""Content-addressed files: a blob's name is the SHA-256 of its bytes; it is written once, never changed.

A blob is written to a temporary file in its own folder and renamed to its digest: a crash leaves garbage
to collect, never half a blob.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path

from .errors import BlobCorrupt, BlobMissing, IllegalDigest

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"
_UNFINISHED = ".tmp"


class BlobStore:
    """The blobs under `root`, as `<first two digits>/<digest>.safetensors`.

    `put` and `collect` are not to run at the same time (a fresh blob has no reference yet): the registry
    calls both only while it holds its write lock.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Stores `data` durably and returns its digest. A blob already there, and intact, is left alone."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._locate(digest)
        if target.is_file() and _digest_of(target) == digest:
            return digest
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_then_rename(data, target)
        _sync_folder(self.root)
        return digest

    def path(self, digest: str) -> Path:
        """The file of a blob. Raises IllegalDigest before it becomes a path, BlobMissing if there is none."""
        path = self._locate(digest)
        if not path.is_file():
            raise BlobMissing(path)
        return path

    def verify(self, digest: str) -> Path:
        """`path`, after reading the whole file. Raises BlobCorrupt if its bytes have another digest."""
        path = self.path(digest)
        if _digest_of(path) != digest:
            raise BlobCorrupt(path)
        return path

    def collect(self, referenced: set[str]) -> int:
        """Deletes blobs outside `referenced`, and unfinished files. Returns the bytes freed."""
        freed = 0
        for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
            if path.suffix == _SUFFIX:
                garbage = _DIGEST.fullmatch(path.stem) is not None and path.stem not in referenced
            else:
                garbage = path.suffix == _UNFINISHED
            if garbage:
                freed += path.stat().st_size
                path.unlink()
                with suppress(OSError):  # the fan-out folder still has other blobs
                    path.parent.rmdir()
        return freed

    def _locate(self, digest: str) -> Path:
        if _DIGEST.fullmatch(digest) is None:
            raise IllegalDigest(digest)
        return self.root / digest[:2] / f"{digest}{_SUFFIX}"


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _write_then_rename(data: bytes, target: Path) -> None:
    unfinished = target.with_name(uuid.uuid4().hex + _UNFINISHED)
    try:
        with unfinished.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable, where folders can be opened at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
