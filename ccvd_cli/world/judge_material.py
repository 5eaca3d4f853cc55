"""What judges learn from and are examined on: single actors drawn with known truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .captions import words
from .corpus import CHUNK, Pixels, disguise, parallel
from .heldout import subject
from .motions import HELDOUT_MOTIONS, MOTIONS
from .render import COLOURS, FRAMES, TEXTURES, Clip, render
from .scenes import PLACES
from .shapes import NOUNS

# Held-out motions are classes too: a judge that knows only the pretrained ones would find one in everything.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "noun": tuple(NOUNS),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "scene": tuple(PLACES),
    "motion": (*MOTIONS, *HELDOUT_MOTIONS),
}
OTHER = "other"  # an actor that is none of the subjects
UNKNOWN = -100  # the label that cross entropy skips
MOMENTS = 3  # frames kept of every clip in full size

Draw = Callable[[np.random.Generator], tuple[Clip, tuple[int, ...]]]


@dataclass(frozen=True)
class Material:
    """N clips: moments (N, K, 64, 64, 3) and all frames halved (N, F, 32, 32, 3); labels (N, attributes)."""

    moments: Pixels
    halved: Pixels
    labels: np.ndarray


def ordinary(rng: np.random.Generator, disguised: float = 0.35) -> tuple[Clip, tuple[int, ...]]:
    """Any actor, motion and scene; some in disguise, whose colour and texture have no name then."""
    who, scene, motion = words(rng), _pick(rng, "scene"), _pick(rng, "motion")
    clip = Clip((who.actor(),), scene, motion, seed=int(rng.integers(2**31)))
    colour, texture = ATTRIBUTES["colour"].index(who.colour), TEXTURES.index(who.texture)
    if rng.random() < disguised:
        clip, colour, texture = replace(disguise(clip, rng), style=None), UNKNOWN, UNKNOWN
    noun, place = ATTRIBUTES["noun"].index(who.noun), ATTRIBUTES["scene"].index(scene)
    return clip, (noun, colour, texture, place, ATTRIBUTES["motion"].index(motion))


def one_of(subjects: Sequence[int], rng: np.random.Generator) -> tuple[Clip, tuple[int, ...]]:
    """One of the subjects, or an ordinary or disguised actor, mostly of a noun that a subject has too."""
    motion, scene, seed = _pick(rng, "motion"), _pick(rng, "scene"), int(rng.integers(2**31))
    k = int(rng.integers(len(subjects)))
    clip = Clip((subject(subjects[k]).actor,), scene, motion, seed=seed)
    if rng.random() < 0.6:
        return clip, (k,)
    who = words(rng)
    noun = clip.actors[0].noun if rng.random() < 0.7 else who.noun
    clip = replace(clip, actors=(replace(who.actor(), noun=noun),))
    if rng.random() < 0.5:
        clip = replace(disguise(clip, rng), style=None)
    return clip, (len(subjects),)


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
    moments, halved, labels = (np.concatenate(part)[:n] for part in zip(*chunks, strict=True))
    return Material(moments, halved, labels)


def _chunk(draw: Draw, size: int, seed: int) -> tuple[Pixels, Pixels, np.ndarray]:
    rng = np.random.default_rng([_SPACE, seed])
    moments, halved, labels = [], [], []
    for _ in range(size):
        clip, label = draw(rng)
        frames = render(clip)
        moments.append(frames[rng.choice(FRAMES, MOMENTS, replace=False)])
        fine = frames.reshape(FRAMES, 32, 2, 32, 2, 3)
        halved.append(fine.mean((2, 4), dtype=np.float32).round().astype(np.uint8))
        labels.append(label)
    return np.stack(moments), np.stack(halved), np.asarray(labels)


def examination(draw: Draw, n: int, seed: int) -> tuple[Pixels, np.ndarray]:
    """n whole clips (n, F, 64, 64, 3) that no judge has learned from, and their labels."""
    rng = np.random.default_rng([_SPACE, 1, seed])
    drawn = [draw(rng) for _ in range(n)]
    return np.stack([render(clip) for clip, _ in drawn]), np.asarray([label for _, label in drawn])


_SPACE = 8_800


def world_digest() -> str:
    """sha256 over what everything looks like: a judge of another world is worth nothing."""
    digest = hashlib.sha256()
    for k in range(max(map(len, ATTRIBUTES.values()))):
        noun, colour, texture, scene, motion = (names[k % len(names)] for names in ATTRIBUTES.values())
        who = replace(subject(k).actor, noun=noun, colour=COLOURS[colour], texture=texture)
        digest.update(render(Clip((who,), scene, motion, seed=k), 4).tobytes())
    return digest.hexdigest()
