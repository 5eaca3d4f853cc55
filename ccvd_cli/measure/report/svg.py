"""Inline SVG: curves and a timeline. Whatever is text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
COLOURS = 8  # classes c0 ... c7 of the style sheet


def curves(
    series: Mapping[str, Points], label: str, width: int = 520, height: int = 190, axes: bool = True
) -> str:
    """Lines of (x, y) by name, on axes that start and end where the points do. Points that are not finite are left out."""
    kept = {n: [p for p in points if all(map(math.isfinite, p))] for n, points in series.items()}
    every = [p for points in kept.values() for p in points]
    if not every:
        return ""
    (x0, x1), (y0, y1) = (_span([p[i] for p in every]) for i in (0, 1))
    left, low = (44, 24) if axes else (3, 3)

    def at(x: float, y: float) -> tuple[float, float]:
        across = left + (x - x0) / (x1 - x0) * (width - left - 8)
        return round(across, 1), round(8 + (y1 - y) / (y1 - y0) * (height - low - 12), 1)

    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">']
    if axes:
        for y in (y0, (y0 + y1) / 2, y1):
            _, down = at(x0, y)
            parts.append(f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{down}" y2="{down}"/>')
            parts.append(f'<text x="{left - 6}" y="{down + 4}" text-anchor="end">{y:.3g}</text>')
        for x, anchor in ((x0, "start"), (x1, "end")):
            across, _ = at(x, y0)
            parts.append(f'<text x="{across}" y="{height - 5}" text-anchor="{anchor}">{x:g}</text>')
    for i, (name, points) in enumerate(kept.items()):
        line = " ".join(f"{a},{b}" for a, b in (at(*p) for p in points))
        colour = f"c{i % COLOURS}"
        parts.append(
            f'<polyline class="line {colour}" points="{line}"><title>{escape(name)}</title></polyline>'
        )
        if axes:
            for x, y in points:
                a, b = at(x, y)
                said = escape(f"{name}: {y:.3f} after task {x:g}")
                parts.append(
                    f'<circle class="dot {colour}" cx="{a}" cy="{b}" r="3"><title>{said}</title></circle>'
                )
    return "".join([*parts, "</svg>"])


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


__all__ = ["COLOURS", "Points", "curves"]
