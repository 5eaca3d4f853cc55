"""Methods of a benchmark beside each other: on the screen, a column each and a row for every metric, and on a sheet of clips.

Nine methods are wider than a terminal: as many as there is room for stand beside each other, the others below. A pipe has room for all.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..metric_names import SAID
from ..output import GAP, emit, emit_table

if TYPE_CHECKING:
    from torch import Tensor

    from ..estimates import Estimate
    from ..measure.forgetting import Forgetting
    from ..measure.results import Result, Shot, Standing

_TOGETHER = {
    "two": "two subjects",
    "three": "three subjects",
    "subject+motion": "a subject and a motion",
    "subject+style": "a subject in a style",
}
_SHOWN, _SIDE, _COLUMNS = 4, 64, 3  # frames of a clip on a sheet, their pixels, and clips beside each other


def tell(found: Sequence[Standing]) -> None:
    """Those that came to the end, stream by stream."""
    blocks: list[list[tuple[str, ...]]] = []
    for stream in dict.fromkeys(standing.stream for standing in found):
        of = [standing for standing in found if standing.stream == stream and standing.seeds]
        blocks += _blocks(list(_rows(stream, of)), _room())
    for k, (head, *rows) in enumerate(blocks):
        if k:
            emit("")
        emit_table(head, rows)


def draw(results: Sequence[Result], sheet: Path) -> None:
    """The first prompt of a concept and of each way to say several, by every method. Raises UsageError if no two methods have clips."""
    from ..engine.media import load_film
    from ..engine.media_out import contact_sheet
    from ..measure.report.benchmark import side_by_side

    first: dict[tuple[str, str], dict[str, Shot]] = {}
    for stream in dict.fromkeys(result.stream for result in results):
        for shots in side_by_side([result for result in results if result.stream == stream]):
            (one, *_) = shots.values()
            first.setdefault((stream, one.composed), shots)
    clips = [
        (f"{name}: {shot.prompt}", shot.path) for shots in first.values() for name, shot in shots.items()
    ]
    if not clips:
        raise UsageError(
            f"--sheet '{sheet}': no two methods have clips of one prompt.", "Run another method into --out."
        )
    rows = [(label, _small(load_film(path, most=_SHOWN).frames)) for label, path in clips]
    contact_sheet(rows, sheet, frames_per_row=_SHOWN, scale=1, columns=_COLUMNS)


def _rows(stream: str, of: Sequence[Standing]) -> Iterator[tuple[str, ...]]:
    """Of as many cells each as there are methods, and one."""
    empty = [""] * len(of)
    yield stream.upper(), *(s.method for s in of)
    yield "seeds", *(str(s.seeds) for s in of)
    yield "seconds to learn a task", *("" if s.learning is None else f"{s.learning:.1f}" for s in of)
    for metric in _known(s.scores for s in of):
        yield _said(metric, of), *(_score(s.scores.get(metric)) for s in of)
    if lost := _known(s.forgotten for s in of):
        yield "", *empty
        yield "FORGOTTEN since learned / since best", *empty
        for metric in lost:
            yield SAID[metric], *(_lost(s.forgotten.get(metric)) for s in of)
    for kind in dict.fromkeys(kind for s in of for kind in s.composed):
        together = [s.composed.get(kind, {}) for s in of]
        yield "", *empty
        yield f"TOGETHER: {_TOGETHER.get(kind, kind)}", *empty
        for metric in _known(together):
            yield _said(metric, of), *(_score(scores.get(metric)) for scores in together)


def _said(metric: str, of: Sequence[Standing]) -> str:
    """'IDENTITY (judge 99.2%)': with how often its judge is right, which is the same for all who were judged by it."""
    shares = [s.judges[metric] for s in of if metric in s.judges]
    return f"{SAID[metric]} (judge {min(shares):.1%})" if shares else SAID[metric]


def _known(scored: Iterable[Collection[str]]) -> list[str]:
    """Metrics that anybody has."""
    found = set().union(*scored)
    return [metric for metric in SAID if metric in found]


def _blocks(rows: Sequence[tuple[str, ...]], room: int | None) -> Iterator[list[tuple[str, ...]]]:
    """The same rows with some of the columns, each block as wide as there is room for, but of one method at least."""
    columns = list(zip(*rows, strict=True))
    label, left = columns[0], columns[1:]
    while left:
        count = 1
        while count < len(left) and (room is None or _width(label, *left[: count + 1]) <= room):
            count += 1
        yield list(zip(label, *left[:count], strict=True))
        left = left[count:]


def _width(*columns: Sequence[str]) -> int:
    """Of a table of these columns, in characters."""
    return sum(max(map(len, column)) for column in columns) + len(GAP) * (len(columns) - 1)


def _room() -> int | None:
    """Columns of the terminal; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _score(found: Estimate | None) -> str:
    return "" if found is None else f"{found.mean:.3f} ({found.low:.3f} - {found.high:.3f})"


def _lost(found: Forgetting | None) -> str:
    return "" if found is None else f"{found.since_first:+.3f} / {found.since_best:+.3f}"


def _small(frames: Tensor) -> Tensor:
    """(F, 3, H, W) in [-1, 1] -> in [0, 1], of _SIDE to twice as many pixels."""
    from torch.nn.functional import avg_pool2d

    return avg_pool2d((frames + 1) / 2, max(1, min(frames.shape[-2:]) // _SIDE))
