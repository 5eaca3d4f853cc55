"""What an actor looks like, where words end: "a my dog" is one that looks like itself.

While the base is trained, the word OWN is read as a vector that says colours, texture and accessory exactly. A concept's token, which takes
that word's place, is then looked for among vectors that the base knows how to read.
"""

from __future__ import annotations

import numpy as np

from .colour import oklab
from .render import DARKER, TEXTURES, Actor, Clip
from .shapes import ACCESSORIES, Array

OWN = "my"
LOOK = 18 + len(TEXTURES) + len(ACCESSORIES)
_MOST = 3  # actors of a clip


def own(actor: Actor) -> str:
    """'a my dog'."""
    return f"a {OWN} {actor.noun}"


def look(actor: Actor) -> Array:
    """(LOOK,): its two colours and its accessory's, in RGB and OKLab, its texture and its accessory."""
    second = actor.second or tuple(DARKER * c for c in actor.colour)
    worn = actor.accessory_colour if actor.accessory else (0.5,) * 3
    colours = np.asarray([actor.colour, second, worn])
    kinds = [actor.texture == t for t in TEXTURES] + [actor.accessory == a for a in ACCESSORIES]
    return np.concatenate([2 * colours.ravel() - 1, oklab(colours).ravel(), kinds]).astype(np.float32)


def looks(clips: list[Clip]) -> Array:
    """What the actors of clips look like, (N, 3, LOOK); zeros behind the last."""
    seen = np.zeros((len(clips), _MOST, LOOK), np.float32)
    for row, clip in zip(seen, clips, strict=True):
        for k, actor in enumerate(clip.actors):
            row[k] = look(actor)
    return seen
