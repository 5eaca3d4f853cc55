"""What judges learn from and are examined on: actors drawn with known truth, alone or seen through a window among others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ..regions import Box
from .captions import TOGETHER, dressed, spots, words
from .corpus import CHUNK, Pixels, disguise, parallel
from .heldout import subject
from .motions import HELDOUT_MOTIONS, MOTIONS
from .render import COLOURS, FRAMES, TEXTURES, Actor, Clip, Spot, render
from .scenes import PLACES
from .shapes import NOUNS
from .styles import STYLES

# Held-out motions are classes too: a judge that knows only the pretrained ones would find one in everything.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "noun": tuple(NOUNS),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "scene": tuple(PLACES),
    "motion": (*MOTIONS, *HELDOUT_MOTIONS),
}
JUDGED = ATTRIBUTES | {"style": ("none", *STYLES)}
OTHER = "other"  # an actor that is none of the subjects, or nobody
UNKNOWN = -100  # the label that cross entropy skips
MOMENTS = 3  # frames kept of every clip in full size
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Truth(NamedTuple):
    """A clip, the part of it that is judged, and the right answers."""

    clip: Clip
    labels: tuple[int, ...]
    window: Box = WHOLE


Draw = Callable[[np.random.Generator], Truth]


@dataclass(frozen=True)
class Material:
    """N clips: moments (N, K, 64, 64, 3), all frames halved (N, F, 32, 32, 3), windows (N, 4); labels (N, attributes)."""

    moments: Pixels
    halved: Pixels
    windows: np.ndarray
    labels: np.ndarray


def ordinary(rng: np.random.Generator, disguised: float = 0.35, styled: float = 0.2) -> Truth:
    """Any actor, motion and scene; some in disguise or in a style, whose colour and texture have no name then."""
    who, scene, motion = words(rng), _pick(rng, "scene"), _pick(rng, "motion")
    where = spots(rng, 1, motion) if rng.random() < 0.5 else None
    clip = Clip((who.actor(),), scene, motion, seed=int(rng.integers(2**31)), spots=where)
    colour, texture, style = ATTRIBUTES["colour"].index(who.colour), TEXTURES.index(who.texture), 0
    if rng.random() < disguised:
        clip, colour, texture = replace(disguise(clip, rng), style=None), UNKNOWN, UNKNOWN
    if rng.random() < styled:
        clip, style = _styled(clip, rng)
        colour = texture = UNKNOWN
    noun, place = ATTRIBUTES["noun"].index(who.noun), ATTRIBUTES["scene"].index(scene)
    return Truth(clip, (noun, colour, texture, place, ATTRIBUTES["motion"].index(motion), style))


def one_of(subjects: Sequence[int], rng: np.random.Generator, crowded: float = 0.5) -> Truth:
    """One of the subjects, or an ordinary or disguised actor, mostly of a noun that a subject has too; some in a style.

    `crowded`: the share in which it is one of two or three in a row, seen through a window of its own. Some of these windows are empty.
    """
    actor, label = _somebody(subjects, rng)
    scene, seed = _pick(rng, "scene"), int(rng.integers(2**31))
    if rng.random() < crowded:
        truth = _in_a_row(actor, label, [_somebody(subjects, rng)[0] for _ in range(2)], scene, seed, rng)
        if rng.random() < 0.1 and len(truth.clip.actors) > 1:
            truth = _left_out(truth, len(subjects))
    else:
        motion = _pick(rng, "motion")
        where = spots(rng, 1, motion) if rng.random() < 0.5 else None
        truth = Truth(Clip((actor,), scene, motion, seed=seed, spots=where), (label,))
    return truth._replace(clip=_styled(truth.clip, rng)[0]) if rng.random() < 0.15 else truth


def _somebody(subjects: Sequence[int], rng: np.random.Generator) -> tuple[Actor, int]:
    k = int(rng.integers(len(subjects)))
    actor = subject(subjects[k]).actor
    if rng.random() < 0.6:
        return actor, k
    who = words(rng)
    other = replace(who.actor(), noun=actor.noun if rng.random() < 0.7 else who.noun)
    return (dressed(other, rng) if rng.random() < 0.5 else other), len(subjects)


def _in_a_row(
    actor: Actor, label: int, others: list[Actor], scene: str, seed: int, rng: np.random.Generator
) -> Truth:
    """It stands somewhere among others, and is looked at through about the box that a region would have."""
    count = int(rng.integers(2, 4))
    place = int(rng.integers(count))
    actors = others[: count - 1]
    actors.insert(place, actor)
    smallest, largest = (0.15, 0.24) if count == 2 else (0.13, 0.175)
    row = tuple(
        Spot(
            (k + 0.5) / count + rng.uniform(-0.04, 0.04),
            rng.uniform(0.42, 0.66),
            rng.uniform(smallest, largest),
        )
        for k in range(count)
    )
    edges = np.asarray([place / count, 0.1, (place + 1) / count, 1.0]) + rng.uniform(-0.03, 0.03, 4)
    x0, y0, x1, y1 = (float(v) for v in edges.clip(0, 1))
    motion = TOGETHER[int(rng.integers(len(TOGETHER)))]
    return Truth(Clip(tuple(actors), scene, motion, seed=seed, spots=row), (label,), (x0, y0, x1, y1))


def _left_out(truth: Truth, nobody: int) -> Truth:
    """The same, without whom the window is on."""
    clip, (x0, _, x1, _) = truth.clip, truth.window
    assert clip.spots is not None
    gone = int(np.abs(np.asarray([s.x for s in clip.spots]) - (x0 + x1) / 2).argmin())
    actors = tuple(a for k, a in enumerate(clip.actors) if k != gone)
    row = tuple(s for k, s in enumerate(clip.spots) if k != gone)
    return truth._replace(clip=replace(clip, actors=actors, spots=row), labels=(nobody,))


def _styled(clip: Clip, rng: np.random.Generator) -> tuple[Clip, int]:
    """In a style, and which of JUDGED it is."""
    k = int(rng.integers(len(STYLES)))
    return replace(clip, style=list(STYLES)[k]), 1 + k


def _pick(rng: np.random.Generator, attribute: str) -> str:
    options = ATTRIBUTES[attribute]
    return options[int(rng.integers(len(options)))]


def material(
    draw: Draw, n: int, seed: int, on_chunk: Callable[[int, int], None] = lambda done, total: None
) -> Material:
    """n clips, drawn by all cores."""
    size = min(n, CHUNK)
    seeds = range(seed, seed + -(-n // size))
    chunks = []
    for chunk in parallel(partial(_chunk, draw, size), seeds):
        chunks.append(chunk)
        on_chunk(len(chunks), len(seeds))
    moments, halved, windows, labels = (np.concatenate(part)[:n] for part in zip(*chunks, strict=True))
    return Material(moments, halved, windows, labels)


def _chunk(draw: Draw, size: int, seed: int) -> tuple[Pixels, Pixels, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([_SPACE, seed])
    moments, halved, windows, labels = [], [], [], []
    for _ in range(size):
        clip, label, window = draw(rng)
        frames = render(clip)
        moments.append(frames[rng.choice(FRAMES, MOMENTS, replace=False)])
        fine = frames.reshape(FRAMES, 32, 2, 32, 2, 3)
        halved.append(fine.mean((2, 4), dtype=np.float32).round().astype(np.uint8))
        windows.append(window)
        labels.append(label)
    return np.stack(moments), np.stack(halved), np.asarray(windows, np.float32), np.asarray(labels)


class Examination(NamedTuple):
    """N clips (N, F, 64, 64, 3) that no judge has learned from, the windows (N, 4) on them, their labels, and which are in a style."""

    pixels: Pixels
    windows: np.ndarray
    labels: np.ndarray
    styled: np.ndarray


def examination(draw: Draw, n: int, seed: int, frames: int = FRAMES) -> Examination:
    rng = np.random.default_rng([_SPACE, 1, seed])
    drawn = [draw(rng) for _ in range(n)]
    return Examination(
        np.stack([render(t.clip, frames) for t in drawn]),
        np.asarray([t.window for t in drawn], np.float32),
        np.asarray([t.labels for t in drawn]),
        np.asarray([t.clip.style is not None for t in drawn]),
    )


_SPACE = 8_800


def world_digest() -> str:
    """sha256 over what everything looks like and how truth is drawn: a judge of another world is worth nothing."""
    digest = hashlib.sha256()
    for k in range(max(map(len, ATTRIBUTES.values()))):
        noun, colour, texture, scene, motion = (names[k % len(names)] for names in ATTRIBUTES.values())
        who = replace(subject(k).actor, noun=noun, colour=COLOURS[colour], texture=texture)
        digest.update(render(Clip((who,), scene, motion, seed=k), 4).tobytes())
        digest.update(render(Clip((who,), scene, style=list(STYLES)[k % len(STYLES)], seed=k), 1).tobytes())
    rng = np.random.default_rng(_SPACE)
    for truth in [ordinary(rng) for _ in range(20)] + [one_of(range(4), rng) for _ in range(20)]:
        digest.update(repr(truth).encode())
    return digest.hexdigest()
