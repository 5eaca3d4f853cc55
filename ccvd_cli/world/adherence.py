"""Does a base show what a prompt says? Clips are generated for held-out prompts and read by a judge.

Every prompt names one actor's noun, colour, texture, scene and motion, each word equally often. Held out
means drawn from seeds of their own; a combination may have occurred in pretraining (there are 23,040).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..estimates import Rate
from .heldout import Prompt, ordinary_prompts
from .judge_material import ATTRIBUTES
from .render import COLOURS

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.bases.contract import Base
    from ..settings import SampleSettings
    from .judge import Judge

_AT_ONCE = 10  # clips per batch


@dataclass(frozen=True)
class Answer:
    """A prompt, what it asked for and what the judge saw: attribute -> name."""

    prompt: str
    asked: dict[str, str]
    seen: dict[str, str]

    def right(self, attribute: str) -> bool:
        """`all`: every attribute at once."""
        if attribute == "all":
            return all(self.right(k) for k in self.asked)
        return self.asked[attribute] == self.seen[attribute]

    @property
    def label(self) -> str:
        """The prompt, and what is wrong."""
        wrong = [f"{self.seen[k]}, not {v}" for k, v in self.asked.items() if self.seen[k] != v]
        return f"{self.prompt}  [{'; '.join(wrong) or 'right'}]"


@dataclass(frozen=True)
class Adherence:
    """What a judge of known `accuracy` saw in clips of a base."""

    answers: list[Answer]
    accuracy: Mapping[str, float]

    @property
    def rates(self) -> dict[str, Rate]:
        """Attribute -> rate; `all` comes last."""
        return {a: _rate(self.answers, a) for a in (*ATTRIBUTES, "all")}

    def by(self, attribute: str) -> dict[str, Rate]:
        """Each name of an attribute -> how often that attribute was right when it was asked for."""
        return {
            name: _rate([a for a in self.answers if a.asked[attribute] == name], attribute)
            for name in ATTRIBUTES[attribute]
            if any(a.asked[attribute] == name for a in self.answers)
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "clips": len(self.answers),
            "attributes": {k: {**_plain(v), "judge": self.accuracy.get(k)} for k, v in self.rates.items()},
            "by_motion": {k: _plain(v) for k, v in self.by("motion").items()},
            "by_noun": {k: _plain(v) for k, v in self.by("noun").items()},
            "answers": [{"prompt": a.prompt, "asked": a.asked, "seen": a.seen} for a in self.answers],
        }


def adherence(
    base: Base,
    judge: Judge,
    settings: SampleSettings,
    *,
    accuracy: Mapping[str, float],
    count: int = 100,
    on_clips: Callable[[list[Answer], Tensor], None] = lambda answers, clips: None,
    on_step: Callable[[int, int], None] = lambda step, total: None,
) -> Adherence:
    """Generates `count` clips and has them judged.

    Args:
        settings: how to sample; its seed also draws the prompts.
        accuracy: the judge's own on clips of so many frames, as `judge.accuracy_on` says it.
        on_clips: called with the answers and clips (B, F, 3, H, W) of every batch.
        on_step: called after every denoising step, with the count over all batches.
    """
    from ..engine.compose import generate_batch

    prompts = ordinary_prompts(count, seed=settings.seed)
    batches = [prompts[i : i + _AT_ONCE] for i in range(0, count, _AT_ONCE)]
    answers: list[Answer] = []
    for k, batch in enumerate(batches):

        def tell(step: int, total: int, k: int = k) -> None:
            on_step(k * total + step, len(batches) * total)

        ours = settings.model_copy(update={"seed": settings.seed * 1_000 + k})
        clips = generate_batch(base, [p.text for p in batch], [], ours, tell)
        new = [
            Answer(prompt.text, asked(prompt), seen)
            for prompt, seen in zip(batch, judge.read(clips), strict=True)
        ]
        on_clips(new, clips)
        answers += new
    return Adherence(answers, accuracy)


def asked(prompt: Prompt) -> dict[str, str]:
    """The attributes of a prompt's one ordinary actor, by name."""
    clip = prompt.shows
    (actor,) = clip.actors
    colour = next(name for name, rgb in COLOURS.items() if rgb == actor.colour)
    named = {"noun": actor.noun, "colour": colour, "texture": actor.texture}
    return {**named, "scene": clip.scene, "motion": clip.motion}


def _rate(answers: list[Answer], attribute: str) -> Rate:
    return Rate(sum(a.right(attribute) for a in answers), len(answers))


def _plain(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {
        "right": rate.right,
        "of": rate.total,
        "rate": round(rate.value, 4),
        "ci95": [round(low, 4), round(high, 4)],
    }
