"""What the embedded procedural world knows exactly: what a clip shows, said by judges that learned from rendered truth.

A judge is asked about an attribute only if it is right about it on rendered clips that it did not learn from, in 97 of 100 (`TRUSTED`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..regions import Box
from ..world import heldout
from ..world.judge import Autoencoder, Judge, OnStep, attribute_judge, identity_judge
from ..world.judge_material import ATTRIBUTES, OTHER, WHOLE
from ..world.motions import HELDOUT_MOTIONS, MOTIONS
from ..world.render import COLOURS, TEXTURES
from ..world.scenes import PLACES
from ..world.shapes import NOUNS
from ..world.styles import STYLES
from . import trajectory

if TYPE_CHECKING:
    from ..engine.bases.contract import Base

TRUSTED = 0.97
METRICS = {  # what the judge of attributes calls it -> what the score is called
    **{attribute: attribute for attribute in ATTRIBUTES},
    "motion": "motion_class",
    "style": "style",
}
PATH = "path"  # 1 less the error of the trajectory; no judge's, but a measurement
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
    boxes: tuple[tuple[str, Box], ...] = ()

    @property
    def goes(self) -> str | None:
        """The motion whose path a single actor should take."""
        return self.motion if self.noun is not None and not self.boxes else None


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
        # Of the metrics that were asked for, apart of them in styles; and how right the measurement of paths is, by motion.
        self._accuracy: dict[str, float] = {}
        self._paths: dict[str, float] = {}

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

    def share(self, attribute: str, *, styled: bool = False) -> float:
        """How often its judge is right about an attribute, or `identity`, on rendered truth; if `styled`, on that in styles."""
        judge = self.identity if attribute == "identity" else self.attributes
        return judge.accuracy.get(
            f"{attribute}, styled" if styled and attribute != "style" else attribute, 0.0
        )

    def share_of_path(self, motion: str) -> float:
        """1 less the error of rendered truth, in sides of the frame."""
        if motion not in self._paths:
            share = self._paths[motion] = 1 - trajectory.own_error(motion, self.autoencoder.through)
            if share < TRUSTED:
                self.say(
                    f"Not scored: path of {motion}. On rendered clips its measurement is {share:.1%} right, of {TRUSTED:.0%} that are asked."
                )
        return self._paths[motion]

    def accuracy(self, metrics: Iterable[str] = ()) -> dict[str, float]:
        """The share of every metric that was scored so far, and of these `metrics`; what was scored in styles stands apart ("scene, styled").

        Of paths it is the least of all motions that were scored.
        """
        attributes = {metric: attribute for attribute, metric in METRICS.items()} | dict.fromkeys(
            WHO, "identity"
        )
        for metric in metrics:
            if attribute := attributes.get(metric):
                self._trusted("identity" if metric in WHO else metric, attribute, False)
        paths = [share for share in self._paths.values() if share >= TRUSTED]
        shares = self._accuracy | ({PATH: min(paths)} if paths else {})
        return {name: share for name, share in shares.items() if share >= TRUSTED}

    def scores(self, clip: Tensor, shown: Shown, *, styled: bool | None = None) -> dict[str, float]:
        """1 right, 0 wrong, of a clip (F, 3, H, W) in [0, 1], for everything that `shown` says and a trusted judge knows.

        noun, colour, texture, scene, motion_class, style; path, of a single actor in no style, 1 less the error of its trajectory;
        identity, where "somebody else" is among the answers; nearest, the likeliest of the
        subjects; in_box and in_box_nearest, the share of boxes of which these are right. `styled`: it is in a style, if only one without a name.

        Raises:
            ValueError: a subject that the judge does not know.
        """
        found, styled = {}, shown.style is not None if styled is None else styled
        said = {k: v for k in METRICS if (v := getattr(shown, k)) is not None}
        asked = {k: v for k, v in said.items() if self._trusted(METRICS[k], k, styled)}
        if asked:
            (seen,) = self.attributes.read(clip[None])
            found = {METRICS[k]: float(seen[k] == v) for k, v in asked.items()}
        if shown.goes and not styled and self.share_of_path(shown.goes) >= TRUSTED:
            found[PATH] = 1 - trajectory.path_error(clip, shown.goes)
        if shown.subject is not None and self._knows([shown.subject], styled):
            ((strict, near),) = self.who(clip, [WHOLE])
            found |= {"identity": float(strict == shown.subject), "nearest": float(near == shown.subject)}
        names = [name for name, _ in shown.boxes]
        if names and self._knows(names, styled):
            seen_in = self.who(clip, [box for _, box in shown.boxes])
            for metric, answers in zip(WHO[2:], zip(*seen_in, strict=True), strict=True):
                right = [answer == name for answer, name in zip(answers, names, strict=True)]
                found[metric] = sum(right) / len(right)
        return found

    def who(self, clip: Tensor, boxes: Sequence[Box]) -> list[tuple[str, str]]:
        """Who is seen in each box of a clip (F, 3, H, W): the judge's answer, and the nearest of the subjects."""
        names = self.identity.classes["identity"]
        windows = torch.tensor(boxes, dtype=torch.float32)
        clips = clip.expand(len(boxes), *clip.shape)
        chances = self.identity.log_probabilities(clips, windows=windows)["identity"]
        own = [k for k, name in enumerate(names) if name != OTHER]
        return [(names[int(c.argmax())], names[own[int(c[own].argmax())]]) for c in chances]

    def _knows(self, names: Sequence[str], styled: bool) -> bool:
        known = [heldout.subject(i).name for i in self.subjects]
        if strangers := [name for name in names if name not in known]:
            raise ValueError(f"{strangers[0]!r} is none of the subjects {', '.join(known)}")
        return self._trusted("identity", "identity", styled)

    def _trusted(self, metric: str, attribute: str, styled: bool) -> bool:
        name = f"{metric}, styled" if styled and metric != "style" else metric
        if name not in self._accuracy:
            share = self._accuracy[name] = self.share(attribute, styled=styled)
            if share < TRUSTED:
                self.say(
                    f"Not scored: {name}. Its judge is right in {share:.1%} of rendered clips, of {TRUSTED:.0%} that are asked."
                )
        return self._accuracy[name] >= TRUSTED


def shown_by(asked: heldout.Prompt | str) -> Shown:
    """What a clip should show: by the words of a sentence of the world; and of a held-out prompt by what it stands for, whatever it is called.

    Concepts count by their own names: <dog-10>, <zigzagging>, <sepia>. Colours and textures have no name in a style; the look of a held-out
    subject has none either. Of several actors no attribute is read but scene, motion and style.
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
        motion=clip.motion if words.motion or clip.motion in HELDOUT_MOTIONS else None,
    )
    return _nameless(shown)


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
        motion=_one(motions),
        style=_one(styles),
        subject=subjects[0] if alone and subjects else None,
    )
    return _nameless(shown)


def _nameless(shown: Shown) -> Shown:
    unnamed = shown.style is not None or shown.subject is not None
    return replace(shown, colour=None, texture=None) if unnamed else shown


def is_subject(name: str) -> bool:
    """Whether a held-out subject is called so."""
    index = name.rpartition("-")[2]
    return index.isdecimal() and len(index) < 10 and heldout.subject(int(index)).name == name


def _said(options: Iterable[str], text: str) -> list[str]:
    return [word for word in options if re.search(rf"\b{re.escape(word)}\b", text)]


def _one(found: Sequence[str]) -> str | None:
    return found[0] if len(found) == 1 else None


__all__ = ["TRUSTED", "Exact", "Shown", "is_subject", "shown_by"]
