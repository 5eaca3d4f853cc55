"""How a clip is drawn, where words end: "a dog on the beach in its style" is drawn as a vector says.

No style has a name in pretraining, and most clips are in none. Styles at random teach the base to draw things as a word's vector says; a
concept's token, which takes that word's place, is then looked for among vectors that the base knows how to read.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .render import COLOURS, Actor, Clip, render
from .scenes import SCENES
from .shapes import NOUNS, Array
from .styles import LEVELS, STYLES, Manner, drawn, filtered, is_manner, manner

ITS = "its"
IN_STYLE = f"in {ITS} style"
STYLE = 16 + len(LEVELS)
_APART = 0.12  # root mean square over pixels: nearer than that, a style at random is a held-out one, or none


def numbers(style: Manner) -> Array:
    """(STYLE,): what a manner is, in numbers of about 1; what does not show is 0."""
    tones = 2 * np.asarray([*style.ink, *style.paper]) - 1
    colour = [style.colour * (style.turned == k) for k in range(3)]
    line = [style.lines, *(style.lines * (2 * np.asarray(style.line) - 1)), style.lines * style.glow]
    levels = [style.levels == n for n in LEVELS]
    return np.asarray([*tones, *colour, *line, *levels, 2 * style.corners, 1.0], np.float32)


@lru_cache(maxsize=1)
def _probes() -> tuple[Array, Array]:
    """A picture of every place, (P, H, W, 3), and all of them in every held-out style and in none, `_thinned` to (S, P, h, w, 3)."""
    things = zip(SCENES, NOUNS, COLOURS.values(), strict=False)
    clips = [Clip((Actor(noun, colour),), scene) for scene, noun, colour in things]
    plain = np.concatenate([render(clip, 1) for clip in clips]).astype(np.float32) / 255
    return plain, np.stack(
        [_thinned(style) for style in (plain, *(filtered(plain, name) for name in STYLES))]
    )


def _thinned(pictures: Array) -> Array:
    """Every third pixel either way: enough to tell styles apart."""
    return pictures[:, ::3, ::3].clip(0, 1)


def is_heldout_style(style: str) -> bool:
    """Whether a style nearly draws as a held-out one does, or as none."""
    plain, heldout = _probes()
    apart = np.square(_thinned(filtered(plain, style)) - heldout).mean((1, 2, 3, 4))
    return bool(np.sqrt(apart.min()) < _APART)


def random_manner(rng: np.random.Generator) -> str:
    """The name of a style at random that is no held-out one's double."""
    while True:
        style = manner(int(rng.integers(2**31)))
        if not is_heldout_style(style):
            return style


def manners(clips: list[Clip]) -> Array:
    """What the styles of clips are, (N, 1, STYLE); zeros where there is none."""
    told = np.zeros((len(clips), 1, STYLE), np.float32)
    for row, clip in zip(told, clips, strict=True):
        if clip.style and is_manner(clip.style):
            row[0] = numbers(drawn(clip.style))
    return told
