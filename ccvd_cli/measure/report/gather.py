"""What a registry holds, and what lies on disk beside it, as the page shows it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...sidecar import Sidecar
from ...sidecar import read as read_sidecar
from ..forgetting import forgetting
from .media import Budget, Clip
from .svg import Points

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, EvaluationView, GenerationView, Registry

PREVIEWS = 2  # clips on a card
SOURCES = 6  # source images on a card
GENERATIONS = 24  # latest ones that are looked at
_SCORES = "scores.jsonl"  # as evaluate.py calls it, which needs torch


@dataclass(frozen=True)
class Shown:
    """A clip and what it was made from."""

    prompt: str
    seed: int
    clip: Clip
    boxes: list[tuple[str, float, float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """A concept: `scores` are the latest by metric, `curves` its means by metric over (task, mean)."""

    concept: ConceptView
    scores: dict[str, dict[str, Any]]
    lost: dict[str, tuple[float, float]]
    curves: dict[str, Points]
    previews: list[Shown]
    sources: list[str]


@dataclass(frozen=True)
class Relevance:
    """Weights by (prompt, concept), with why; the columns are `concepts`."""

    concepts: list[str]
    rows: list[tuple[str, dict[str, tuple[float, str]]]]


@dataclass(frozen=True)
class Gathered:
    cards: list[Card]
    relevance: Relevance
    regions: list[Shown]


def gather(registry: Registry, evaluation: Path, references: Mapping[str, Path], budget: Budget) -> Gathered:
    """Everything about the registry's concepts. Clips of `evaluation` and source images of `references` are shown if they are there."""
    made = _sidecars(registry.generations(GENERATIONS))
    regions = [shown for path, about in made if _boxes(about) and (shown := _shown(path, about, budget))]
    cards = []
    for concept in registry.list():
        past = _alike(registry.evaluations(concept.name))
        histories = _histories(past)
        lost = {m: forgetting({"": [y for _, y in of]}) for m, of in histories.items()}
        cards.append(
            Card(
                concept,
                past[-1].scores if past else {},
                {m: (f.since_first, f.since_best) for m, f in lost.items() if not math.isnan(f.since_first)},
                histories,
                _previews(concept, made, evaluation / concept.name, budget),
                sources(concept.data, references[concept.name], budget) if concept.name in references else [],
            )
        )
    return Gathered(cards, relevance([about for _, about in made]), regions)


def _alike(past: Sequence[EvaluationView]) -> list[EvaluationView]:
    """Those that asked what the latest asked, the last of each number of tasks."""
    return list({e.after: e for e in past if e.how == past[-1].how}.values())


def _histories(past: Sequence[EvaluationView]) -> dict[str, Points]:
    found: dict[str, list[tuple[float, float]]] = {}
    for e in past:
        for metric, score in e.scores.items():
            found.setdefault(metric, []).append((float(e.after), float(score["mean"])))
    return dict(found)


def _sidecars(generations: Sequence[GenerationView]) -> list[tuple[Path, Sidecar]]:
    """Of clips whose sidecar can still be read, newest first."""
    found: dict[Path, Sidecar] = {}
    for generation in generations:
        path = Path(generation.output)
        if path not in found:
            with suppress(UsageError):
                found[path] = read_sidecar(path.with_name(path.name + ".json"))
    return list(found.items())


def _boxes(about: Sidecar) -> list[tuple[str, float, float, float, float]]:
    """Prompt and x0, y0, x1, y1 of every region in the first frame, in fractions of it."""
    return [(r.prompt, *r.keyframes[0].box) for r in about.sample_settings.regions]


def _shown(path: Path, about: Sidecar, budget: Budget) -> Shown | None:
    clip = budget.clip(path)
    return Shown(about.prompt, about.seed, clip, _boxes(about)) if clip else None


def _previews(
    concept: ConceptView, made: Sequence[tuple[Path, Sidecar]], folder: Path, budget: Budget
) -> list[Shown]:
    """Generated clips with the concept as it is now, then those that evaluations kept."""
    found: list[Shown] = []
    for path, about in made:
        if len(found) < PREVIEWS and any(c.digests == concept.digests for c in about.concepts):
            found += [shown] if (shown := _shown(path, about, budget)) else []
    for prompt, seed, path in _kept(folder):
        if len(found) < PREVIEWS and (clip := budget.clip(path)):
            found.append(Shown(prompt, seed, clip))
    return found


def _kept(folder: Path) -> list[tuple[str, int, Path]]:
    rows = []
    with suppress(OSError):
        for line in (folder / _SCORES).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # what somebody else wrote there
                row = json.loads(line)
                rows.append((str(row["prompt"]), int(row["seed"]), folder / Path(row["clip"]).name))
    return rows


def sources(data: Sequence[Mapping[str, str]], folder: Path, budget: Budget) -> list[str]:
    """Data URIs of the files of `folder` whose SHA-256 is one of `data`'s."""
    wanted = {file["sha256"] for file in data}
    found: list[str] = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if len(found) < SOURCES and hashlib.sha256(path.read_bytes()).hexdigest() in wanted:
            found += [uri] if (uri := budget.picture(path)) else []
    return found


def relevance(made: Sequence[Sidecar]) -> Relevance:
    """The newest weight of every prompt and concept."""
    rows: dict[str, dict[str, tuple[float, str]]] = {}
    for about in made:
        for share in about.shares:
            rows.setdefault(share.prompt, {}).setdefault(share.concept, (share.weight, share.why))
    concepts = sorted({name for row in rows.values() for name in row})
    return Relevance(concepts, list(rows.items()))


__all__ = ["Card", "Gathered", "Relevance", "Shown", "gather", "relevance", "sources"]
