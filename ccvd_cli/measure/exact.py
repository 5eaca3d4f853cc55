"""What the embedded procedural world knows exactly: what a clip shows, said by judges that learned from rendered truth.

A judge is asked about an attribute only if it is right about it on rendered clips that it did not learn from, in 97 of 100 (`TRUSTED`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..regions import Box
from ..world import heldout
from ..world.judge import Judge
from ..world.judge_making import Autoencoder, OnStep, accuracy_on, attribute_judge, identity_judge
from ..world.judge_material import ATTRIBUTES, OTHER, WHOLE, Draw, one_of, ordinary
from ..world.motions import HELDOUT_MOTIONS, MOTIONS
from ..world.render import COLOURS, FRAMES, TEXTURES
from ..world.scenes import PLACES
from ..world.shapes import NOUNS
from ..world.styles import STYLES
from . import trajectory

if TYPE_CHECKING:
    from ..engine.bases.contract import Base

TRUSTED = 0.97
Boxes = tuple[tuple[str, Box], ...]  # each with whom is looked for in it
METRICS = {  # what the judge of attributes calls it -> what the score is called
    **{attribute: attribute for attribute in ATTRIBUTES},
    "motion": "motion_class",
    "style": "style",
}
PATH = "path"  # measured, not judged
WHO = ("identity", "nearest", "in_box", "in_box_nearest")  # all of them rest on the judge of identity
_NAME = re.compile(r"<([^<>]+)>")


@dataclass(frozen=True)
class Shown:
    """What a clip should show; None: not said.

    subject: a held-out subject's name ("dog-10"), looked for in the whole frame; boxes: held-out subjects, each with its box.
    """

    noun: str | None = None
    colour: str | None = None
    texture: str | None = None
    scene: str | None = None
    motion: str | None = None
    style: str | None = None
    subject: str | None = None
    boxes: Boxes = ()

    @property
    def goes(self) -> str | None:
        """The motion whose path a single actor should take, if it leads anywhere."""
        if self.motion is None or not (self.noun or self.subject) or self.boxes:
            return None
        return self.motion if trajectory.travels(self.motion) else None


class Exact:
    """Holds clips against what they should show.

    subjects: indices of the held-out ones that the judge of identity knows. Judges are trained when they are first asked, and kept in `folder`.
    """

    def __init__(
        self,
        base: Base,
        subjects: Sequence[int],
        folder: Path,
        on_step: OnStep = lambda *_: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.base, self.subjects, self.folder = base, tuple(subjects), folder
        self.on_step, self.say = on_step, say
        self._paths: dict[tuple[str, int], float] = {}  # how right the measurement is, by motion and frames
        self._shares: dict[tuple[str, int], Mapping[str, float]] = {}  # of right answers, by kind and frames
        self._unasked: set[str] = set()  # of which it was said

    @cached_property
    def autoencoder(self) -> Autoencoder:
        return Autoencoder.of(self.base)

    @cached_property
    def attributes(self) -> Judge:
        return attribute_judge(self.autoencoder, self.folder, on_step=self.on_step)

    @cached_property
    def identity(self) -> Judge:
        return identity_judge(self.subjects, self.autoencoder, self.folder, on_step=self.on_step)

    def digests(self, *, identity: bool = True) -> dict[str, str]:
        """Of the judges, by name: what others say cannot be compared."""
        asked = {"judge of attributes": self.attributes}
        if identity:
            asked["judge of identities"] = self.identity
        return {name: judge.digest for name, judge in asked.items()} | {"trajectories": trajectory.VERSION}

    def accuracies(self, shown: Shown, styled: bool = False, *, frames: int = FRAMES) -> dict[str, float]:
        """Of every metric that `shown` has an answer to, its judge's share of right answers on rendered truth; in styles, if it is in one.

        Truth is of so many frames: half a motion is harder to tell than all of it. Of a path it is 1 less its error on rendered clips.
        """
        styled = styled or shown.style is not None

        def share(judge: Literal["attributes", "identity"], attribute: str) -> float:
            name = f"{attribute}, styled" if styled and attribute != "style" else attribute
            return self._accuracy(judge, frames).get(name, 0.0)

        found = {m: share("attributes", k) for k, m in METRICS.items() if getattr(shown, k) is not None}
        if shown.goes and not styled:
            found[PATH] = self._share_of_path(shown.goes, frames)
        asked = WHO[:2] * (shown.subject is not None) + WHO[2:] * bool(shown.boxes)
        return found | {metric: share("identity", "identity") for metric in asked}

    def _accuracy(self, kind: Literal["attributes", "identity"], frames: int) -> Mapping[str, float]:
        judge: Judge = getattr(self, kind)
        if (kind, frames) not in self._shares:
            draw: Draw = ordinary if kind == "attributes" else partial(one_of, self.subjects)
            self._shares[kind, frames] = accuracy_on(judge, draw, self.autoencoder, frames)
        return self._shares[kind, frames]

    def _share_of_path(self, motion: str, frames: int) -> float:
        if (motion, frames) not in self._paths:
            error = trajectory.own_error(motion, frames, self.autoencoder.through)
            self._paths[motion, frames] = 1 - error
        return self._paths[motion, frames]

    def scores(self, clip: Tensor, shown: Shown, styled: bool = False) -> dict[str, float]:
        """Of a clip (F, 3, H, W) in [0, 1], for everything that `shown` says and that can be known well enough.

        1 right, 0 wrong: noun, colour, texture, scene, motion_class, style; identity, where "somebody else" is among the answers; nearest, the
        likeliest of the subjects. in_box and in_box_nearest are the share of boxes of which these are right; path, of a single actor in no
        style, is 1 less the error of its trajectory. `styled`: it is in a style that has no name.

        Raises:
            ValueError: a subject that the judge does not know.
        """
        names = [name for name, _ in shown.boxes] + ([shown.subject] if shown.subject else [])
        self._check_known(names)
        shares = self.accuracies(shown, styled, frames=len(clip))
        self._tell(shares, shown, styled or shown.style is not None)
        good = {metric for metric, share in shares.items() if share >= TRUSTED}
        found: dict[str, float] = {}
        if read := {k: m for k, m in METRICS.items() if m in good}:
            (seen,) = self.attributes.read(clip[None])
            found = {m: float(seen[k] == getattr(shown, k)) for k, m in read.items()}
        if PATH in good and shown.goes:
            found[PATH] = 1 - trajectory.path_error(clip, shown.goes)
        if "identity" in good:
            ((strict, near),) = self.who(clip, [WHOLE])
            found |= {"identity": float(strict == shown.subject), "nearest": float(near == shown.subject)}
        if "in_box" in good:
            seen_in = self.who(clip, [box for _, box in shown.boxes])
            for metric, answers in zip(WHO[2:], zip(*seen_in, strict=True), strict=True):
                right = [answer == name for answer, (name, _) in zip(answers, shown.boxes, strict=True)]
                found[metric] = sum(right) / len(right)
        return found

    def _tell(self, shares: Mapping[str, float], shown: Shown, styled: bool) -> None:
        """Once: what is not scored."""
        for metric, share in shares.items():
            name = f"{metric} of {shown.goes}" if metric == PATH else metric + " in styles" * styled
            if share < TRUSTED and name not in self._unasked:
                self._unasked.add(name)
                self.say(
                    f"Not scored: {name}. Of rendered clips {share:.1%} are judged right, {TRUSTED:.0%} must be."
                )

    def who(self, clip: Tensor, boxes: Sequence[Box]) -> list[tuple[str, str]]:
        """Who is seen in each box of a clip (F, 3, H, W): the judge's answer, and the nearest of the subjects."""
        names = self.identity.classes["identity"]
        windows = torch.tensor(boxes, dtype=torch.float32)
        clips = clip.expand(len(boxes), *clip.shape)
        chances = self.identity.log_probabilities(clips, windows=windows)["identity"]
        own = [k for k, name in enumerate(names) if name != OTHER]
        return [(names[int(c.argmax())], names[own[int(c[own].argmax())]]) for c in chances]

    def _check_known(self, names: Sequence[str]) -> None:
        known = [heldout.subject(i).name for i in self.subjects]
        if strangers := [name for name in names if name not in known]:
            raise ValueError(f"{strangers[0]!r} is none of the subjects {', '.join(known)}")


def least(shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """By metric, the lowest share of those that are trusted, who were therefore asked; if none is, the lowest of all."""
    found: dict[str, list[float]] = {}
    for of in shares:
        for metric, share in of.items():
            found.setdefault(metric, []).append(share)
    return {metric: min([x for x in of if x >= TRUSTED] or of) for metric, of in found.items()}


def shown_by(asked: heldout.Prompt | str) -> Shown:
    """What a clip should show: by the words of a sentence of the world; and of a held-out prompt by what it stands for, whatever it is called.

    Concepts count by their own names: <dog-10>, <zigzagging>, <sepia>. Colours and textures have no name in a style; the look of a held-out
    subject has none either, and of its noun the judge of attributes is right too seldom (of a turtle with a crown, say): that of identities is
    asked who it is. Of several actors no attribute is read but scene and style: judges know how single actors move, and miss
    pairs that spin.
    """
    if isinstance(asked, str):
        return _by_words(asked)
    words, clip = _by_words(asked.text), asked.shows
    (actor,) = clip.actors if len(clip.actors) == 1 else (None,)
    shown = replace(
        words,
        noun=actor.noun if actor else None,
        scene=clip.scene if words.scene else None,
        style=clip.style,
        motion=clip.motion if actor and (words.motion or clip.motion in HELDOUT_MOTIONS) else None,
    )
    return nameless(shown)


def _by_words(text: str) -> Shown:
    names = _NAME.findall(text)
    plain = _NAME.sub(" ", text).lower()
    subjects = [name for name in names if is_subject(name)]
    nouns = _said(NOUNS, plain)
    alone = len(nouns) == 1 and len(subjects) <= 1
    motions = [n for n in names if n in HELDOUT_MOTIONS] or _said({**MOTIONS, **HELDOUT_MOTIONS}, plain)
    styles = [n for n in names if n in STYLES]
    places = [scene for scene, words in PLACES.items() if _said([words], plain)]
    shown = Shown(
        noun=nouns[0] if alone else None,
        colour=_one(_said(COLOURS, plain)) if alone else None,
        texture=_one(_said(TEXTURES[1:], plain)) if alone else None,
        scene=_one(places),
        motion=None if len(nouns) > 1 or len(subjects) > 1 else _one(motions),
        style=_one(styles),
        subject=subjects[0] if alone and subjects else None,
    )
    return nameless(shown)


def nameless(shown: Shown, styled: bool = False) -> Shown:
    """Without what has no name, in a style or of a held-out subject; `styled`: in a style that has no name either."""
    if shown.subject is not None:
        return replace(shown, noun=None, colour=None, texture=None)
    return replace(shown, colour=None, texture=None) if styled or shown.style is not None else shown


def is_subject(name: str) -> bool:
    """Whether a held-out subject is called so."""
    with suppress(ValueError):
        heldout.index_of(name)
        return True
    return False


def _said(options: Iterable[str], text: str) -> list[str]:
    return [word for word in options if re.search(rf"\b{re.escape(word)}\b", text)]


def _one(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None


__all__ = ["TRUSTED", "Boxes", "Exact", "Shown", "is_subject", "least", "nameless", "shown_by"]
