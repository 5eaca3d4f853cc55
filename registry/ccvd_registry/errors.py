"""What can go wrong in a registry: `message` quotes the bad value, `hint` names the way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RegistryError(Exception):
    """Something failed. `exit_code` is what a command line should end with: 1 failed, 2 asked wrongly."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RequestError(RegistryError):
    """The caller asked for something that cannot be; nothing was changed."""

    exit_code = 2


class IllegalName(RequestError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not a concept name",
            "a name starts with a letter and has at most 32 letters, digits, '-' or '_', like V1 or my_dog",
        )
        self.name = name


class NameTaken(RequestError):
    """Names differ by more than case: text encoders lower-case their prompts, so V1 and v1 are one word."""

    def __init__(self, name: str, holder: str, free: str) -> None:
        other = "" if holder == name else f" (as {holder!r})"
        super().__init__(
            f"the name {name!r} is taken{other}", f"choose another, such as {free}, or remove it first"
        )
        self.name = name
        self.holder = holder


class ConceptNotFound(RequestError):
    """`nearest`: names that may have been meant; `empty`: the folder of a registry that has none at all."""

    def __init__(self, name: str, nearest: list[str], empty: Path | None = None) -> None:
        hint = (
            f"did you mean {' or '.join(nearest)}?" if nearest else "`ccvd list concepts` shows what there is"
        )
        if empty is not None:
            hint = f"nothing has been learned in {empty}: is it in another --home?"
        super().__init__(f"there is no concept {name!r}", hint)
        self.name = name
        self.nearest = nearest


class ConceptReplaced(RegistryError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"the concept {name!r} has been learned anew since", "ask again for what is known of the new one"
        )
        self.name = name


class HomeNotWritable(RequestError):
    def __init__(self, home: Path, reason: str) -> None:
        super().__init__(
            f"the registry's folder {home} cannot be used: {reason}",
            "make it writable, free space there, or choose another with --home or CCVD_HOME",
        )
        self.home = home


class IllegalDigest(RegistryError):
    def __init__(self, digest: str) -> None:
        super().__init__(
            f"{digest!r} is not a SHA-256 digest", "a digest is 64 lower-case hexadecimal digits"
        )


class BlobMissing(RegistryError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the tensor file {path} is missing", "restore it from a copy, or learn its concept again"
        )


class BlobCorrupt(RegistryError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the tensor file {path} is not what was stored under its digest",
            "restore it from a copy, or learn its concept again",
        )


class RegistryTooNew(RegistryError):
    def __init__(self, database: Path, found: str, head: str) -> None:
        super().__init__(
            f"{database} has schema {found}, and this version of ccvd knows schemas up to {head}",
            "upgrade ccvd",
        )


class RegistryBusy(RegistryError):
    def __init__(self, database: Path) -> None:
        super().__init__(f"{database} is being written by another process", "try again when that one is done")


class RegistryCorrupt(RegistryError):
    def __init__(self, database: Path, reason: str) -> None:
        super().__init__(f"{database} cannot be read: {reason}", "restore it from a copy, or move it away")


_OF_THE_DISK = ("readonly", "unable to open", "disk is full", "disk I/O error")  # in the words of SQLite


def explain(error: BaseException | None, database: Path) -> RegistryError:
    """The registry's own words for what SQLite, or the file system under it, said."""
    reason = str(error)
    if isinstance(error, OSError) or any(said in reason for said in _OF_THE_DISK):
        return HomeNotWritable(database.parent, getattr(error, "strerror", None) or reason)
    if "locked" in reason:
        return RegistryBusy(database)
    if "malformed" in reason or "not a database" in reason:
        return RegistryCorrupt(database, reason)
    return RegistryError(f"{database}: {reason}")


@contextmanager
def explained(database: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the file system into a `RegistryError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise explain(error, database) from error
