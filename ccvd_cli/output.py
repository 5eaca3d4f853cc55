"""Data on stdout: tables for people, JSON for programs. And the two lines on stderr that end a failed run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

GAP = "  "  # between the columns of a table


def emit(text: str) -> None:
    """One line (or block) of data."""
    print(text)


def emit_json(value: Any) -> None:
    """Dates become ISO 8601, paths text, and what is no finite number null: JSON has no NaN."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=_plain, allow_nan=False))


def emit_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Left-aligned columns, as wide as they need to be: a table in a pipe loses nothing. What cannot be printed is escaped."""
    lines = [[printable(str(cell)) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def emit_facts(facts: dict[str, object]) -> None:
    """`key   value` lines."""
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key.ljust(width)}  {printable(str(value))}")


def fail(message: str, hint: str = "") -> None:
    """One line saying what is wrong, and one saying what to do if there is anything."""
    import typer

    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    print(_sentence(message), file=sys.stderr)
    if hint:
        typer.secho("hint: ", fg=typer.colors.CYAN, nl=False, err=True)
        print(_sentence(hint), file=sys.stderr)


def size(count: int) -> str:
    """`count` bytes for people: 1.2 MB."""
    if count < 1000:
        return f"{count} B"
    amount, units = count / 1000, iter(("kB", "MB", "GB"))
    unit = next(units)
    while amount >= 1000 and (larger := next(units, None)):
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """9 s, 2 min 05 s, 1 h 07 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def date(moment: datetime) -> str:
    """Local time, to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(of) for key, of in value.items()}
    return [_finite(of) for of in value] if isinstance(value, (list, tuple)) else value


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in JSON")


def printable(text: str) -> str:
    """What a terminal would act on is escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _sentence(text: str) -> str:
    """One line with a capital and a full stop, whoever wrote it."""
    line = printable(" ".join(text.split()))
    line = line if line[:1] in "`'\"" or line.startswith("ccvd") else line[:1].upper() + line[1:]
    return line if line.endswith((".", "?", "!", "`")) else f"{line}."
