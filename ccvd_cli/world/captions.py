"""What the world can say, and random clips with their captions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .colour import called
from .looks import own
from .motions import MOTIONS
from .render import COLOURS, TEXTURES, Actor, Clip, Spot
from .scenes import PLACES
from .shapes import ACCESSORIES, NOUNS, RGB

# Neighbours side by side keep their places, so paths that cross the frame are left to single actors.
TOGETHER = ("standing still", "jumping", "spinning", "growing", "shrinking")


@dataclass(frozen=True)
class Mix:
    """What random clips are made of: the share with several actors, and whether these are strangers."""

    together: float = 0.3
    strangers: bool = False


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


ORDINARY = Mix()


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def words(rng: np.random.Generator) -> Words:
    texture = "plain" if rng.random() < 0.4 else _pick(rng, TEXTURES[1:])
    return Words(_pick(rng, tuple(NOUNS)), _pick(rng, tuple(COLOURS)), texture)


def phrase(who: Words, *, colour: bool = True, texture: bool = True) -> str:
    """'a red striped dog'."""
    said = [who.colour] if colour else []
    if texture and who.texture != "plain":
        said.append(who.texture)
    return " ".join(["a", *said, who.noun])


def described(actor: Actor, *, colours: bool = True) -> str:
    """'a teal pink striped dog with a grey hat': any actor in words, its colours by their nearest names."""
    said, worn = [], []
    if colours:
        said.append(called(actor.colour))
        if actor.second and actor.texture != "plain" and called(actor.second) != said[0]:
            said.append(called(actor.second))
        worn = [called(actor.accessory_colour)]
    if actor.texture != "plain":
        said.append(actor.texture)
    wearing = ["with a", *worn, actor.accessory] if actor.accessory else []
    return " ".join(["a", *said, actor.noun, *wearing])


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


def spots(rng: np.random.Generator, count: int, motion: str) -> tuple[Spot, ...] | None:
    """Places at random, neighbours side by side; half of those whose paths cross the frame go their usual way (None)."""
    if rng.random() < (0.15 if motion in TOGETHER else 0.5):
        return None if count < 3 else row(rng, count)
    if count > 1:
        return row(rng, count)
    size = float(rng.uniform(0.17, 0.26))
    if motion in TOGETHER:
        return (Spot(rng.uniform(size + 0.02, 0.98 - size), rng.uniform(0.38, 0.70), size),)
    return (Spot(rng.uniform(0.40, 0.60), rng.uniform(0.48, 0.64), size),)


def where(spot: Spot) -> str:
    """'on the left'; of the middle nothing is said."""
    return "on the left" if spot.x < 0.40 else "on the right" if spot.x > 0.60 else ""


def tells_place(clip: Clip, caption: str) -> bool:
    """Whether nothing is left open of where a single actor is at rest: in the middle, or on the side that the caption says."""
    if len(clip.actors) > 1 or not clip.spots:
        return True
    (spot,) = clip.spots
    return abs(spot.y - 0.56) < 0.09 and where(spot) in caption


def row(rng: np.random.Generator, count: int) -> tuple[Spot, ...]:
    """Two or three side by side, of different sizes and with gaps at random."""
    sizes = rng.uniform(0.165, 0.225, count) if count == 2 else rng.uniform(0.14, 0.17, count)
    free = max(0.0, 1 - 1.9 * sizes.sum())
    gaps = rng.dirichlet(np.ones(count + 1)) * free
    left, places = 0.0, []
    for gap, size in zip(gaps, sizes, strict=False):
        left += float(gap)
        places.append(Spot(left + 0.95 * float(size), float(rng.uniform(0.42, 0.66)), float(size)))
        left += 1.9 * float(size)
    return tuple(places)


def random_clip(rng: np.random.Generator, mix: Mix = ORDINARY) -> tuple[Clip, str]:
    """A random clip and a caption that may leave parts unsaid.

    Strangers are `dressed`. Often no colour is said of them, so a base learns that there is more to see than it has words for; else every
    colour by its nearest name, so that each can be told apart; and in half of the captions each is only said to be its `own`. A caption that
    says nothing of motion belongs to an actor that stands still.
    """
    strangers = mix.strangers
    count = 1 if rng.random() >= mix.together else int(rng.choice((2, 2, 2, 3)))
    who = [words(rng) for _ in range(count)]
    motion = _pick(rng, TOGETHER if count > 1 else tuple(MOTIONS))
    scene = _pick(rng, tuple(PLACES))
    silent = {k: rng.random() < 0.08 for k in ("colour", "texture", "scene")}
    actors = tuple(dressed(w.actor(), rng) if strangers else w.actor() for w in who)
    # Three and all that they wear would be longer than a text may be; so would two in all their colours.
    if strangers and (rng.random() < 0.6 or count > 2):
        said = " and ".join(own(a) for a in actors)
    elif strangers:
        colours = count == 1 and rng.random() < 0.75
        said = " and ".join(described(a, colours=colours) for a in actors)
    else:
        said = " and ".join(
            phrase(w, colour=not silent["colour"], texture=not silent["texture"]) for w in who
        )
    places = None if count == 1 and rng.random() < 0.5 else spots(rng, count, motion)
    if count == 1 and motion in TOGETHER and places and rng.random() < 0.25:
        said = f"{said} {where(places[0])}".rstrip()
    spoken = "" if motion == "standing still" and rng.random() < 0.6 else motion
    order = int(rng.choice(4, p=[0.6, 0.15, 0.15, 0.1]))
    caption = sentence(said, spoken, "" if silent["scene"] else scene, order)
    clip = Clip(actors, scene, motion, seed=int(rng.integers(2**31)), spots=places)
    return clip, caption
