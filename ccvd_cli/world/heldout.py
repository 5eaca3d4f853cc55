"""Concepts that pretraining never sees, endless and known in full: subjects, motions and styles to learn.

A held-out subject has two colours far from the eight that have names, a texture made of both, and an accessory. Pretraining shows strangers
too, in random colours and accessories, but none that looks like it (a test holds them side by side; what the shipped weights saw is told in
their own README). Its index says everything about it.
Material and prompts are drawn from seeds of their own. `dev` is for choosing recipes, `test` for reporting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np

from .captions import Words, phrase, sentence
from .colour import oklab
from .motions import HELDOUT_MOTIONS, MOTIONS
from .render import COLOURS, TEXTURES, Actor, Clip, Frames, boxes, cover, render
from .scenes import PLACES
from .shapes import ACCESSORIES, NOUNS, RGB, Array
from .styles import STYLES

Split = Literal["dev", "test"]
T = TypeVar("T")

BLOCK = len(NOUNS)  # subjects drawn together, one of each noun, and kept apart from each other
# Of the first so many, among whom all of toy streams are, pretraining draws no doubles.
SPARED = 4 * BLOCK
_SUBJECT, _IMAGES, _MOTION, _STYLE, _PROMPTS = range(5)  # seed spaces
_SPACE = 7_700
_LOOKS = [(t, a) for t in TEXTURES[1:] for a in ACCESSORIES]

MOTION_SPLITS: dict[Split, tuple[str, ...]] = {
    "dev": tuple(HELDOUT_MOTIONS)[0:10:2],
    "test": (*tuple(HELDOUT_MOTIONS)[1:10:2], *tuple(HELDOUT_MOTIONS)[10:]),
}
STYLE_SPLITS: dict[Split, tuple[str, ...]] = {
    "dev": tuple(STYLES)[0:5:2],
    "test": (*tuple(STYLES)[1:5:2], *tuple(STYLES)[5:]),
}


@dataclass(frozen=True)
class HeldoutSubject:
    """A character: `actor` says what it looks like, in every clip."""

    index: int
    actor: Actor

    @property
    def noun(self) -> str:
        return self.actor.noun

    @property
    def name(self) -> str:
        return f"{self.noun}-{self.index}"

    @property
    def split(self) -> Split:
        return "test" if self.index // BLOCK % 2 else "dev"

    @property
    def description(self) -> str:
        """'a striped dog with a hat'."""
        return f"a {self.actor.texture} {self.noun} with a {self.actor.accessory}"


@dataclass(frozen=True)
class Prompt:
    """What a model is asked for, and the clip that would answer it."""

    text: str
    shows: Clip


def indices(split: Split, n: int) -> list[int]:
    """The first n subjects of a split: tens alternate, 0-9 are dev, 10-19 test."""
    start = BLOCK * (split == "test")
    return [start + k % BLOCK + 2 * BLOCK * (k // BLOCK) for k in range(n)]


def subject(i: int) -> HeldoutSubject:
    """The i-th subject. Within its ten, nouns and colours differ; for 150 in a row, noun or look differ.

    Raises:
        ValueError: i < 0.
    """
    if i < 0:
        raise ValueError(f"a subject's index is 0 or more, not {i}")
    return _block(i // BLOCK)[i % BLOCK]


def index_of(name: str) -> int:
    """Which subject is called so: "dog-10" -> 10. Raises ValueError if none is."""
    index = name.rpartition("-")[2]
    if not index.isdecimal() or len(index) > 9 or subject(int(index)).name != name:
        raise ValueError(f"no subject of the world is called {name!r}")
    return int(index)


def is_double(actor: Actor) -> bool:
    """Whether an actor is the double of one of the first `SPARED` subjects: same noun and texture, and both colours near."""
    return any(
        (actor.noun, actor.texture) == (who.noun, who.texture)
        and bool(np.linalg.norm(_lab(actor) - _lab(who), axis=-1).max() < 0.06)
        for who in (subject(i).actor for i in range(SPARED))
    )


def _lab(actor: Actor) -> Array:
    return oklab(np.asarray([actor.colour, actor.second or actor.colour]))


@lru_cache(maxsize=64)
def _block(b: int) -> tuple[HeldoutSubject, ...]:
    rng = _rng(_SUBJECT, b)
    made: list[tuple[HeldoutSubject, Array]] = []
    for k, n in enumerate(rng.permutation(BLOCK)):
        # The looks of a noun are shuffled once and then taken in turn, block after block.
        texture, accessory = _LOOKS[_rng(_SUBJECT, int(n), 1).permutation(len(_LOOKS))[b % len(_LOOKS)]]
        one, two = _pair(rng, [other for _, other in made])
        lab = oklab(np.asarray([one, two]))
        actor = Actor(list(NOUNS)[n], one, two, texture, accessory, _worn(rng, lab))
        made.append((HeldoutSubject(b * BLOCK + k, actor), lab))
    return tuple(s for s, _ in made)


def _pair(rng: np.random.Generator, others: list[Array]) -> tuple[RGB, RGB]:
    """Two colours far from the palette and each other; no pair among `others`, each (2, 3), is like it."""
    pairs = rng.uniform(0.02, 0.98, (400, 2, 3))
    lab = oklab(pairs)
    score = np.minimum(_to_palette(lab).min(1), 0.5 * np.linalg.norm(lab[:, 0] - lab[:, 1], axis=-1))
    for other in others:
        score = np.minimum(score, 0.7 * np.linalg.norm(lab - other, axis=-1).max(1))
    one, two = pairs[_enough(score, 0.12)]
    return _rgb(one), _rgb(two)


def _worn(rng: np.random.Generator, body: Array) -> RGB:
    """A light colour that stands out from those it is worn on, `body` (2, 3) in OKLab."""
    colours = rng.uniform(0.02, 0.98, (200, 3))
    lab = oklab(colours)
    score = np.linalg.norm(lab[:, None] - body, axis=-1).min(1) * (lab[:, 0] > 0.5)
    return _rgb(colours[_enough(score, 0.25)])


def _enough(score: Array, threshold: float) -> int:
    """The first that is good enough, for variety (the best are all at the gamut's corners); else the best."""
    good = np.flatnonzero(score >= threshold)
    return int(good[0]) if len(good) else int(score.argmax())


def _to_palette(lab: Array) -> Array:
    """Distance (...) of OKLab colours (..., 3) from the nearest of the palette, as it is or darkened."""
    named = np.asarray(list(COLOURS.values()))
    palette = oklab(np.concatenate([named, named * 0.5]))
    return np.asarray(np.linalg.norm(lab[..., None, :] - palette, axis=-1).min(-1), np.float32)


# --- material to learn from --------------------------------------------------------------------------


def subject_images(i: int, n: int = 5, *, seed: int = 0, size: int = 64) -> Frames:
    """Photos of a subject in different scenes, at random places and sizes: uint8 (n, size, size, 3)."""
    return np.stack(list(_photos(render, i, n, seed, size)))


def subject_masks(i: int, n: int = 5, *, seed: int = 0, size: int = 64) -> Frames:
    """Where in `subject_images` the subject is, 255 being where it is alone: uint8 (n, size, size)."""
    return np.stack(list(_photos(cover, i, n, seed, size)))


def _photos(
    draw: Callable[[Clip, int, int], Frames], i: int, n: int, seed: int, size: int
) -> Iterator[Frames]:
    rng = _rng(_IMAGES, i, seed)
    actor = subject(i).actor
    for scene in _deck(rng, tuple(PLACES), n):
        clip = Clip((actor,), scene, seed=_seed(rng))
        left, top, whole = _framed(rng, clip, size)
        yield draw(clip, 1, whole)[0, top : top + size, left : left + size]


def _framed(rng: np.random.Generator, clip: Clip, size: int) -> tuple[int, int, int]:
    """Left, top and the side of the larger picture of a window onto it, in which the actor is whole."""
    whole = round(size * rng.uniform(1.0, 1.35))
    x0, y0, x1, y1 = boxes(clip, 1)[0, 0] * whole
    y0 -= 0.25 * (y1 - y0)  # a hat stands out of the box
    left, top = (_window(rng, a, b, whole, size) for a, b in ((x0, x1), (y0, y1)))
    return left, top, whole


def _window(rng: np.random.Generator, low: float, high: float, whole: int, size: int) -> int:
    first, last = max(0, int(np.ceil(high)) - size), min(whole - size, max(0, int(low)))
    return int(rng.integers(min(first, last), max(first, last) + 1))


def motion_truth(name: str, n: int = 4, *, seed: int = 0) -> list[Clip]:
    """A held-out motion by different ordinary actors in different scenes. Raises KeyError for any other."""
    rng = _rng(_MOTION, list(HELDOUT_MOTIONS).index(_known(name, HELDOUT_MOTIONS)), seed)
    return _ordinary(rng, n, motion=name)


def motion_clips(name: str, n: int = 4, *, seed: int = 0) -> Frames:
    """`motion_truth`, drawn: uint8 (n, 16, 64, 64, 3)."""
    return np.stack([render(clip) for clip in motion_truth(name, n, seed=seed)])


def style_truth(name: str, n: int = 5, *, seed: int = 0) -> list[Clip]:
    """Ordinary actors, standing, in a held-out style. Raises KeyError for any other."""
    rng = _rng(_STYLE, list(STYLES).index(_known(name, STYLES)), seed)
    return _ordinary(rng, n, style=name)


def style_images(name: str, n: int = 5, *, seed: int = 0) -> Frames:
    """`style_truth`, drawn: uint8 (n, 64, 64, 3)."""
    return np.stack([render(clip, 1)[0] for clip in style_truth(name, n, seed=seed)])


def _ordinary(
    rng: np.random.Generator, n: int, motion: str = "standing still", style: str | None = None
) -> list[Clip]:
    decks = [_deck(rng, options, n) for options in (tuple(NOUNS), tuple(COLOURS), TEXTURES, tuple(PLACES))]
    return [
        Clip((Actor(noun, COLOURS[colour], texture=texture),), scene, motion, style, _seed(rng))
        for noun, colour, texture, scene in zip(*decks, strict=True)
    ]


# --- prompts to be judged by -------------------------------------------------------------------------


def subject_prompts(i: int, concept: str = "V1", n: int = 8, *, seed: int = 0) -> list[Prompt]:
    """'a <V1> dog jumping on the beach', over scenes and pretrained motions."""
    rng, who = _rng(_PROMPTS, _SUBJECT, i, seed), subject(i)
    pairs = zip(_deck(rng, tuple(MOTIONS), n), _deck(rng, tuple(PLACES), n), strict=True)
    return [
        Prompt(
            sentence(f"a <{concept}> {who.noun}", motion, scene),
            Clip((who.actor,), scene, motion, seed=_seed(rng)),
        )
        for motion, scene in pairs
    ]


def motion_prompts(name: str, concept: str = "V3", n: int = 8, *, seed: int = 0) -> list[Prompt]:
    """'a red dog performing <V3> in the forest', over nouns, colours and scenes. Raises KeyError."""
    rng = _rng(_PROMPTS, _MOTION, list(HELDOUT_MOTIONS).index(_known(name, HELDOUT_MOTIONS)), seed)
    decks = [_deck(rng, options, n) for options in (tuple(NOUNS), tuple(COLOURS), tuple(PLACES))]
    return [
        Prompt(
            sentence(f"a {colour} {noun} performing <{concept}>", "", scene),
            Clip((Actor(noun, COLOURS[colour]),), scene, name, seed=_seed(rng)),
        )
        for noun, colour, scene in zip(*decks, strict=True)
    ]


def style_prompts(name: str, concept: str = "V7", n: int = 8, *, seed: int = 0) -> list[Prompt]:
    """'a red dog jumping on the beach in <V7> style', over nouns, colours, motions and scenes. Raises KeyError."""
    rng = _rng(_PROMPTS, _STYLE, list(STYLES).index(_known(name, STYLES)), seed)
    decks = [_deck(rng, tuple(options), n) for options in (NOUNS, COLOURS, MOTIONS, PLACES)]
    return [
        Prompt(
            f"{sentence(f'a {colour} {noun}', motion, scene)} in <{concept}> style",
            Clip((Actor(noun, COLOURS[colour]),), scene, motion, name, _seed(rng)),
        )
        for noun, colour, motion, scene in zip(*decks, strict=True)
    ]


def ordinary_prompts(n: int, *, seed: int = 0) -> list[Prompt]:
    """'a red striped dog jumping on the beach': one actor and everything said, each word equally often.

    A combination may occur in the corpus as well (there are 23,040 in all): held out are the draws.
    """
    rng = _rng(_PROMPTS, _IMAGES, seed)
    decks = [_deck(rng, tuple(options), n) for options in (NOUNS, COLOURS, TEXTURES, PLACES, MOTIONS)]
    return [
        Prompt(
            sentence(phrase(Words(noun, colour, texture)), motion, scene),
            Clip((Words(noun, colour, texture).actor(),), scene, motion, seed=_seed(rng)),
        )
        for noun, colour, texture, scene, motion in zip(*decks, strict=True)
    ]


# --- chance ------------------------------------------------------------------------------------------


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([_SPACE, *key])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _deck(rng: np.random.Generator, options: tuple[T, ...], n: int) -> list[T]:
    """n of the options, shuffled deck after deck: none comes twice before all have come."""
    order = [k for _ in range(-(-n // len(options))) for k in rng.permutation(len(options))]
    return [options[k] for k in order[:n]]


def _rgb(colour: np.ndarray) -> RGB:
    r, g, b = (round(float(v), 4) for v in colour)
    return r, g, b


def _known(name: str, names: Iterable[str]) -> str:
    if name not in names:
        raise KeyError(f"{name!r}: not one of {', '.join(names)}")
    return name
