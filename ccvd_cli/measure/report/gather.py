"""What a registry holds, and what lies on disk beside it, as the page shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...clips import sidecar_path
from ...comparable import asked_alike
from ...errors import UNREADABLE, UsageError
from ...estimates import Estimate
from ...paths import sha256
from ...regions import Box
from ...sidecar import Sidecar
from ...sidecar import read as read_sidecar
from ..forgetting import Forgetting, forgetting
from ..kept_rows import Kept
from ..result_file import number
from .media import Clip, Part, Still
from .svg import Points

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, EvaluationView, GenerationView, Registry

PREVIEWS = 2  # clips on a card
SOURCES = 6  # source images on a card
GENERATIONS = 24  # latest ones of which weights and regions are shown
LOOKED_AT = 2000  # latest ones among which everybody's clips are sought
PLACED = 6  # clips of which regions are shown


@dataclass(frozen=True)
class Shown:
    """A clip and what it was made from."""

    prompt: str
    seed: int
    clip: Clip


@dataclass(frozen=True)
class Placed:
    """Frames of a clip, and where its regions are in each: x0, y0, x1, y1 in fractions of it."""

    prompt: str
    seed: int
    regions: list[str]
    frames: list[tuple[int, Still, list[Box]]]


@dataclass(frozen=True)
class Card:
    """A concept: `scores` are the latest by metric, and `judges` how often each is right; `curves` its means by metric over (task, mean)."""

    concept: ConceptView
    scores: dict[str, Estimate]
    judges: dict[str, float]
    lost: dict[str, Forgetting]
    curves: dict[str, Points]
    previews: list[Shown]
    sources: list[Still]

    @property
    def name(self) -> str:
        return self.concept.name


@dataclass(frozen=True)
class Relevance:
    """Weights by (prompt, concept), with why; the columns are `concepts`."""

    concepts: list[str]
    rows: list[tuple[str, dict[str, tuple[float, str]]]]


@dataclass(frozen=True)
class Gathered:
    """`wrong` names stored scores that are none."""

    cards: list[Card]
    relevance: Relevance
    placed: list[Placed]
    wrong: list[str] = field(default_factory=list)


def gather(registry: Registry, evaluation: Path, references: Mapping[str, Path], part: Part) -> Gathered:
    """Everything about the registry's concepts. Clips of `evaluation` and source images of `references` are shown if they are there."""
    concepts, rows = registry.list(), registry.generations(LOOKED_AT)
    made = _sidecars(rows[:GENERATIONS])
    its: dict[str, list[GenerationView]] = {concept.name: [] for concept in concepts}
    now = {_key({"name": concept.name, **concept.digests}): concept.name for concept in concepts}
    for row in rows:
        for name in {now[key] for named in row.concepts if (key := _key(named)) in now}:
            its[name].append(row)
    evaluated: dict[str, list[EvaluationView]] = {}
    for found in registry.evaluations():
        evaluated.setdefault(found.concept, []).append(found)
    for concept in concepts:  # everybody's first, before anybody's second
        _previews(concept, its[concept.name], evaluation, part, 1)
    wrong: list[str] = []
    cards = []
    for concept in concepts:
        ways = sorted(asked_alike(evaluated.get(concept.name, [])), key=lambda way: way[-1].created)
        latest = _scores(ways[-1][-1], wrong) if ways else {}
        histories: dict[str, list[tuple[float, float]]] = {}
        drawn = next((way for way in reversed(ways) if len(way) > 1), ways[-1] if ways else [])
        for one in drawn:
            for metric, score in _scores(one, wrong).items():
                histories.setdefault(metric, []).append((float(one.after), score.mean))
        lost = {m: forgetting({"": [y for _, y in of]}) for m, of in histories.items()}
        cards.append(
            Card(
                concept,
                latest,
                _judges(ways[-1][-1]) if ways else {},
                {m: found for m, found in lost.items() if not math.isnan(found.since_first)},
                dict(histories),
                _previews(concept, its[concept.name], evaluation, part, PREVIEWS),
                sources(concept.data, references[concept.name], part) if concept.name in references else [],
            )
        )
    placed = (shown for path, about in made if (shown := _shown_regions(path, about, part)))
    return Gathered(
        cards,
        relevance([about for _, about in made]),
        list(islice(placed, PLACED)),
        list(dict.fromkeys(wrong)),
    )


def _key(named: object) -> str:
    """Of a concept as a generation names it, by its name and its digests: the same for the same."""
    return json.dumps(named, sort_keys=True)


def _scores(found: EvaluationView, wrong: list[str]) -> dict[str, Estimate]:
    """Those that can be read, others are named. A mean that is null says nothing; without an interval it has no width."""
    scores: dict[str, Estimate] = {}
    for metric, score in (found.scores if isinstance(found.scores, dict) else {"scores": None}).items():
        mean = number(score.get("mean")) if isinstance(score, dict) else None
        if mean is not None:
            low, high, count = (number(score.get(key)) for key in ("low", "high", "count"))
            if low is None or high is None:
                low = high = mean
            scores[metric] = Estimate(mean, low, high, int(count or 0))
        elif not isinstance(score, dict) or score.get("mean", "") is not None:
            wrong.append(f"{found.concept}, after task {found.after}: {metric}")
    return scores


def _judges(found: EvaluationView) -> dict[str, float]:
    """Of scores that have one, how often it is right on rendered truth."""
    scores = found.scores if isinstance(found.scores, dict) else {}
    shares = {m: number(score.get("judge")) for m, score in scores.items() if isinstance(score, dict)}
    return {metric: share for metric, share in shares.items() if share is not None}


def _sidecars(generations: Sequence[GenerationView]) -> list[tuple[Path, Sidecar]]:
    """Of clips whose sidecar can still be read, newest first."""
    return list(_read(dict.fromkeys(Path(generation.output) for generation in generations)))


def _read(paths: Iterable[Path]) -> Iterator[tuple[Path, Sidecar]]:
    """Clips with their sidecars, as far as these can be read; of one in frames, the first."""
    for path in paths:
        with suppress(UsageError):
            about = read_sidecar(sidecar_path(path))
            frames = path.suffix.lower() == ".png" and about.files
            yield (path.with_name(Path(about.files[0]).name) if frames else path), about


def _shown_regions(path: Path, about: Sidecar, part: Part) -> Placed | None:
    """In the first frame; in a middle one and the last as well if a region moves."""
    regions = about.sample_settings.regions
    if about.edit and about.edit.taken:
        regions = tuple(r.at(about.edit.taken) for r in regions)
    moving = any(len(r.keyframes) > 1 for r in regions)
    frames = part.pictures(path, (0, 0.5, 1) if moving else (0,)) if regions and path.is_file() else []
    drawn = [(i, still, [r.box_at(i) for r in regions]) for i, still in frames]
    return Placed(about.prompt, about.seed, [r.prompt for r in regions], drawn) if drawn else None


def _previews(
    concept: ConceptView, its: Sequence[GenerationView], evaluation: Path, part: Part, count: int
) -> list[Shown]:
    """Generated clips with the concept as it is now, then those of it that evaluations kept."""
    asked = (
        (about.prompt, about.seed, path)
        for path, about in _read(dict.fromkeys(Path(generation.output) for generation in its))
        if any(c.digests == concept.digests for c in about.concepts)  # and not another clip in its place
    )
    found: list[Shown] = []
    tried = 0
    for prompt, seed, path in chain(asked, _kept(evaluation / concept.name, concept.digests)):
        if tried == count:
            break
        if path.is_file():
            clip = part.clip(path)
            found += [Shown(prompt, seed, clip)] if clip else []
            tried += bool(clip) or path in part.media.left_out  # a damaged one is no try
    return found


def _kept(folder: Path, concept: Mapping[str, str]) -> list[tuple[str, int, Path]]:
    """Clips of that concept: one of another registry, or learned before, may have had its name."""
    found = []
    with suppress(OSError):
        for row in Kept(folder).rows.values():
            with suppress(*UNREADABLE, TypeError, OverflowError):  # what somebody else wrote there
                if row.concepts[0] == concept:
                    found.append((str(row.prompt), int(row.seed), folder / Path(row.clip).name))
    return found


def sources(data: Sequence[Mapping[str, Any]], folder: Path, part: Part) -> list[Still]:
    """Files of `folder`, or the one that it is, whose SHA-256 is one of `data`'s: a picture, or a clip's first frame."""
    wanted = {file.get("sha256") for file in data}
    found: list[Still] = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else [folder]:
        try:
            if len(found) < SOURCES and sha256(path) in wanted:
                found += [still for _, still in part.pictures(path, (0,))]
        except OSError:
            part.media.unread[path] = part.name
    return found


def relevance(made: Sequence[Sidecar]) -> Relevance:
    """The newest weight of every prompt and concept."""
    rows: dict[str, dict[str, tuple[float, str]]] = {}
    for about in made:
        for share in about.shares:
            if math.isfinite(share.weight):
                rows.setdefault(share.prompt, {}).setdefault(share.concept, (share.weight, share.why))
    concepts = sorted({name for row in rows.values() for name in row})
    return Relevance(concepts, list(rows.items()))


__all__ = ["Card", "Gathered", "Placed", "Relevance", "Shown", "gather", "relevance", "sources"]
