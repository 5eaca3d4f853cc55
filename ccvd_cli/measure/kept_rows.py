"""Clips of evaluations and their scores, as a folder keeps them. No torch here: reports read them too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UNREADABLE
from ..outputs import whole

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
        """Whole or not at all. Raises CcvdError if the file system refuses."""
        self.rows |= {row.clip: row for row in rows}
        with whole(self.path) as (part,):
            part.write_text(
                "".join(json.dumps(asdict(row)) + "\n" for row in self.rows.values()), encoding="utf-8"
            )
