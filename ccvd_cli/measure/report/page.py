"""The page: templates that escape whatever they are given, a style sheet and a script, in one text."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from ... import __version__
from ...metric_names import SAID
from ...outputs import whole
from ..results import Result, Shot
from .benchmark import Method, Stream, streams
from .gather import Card, Gathered
from .media import Clip, Media, Part
from .svg import Points, curves, loss


@dataclass(frozen=True)
class Benchmark:
    """`compared`: by stream, then prompt after prompt, clips by method. `wrong` names files that are no results."""

    streams: list[Stream]
    compared: dict[str, list[dict[str, tuple[Shot, Clip]]]]
    wrong: list[str] = field(default_factory=list)


def benchmark(results: list[Result], part: Part, wrong: list[str]) -> Benchmark:
    """A comparison is shown if two or more of its clips can be read, and all of these fit."""
    found = streams(results)
    compared: dict[str, list[dict[str, tuple[Shot, Clip]]]] = {}
    for stream in found:
        for shots in stream.asked:
            clips = part.together({method: shot.path for method, shot in shots.items()})
            if len(clips) > 1:
                row = {method: (shots[method], clip) for method, clip in clips.items()}
                compared.setdefault(stream.name, []).append(row)
    return Benchmark(found, compared, wrong)


def render(found: Gathered, bench: Benchmark | None, media: Media) -> str:
    """The whole page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    part = files(__package__)
    # svg.py escapes what it is told.
    env.globals.update(
        curves=lambda *args: Markup(curves(*args)),
        loss=lambda *args: Markup(loss(*args)),
        said=lambda metric: SAID.get(metric, metric.upper().replace("_", "-")),
        keys=lambda of: list(dict.fromkeys(key for one in of for key in one)),
        of_metric=_of_metric,
        keeping=lambda methods, metric: [method for method in methods if metric in method.kept],
        composed_scores=lambda methods: [of for x in methods for of in x.composed.values()],
        plain=_plain,
        usual=_usual,
    )
    return env.get_template("page.html.j2").render(
        found=found,
        bench=bench,
        media=media,
        left_out=Counter(media.left_out.values()),
        unread=sorted(path.name for path in media.unread),
        moving=Markup(json.dumps(media.moving)),  # hex and base64
        css=Markup((part / "page.css").read_text("utf-8")),
        js=Markup((part / "page.js").read_text("utf-8")),
        written=datetime.now(timezone.utc),
        version=__version__,
    )


def _of_metric(of: Sequence[Card | Method], metric: str) -> dict[str, Points]:
    """Lines by name, if any of them is one."""
    lines: dict[str, Points] = {x.name: x.curves[metric] for x in of if metric in x.curves}
    return lines if any(len(points) > 1 for points in lines.values()) else {}


def _usual(row: Mapping[str, tuple[Shot, Clip]]) -> Shot:
    """The first that is worded as most are."""
    shots = [shot for shot, _ in row.values()]
    ((wording, _),) = Counter(shot.prompt for shot in shots).most_common(1)
    return next(shot for shot in shots if shot.prompt == wording)


def _plain(recipe: Mapping[str, Any]) -> dict[str, str]:
    """A recipe's settings in words; what is not set is not told."""

    def said(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, dict):
            return ", ".join(f"{key}: {said(v)}" for key, v in value.items())
        return ", ".join(map(said, value)) if isinstance(value, list) else str(value)

    return {key.replace("_", " "): said(v) for key, v in recipe.items() if v is not None and v != []}


def write(text: str, path: Path) -> None:
    """Whole or not at all. Raises CcvdError if the file system refuses."""
    with whole(path) as (part,):
        part.write_text(text, encoding="utf-8", errors="backslashreplace")  # names may be in another encoding


__all__ = ["Benchmark", "benchmark", "render", "write"]
