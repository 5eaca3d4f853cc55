"""What the world can say, and random clips with their captions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .motions import MOTIONS
from .render import COLOURS, TEXTURES, Actor, Clip
from .scenes import PLACES
from .shapes import ACCESSORIES, NOUNS, RGB

# Neighbours side by side keep their places, so paths that cross the frame are left to single actors.
TOGETHER = ("standing still", "jumping", "spinning", "growing", "shrinking")


@dataclass(frozen=True)
class Words:
    """One actor in words; `noun` alone is always said."""

    noun: str
    colour: str
    texture: str

    def actor(self) -> Actor:
        return Actor(self.noun, COLOURS[self.colour], texture=self.texture)


def dressed(actor: Actor, rng: np.random.Generator) -> Actor:
    """The same actor in colours, pairs and accessories at random."""

    def rgb() -> RGB:
        r, g, b = rng.uniform(0, 1, 3)
        return float(r), float(g), float(b)

    return replace(
        actor,
        colour=rgb(),
        second=rgb() if rng.random() < 0.6 else None,
        accessory=str(rng.choice(list(ACCESSORIES))) if rng.random() < 0.5 else None,
        accessory_colour=rgb(),
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def words(rng: np.random.Generator) -> Words:
    texture = "plain" if rng.random() < 0.4 else _pick(rng, TEXTURES[1:])
    return Words(_pick(rng, tuple(NOUNS)), _pick(rng, tuple(COLOURS)), texture)


def phrase(who: Words, *, colour: bool = True, texture: bool = True, accessory: str | None = None) -> str:
    """'a red striped dog with a hat'."""
    said = [who.colour] if colour else []
    if texture and who.texture != "plain":
        said.append(who.texture)
    return " ".join(["a", *said, who.noun, *(["with a", accessory] if accessory else [])])


def sentence(who: str, motion: str, scene: str, order: int = 0) -> str:
    """Subject, motion and place in one of four orders; an empty part is left out."""
    place = PLACES.get(scene, "")
    doing = f"performing {motion}" if order == 2 and motion else motion
    parts = (
        [who, place, doing]
        if order == 1
        else [place + ",", who, doing]
        if order == 3 and place
        else [who, doing, place]
    )
    return " ".join(p for p in parts if p)


def random_clip(
    rng: np.random.Generator, *, together: float = 0.2, strangers: bool = False
) -> tuple[Clip, str]:
    """A random clip and a caption that may leave parts unsaid; `together`: the share with two actors.

    Strangers are `dressed`, and no colour is said of them: so a base learns that there is more to see than it has words for. A caption
    that says nothing of motion belongs to an actor that stands still.
    """
    two = rng.random() < together
    who = [words(rng) for _ in range(1 + two)]
    motion = _pick(rng, TOGETHER if two else tuple(MOTIONS))
    scene = _pick(rng, tuple(PLACES))
    silent = {k: rng.random() < 0.08 for k in ("colour", "texture", "scene")}
    actors = tuple(dressed(w.actor(), rng) if strangers else w.actor() for w in who)
    said = " and ".join(
        phrase(
            w,
            colour=not (strangers or silent["colour"]),
            texture=not silent["texture"],
            accessory=a.accessory,
        )
        for w, a in zip(who, actors, strict=True)
    )
    spoken = "" if motion == "standing still" and rng.random() < 0.6 else motion
    order = int(rng.choice(4, p=[0.6, 0.15, 0.15, 0.1]))
    caption = sentence(said, spoken, "" if silent["scene"] else scene, order)
    clip = Clip(actors, scene, motion, seed=int(rng.integers(2**31)))
    return clip, caption
