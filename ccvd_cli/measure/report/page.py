"""The page: a template that escapes whatever it is given, a style sheet and a script, in one text."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from ...metric_names import SAID
from .benchmark import Method, Result, methods, side_by_side
from .gather import Gathered
from .media import Budget, Clip
from .svg import curves


@dataclass(frozen=True)
class Comparison:
    """One prompt and seed, by method."""

    stream: str
    prompt: str
    seed: int
    clips: dict[str, Clip]


@dataclass(frozen=True)
class Benchmark:
    methods: list[Method] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)


def benchmark(results: list[Result], budget: Budget) -> Benchmark:
    """Clips that do not fit are left out; a comparison has two or more."""
    compared = []
    for (stream, prompt, seed), paths in side_by_side(results).items():
        clips = {method: clip for method, path in sorted(paths.items()) if (clip := budget.clip(path))}
        if len(clips) > 1:
            compared.append(Comparison(stream, prompt, seed, clips))
    return Benchmark(methods(results), compared)


def render(found: Gathered, bench: Benchmark | None, budget: Budget) -> str:
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
    env.filters["enumerated"] = lambda values: list(enumerate(values))
    env.filters["lines"] = lambda cards, m: {c.concept.name: c.curves[m] for c in cards if m in c.curves}
    env.filters["method_lines"] = lambda of, m: {x.name: x.curves[m] for x in of if m in x.curves}
    env.filters["names"] = lambda of: {
        part: list(dict.fromkeys(m for x in of for m in getattr(x, part)))
        for part in ("last", "lost", "curves")
    }
    part = files(__package__)
    return env.get_template("page.html.j2").render(
        found=found,
        bench=bench,
        budget=budget,
        css=Markup((part / "page.css").read_text("utf-8")),
        js=Markup((part / "page.js").read_text("utf-8")),
        # svg.py escapes what it is told.
        curves=lambda *args, **options: Markup(curves(*args, **options)),
        said=lambda metric: SAID.get(metric, metric),
        metrics=list(dict.fromkeys(m for card in found.cards for m in card.scores)),
    )


def write(text: str, path: Path) -> None:
    """Whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


__all__ = ["Benchmark", "benchmark", "render", "write"]
