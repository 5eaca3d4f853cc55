"""Inline SVG: lines over tasks, and a loss. Whatever is text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Points = Sequence[tuple[float, float]]
COLOURS = 8  # classes c0 ... c7 of the style sheet
WIDTH = 400
_MARKS = (  # by line, around 0,0: no line is told by its colour alone
    '<circle r="3.4"/>',
    '<rect x="-3" y="-3" width="6" height="6"/>',
    '<path d="M0-4.2 4 3H-4z"/>',
    '<path d="M0-4.4 4.4 0 0 4.4-4.4 0z"/>',
    '<path d="M0 4.2 4-3H-4z"/>',
    '<circle class="hollow" r="3.2"/>',
    '<rect class="hollow" x="-3" y="-3" width="6" height="6"/>',
    '<path class="hollow" d="M0-4.4 4.4 0 0 4.4-4.4 0z"/>',
)
_LETTER = 6.9  # pixels, of a wide font
_LEAST = 0.04  # of a score or a loss, from the lowest to the highest of an axis
_LABEL = 13  # pixels from one name to the next
_RAW = 240  # points of a loss that are drawn
_SMOOTH = 0.06  # of a run: the window's memory
_MOST = 1e9  # neither a score nor a task: beyond it ticks have no digits left


def curves(series: Mapping[str, Points], label: str) -> str:
    """Lines of (task, y), each with its name at its end. Points that no axis can show are left out."""
    kept = {n: [p for p in points if all(map(_drawable, p))] for n, points in series.items()}
    kept = {n: sorted(points) for n, points in kept.items() if points}
    if not kept:
        return ""
    named = {n: n if len(n) <= 18 else f"{n[:7]}…{n[-10:]}" for n in kept}
    right = 16 + int(_LETTER * max(map(len, named.values())))
    height = max(190, 50 + _LABEL * len(kept))
    xs = sorted({x for points in kept.values() for x, _ in points})
    at, parts = _axes(
        (xs[0], xs[-1]), [y for of in kept.values() for _, y in of], right, height, label, "task", _few(xs)
    )
    ends = _apart([at(*points[-1])[1] for points in kept.values()], 12, height - 30)
    for i, ((name, points), end) in enumerate(zip(kept.items(), ends, strict=True)):
        drawn = [f'<g class="series c{i % COLOURS} d{i // COLOURS % 3}">']
        line = " ".join("{},{}".format(*at(*p)) for p in points)
        across, down = at(*points[-1])
        edge = WIDTH - right
        drawn.append(f'<polyline class="line" points="{line}"/>')
        drawn.append(f'<path class="lead" d="M{across + 4} {down}L{edge + 8} {end}"/>')
        drawn.append(
            f'<text class="name" x="{edge + 11}" y="{end + 4:g}">{escape(named[name])}<title>{escape(name)}</title></text>'
        )
        for x, y in points:
            a, b = at(x, y)
            said = escape(f"{name}: {y:.3f} after task {x:g}")
            drawn.append(
                f'<g class="dot" transform="translate({a} {b})"><title>{said}</title>{_MARKS[i % 8]}</g>'
            )
        parts.append("".join([*drawn, "</g>"]))
    return "".join([*parts, "</svg>"])


def loss(values: Sequence[Any], label: str) -> str:
    """Of every step, and a moving mean over it. What is no number that an axis can show is left out."""
    steps = [
        (float(i), float(v)) for i, v in enumerate(values, 1) if isinstance(v, (int, float)) and _drawable(v)
    ]
    if len(steps) < 2:
        return ""
    smooth, mean = [], steps[0][1]
    keep = 1 - 1 / max(1.0, _SMOOTH * len(steps))
    for i, (x, y) in enumerate(steps):
        mean += (y - mean) * max(1 - keep, 1 / (i + 1))  # the plain mean, until there are enough
        smooth.append((x, mean))
    every = max(1, len(steps) // _RAW)
    raw, smooth = steps[::every], [*smooth[::every], smooth[-1]]
    at, parts = _axes((steps[0][0], steps[-1][0]), [y for _, y in raw], 10, 140, label, "step", None)
    said = escape(
        f"Loss: {smooth[-1][1]:.3g} after {steps[-1][0]:g} steps, {steps[0][1]:.3g} at the first; smoothed"
    )
    for kind, points in (("raw", raw), ("line c0", smooth)):
        line = " ".join("{},{}".format(*at(*p)) for p in points)
        parts.append(f'<polyline class="{kind}" points="{line}"><title>{said}</title></polyline>')
    return "".join([*parts, "</svg>"])


def _axes(
    span: tuple[float, float],
    ys: Sequence[float],
    right: int,
    height: int,
    label: str,
    unit: str,
    marked: Sequence[float] | None,
) -> tuple[Callable[[float, float], tuple[float, float]], list[str]]:
    """Where a point is, and the opened picture with its axes; `marked` are the places on the lower one, else its ends."""
    ticks = _ticks(min(ys), max(ys))
    (x0, x1), (y0, y1) = span, (ticks[0], ticks[-1])
    left, top, low, inset = 38, 10, 32, 8  # a mark does not cover a number

    def at(x: float, y: float) -> tuple[float, float]:
        along = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        across = left + inset + along * (WIDTH - left - inset - right)
        return round(across, 1), round(top + (y1 - y) / (y1 - y0) * (height - low - top), 1)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for y in ticks:
        _, down = at(x0, y)
        parts.append(f'<path class="grid" d="M{left} {down}H{WIDTH - right}"/>')
        parts.append(f'<text x="{left - 6}" y="{down + 4:g}" text-anchor="end">{y:.4g}</text>')
    for x in marked or (x0, x1):
        anchor = "middle" if marked else ("start" if x == x0 else "end")
        parts.append(f'<text x="{at(x, y0)[0]}" y="{height - 16}" text-anchor="{anchor}">{x:g}</text>')
    parts.append(
        f'<text x="{(left + WIDTH - right) / 2:g}" y="{height - 3}" text-anchor="middle">{unit}</text>'
    )
    return at, parts


def _drawable(value: float) -> bool:
    return abs(value) <= _MOST  # not a number is not


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from below `low` to above `high`. Less than `_LEAST` is drawn as little, not as much."""
    if high - low < _LEAST:
        low, high = (low + high - _LEAST) / 2, (low + high + _LEAST) / 2
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = size * min(k for k in (1, 2, 5, 10) if k * size >= rough * 0.9999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _few(xs: Sequence[float]) -> list[float]:
    """At most ten of them, the last among them."""
    every = -(-len(xs) // 10)
    return list(xs)[::-1][::every][::-1]


def _apart(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Heights near the wanted ones and in their order, of which no two are closer than a label."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    found = [0.0] * len(wanted)
    floor = top
    for i in order:
        found[i] = floor = max(wanted[i], floor)
        floor += _LABEL
    ceiling = max(bottom, top + _LABEL * (len(wanted) - 1))
    for i in reversed(order):
        found[i] = ceiling = min(found[i], ceiling)
        ceiling -= _LABEL
    return [round(y, 1) for y in found]


__all__ = ["COLOURS", "Points", "curves", "loss"]
