"""Clips of evaluations and their scores, as a folder keeps them. No torch here: reports read them too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import SEEK_END
from pathlib import Path

from ..errors import UNREADABLE, CcvdError

SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Row:
    """A clip and its scores. `batch` is a SHA-256 of all that it was made and judged by; with the place in the batch it names the clip.

    concepts: the digests of those who took part, in the order of the exam; nothing in files from before they were kept.
    """

    batch: str
    prompt: str
    seed: int
    clip: str
    scores: dict[str, float]
    concepts: Sequence[Mapping[str, str]] = ()


class Kept:
    """The rows of a folder by clip, in `scores.jsonl`; what was kept there before is there again, if its clip is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / SCORES
        self.rows = {row.clip: row for row in self._read()}

    def _read(self) -> Iterator[Row]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(*UNREADABLE, TypeError, OSError):  # what somebody else wrote there
                row = Row(**json.loads(line))
                if (self.folder / row.clip).exists():
                    yield row

    def of(self, batch: str) -> list[Row]:
        return [row for row in self.rows.values() if row.batch == batch]

    def add(self, rows: Sequence[Row]) -> None:
        """At the end of the file: others may be writing to it too. Raises CcvdError if the file system refuses."""
        self.rows |= {row.clip: row for row in rows}
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        try:
            with self.path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, SEEK_END)
                    if file.read() != b"\n":  # somebody was cut off in a line
                        lines = "\n" + lines
                file.write(lines.encode())
        except OSError as error:
            raise CcvdError(
                f"Cannot write '{self.path}': {error.strerror}.", "Choose another place, or free space."
            ) from error
