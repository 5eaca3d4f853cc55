"""Several subjects learned together, from pictures that show two of them side by side (CustomVideo, arXiv 2401.09962).

Seen in one picture, subjects learn to occur together and to be told apart; every other step is on pictures of one alone, as always. Each
keeps tokens and adapters of its own, and its adapters act only where its own picture is. Ours: in the paper, whose subjects share the
weights that are trained, all of them are cut out and put into one picture; here it is a pair, drawn anew at each such step, however many there
are, and photos keep their backgrounds, masks or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, permutations
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..prompts import a_subject
from ..settings import Recipe
from .adapters import Bottleneck, attached
from .attention_maps import grid_of, watching
from .bases.contract import Base, Site, TokenVectors
from .concept import Learner
from .learn import found_masks, subject_lesson
from .lesson import Lesson, Stage
from .losses import Within, attention_mask_loss, diffusion_loss, noised
from .optimise import OnStep, StepReport, optimise
from .retention import Earlier
from .transfer import picked, sent

Loss = Callable[[], Tensor]
T = TypeVar("T")
PICTURES_PER_PAIR = 16  # of each order; kept as latents


@dataclass(frozen=True)
class Subject:
    """One of several: images (3, H, W) in [-1, 1], and masks (1 or 2, H, W) in [0, 1] for each, unless there are none or they are found."""

    name: str
    class_noun: str
    images: Sequence[Tensor]
    masks: Sequence[Tensor] = ()


class Beside(nn.Module):
    """Two adapters of one site, each acting on its half of the picture; h (R, N, C), N being a grid over latents of `size`."""

    def __init__(self, left: nn.Module, right: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.left, self.right, self.size = left, right, size

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        _, columns = grid_of(h.shape[1], *self.size)
        # The middle column of an odd number belongs to both.
        share = (columns / 2 - torch.arange(columns, device=h.device)).clamp(0, 1)
        share = share.repeat(h.shape[1] // columns)[:, None]
        out: Tensor = share * self.left(h) + (1 - share) * self.right(h)
        return out


@dataclass
class Pupil:
    """One subject while it is learned: what from, its tokens (L or 1, D), its adapters."""

    lesson: Lesson
    tokens: nn.Parameter
    adapters: dict[Site, Bottleneck]

    def vectors(self) -> TokenVectors:
        return TokenVectors(self.lesson.placeholder, self.tokens.expand(self.lesson.base.text_layers, -1))

    def trained(self, stage: Stage) -> dict[Site, Bottleneck]:
        return self.adapters if stage == "adapter" else {}

    def learner(self) -> Learner:
        return self.lesson.learner(self.tokens, self.adapters)


@dataclass(frozen=True)
class Pair:
    """Two pupils in one picture, the first on the left.

    latents (N, C, 1, h, w); names (2, T): where each is named in the prompt; masks (N, 2, h, w): where each is in the picture, or None;
    apart (N, h, w): where surely neither is; plain (1, L, T, D): the prompt's text without names.
    """

    pupils: tuple[Pupil, Pupil]
    prompt: str
    names: Tensor
    latents: Tensor
    masks: Tensor | None
    apart: Tensor | None
    plain: Tensor


def learn_subjects_together(
    base: Base,
    subjects: Sequence[Subject],
    *,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
) -> list[Learner]:
    """The learners of several subjects, in their order: tokens of all first, then adapters of all.

    A stage has as many steps for each subject as the recipe says, so that it takes as long as learning them one after the other. Each stays
    apart from the `earlier` ones; what keeps them apart from each other is that they are seen side by side. Masks, given or found, hold in joint
    pictures where both subjects have them; prior pictures are rehearsed with single ones.

    Raises:
        CcvdError: the loss is not a number.
        UsageError: fewer than two subjects, a size that the base cannot make, or no site that the recipe names.
    """
    if len(subjects) < 2:
        raise UsageError(f"{len(subjects) or 'no'} subject cannot be learned together", "give two or more")
    subjects = [
        replace(s, masks=s.masks or found_masks(base, s.images, s.class_noun, recipe, on_step))
        for s in subjects
    ]
    pupils = []
    for s in subjects:
        lesson = subject_lesson(
            base,
            s.images,
            name=s.name,
            class_noun=s.class_noun,
            recipe=recipe,
            on_step=on_step,
            earlier=earlier,
            masks=s.masks,
        )
        pupils.append(Pupil(lesson, lesson.fresh_tokens(), lesson.fresh("spatial")))
    generator = torch.Generator().manual_seed(recipe.seed)
    sides = permutations(zip(subjects, pupils, strict=True), 2)
    pairs = [_pair(base, left, right, generator) for left, right in sides]
    together = Together(base, recipe, pupils, pairs, generator, on_step)
    if recipe.token_steps:
        together.train("tokens", recipe.token_steps)
    together.train("adapter", recipe.adapter_steps)
    return [pupil.learner() for pupil in pupils]


def _pair(
    base: Base, left: tuple[Subject, Pupil], right: tuple[Subject, Pupil], generator: torch.Generator
) -> Pair:
    (a, first), (b, second) = left, right
    i, j = (torch.randint(len(s.images), (PICTURES_PER_PAIR,), generator=generator) for s in (a, b))
    pictures = torch.cat([_squeezed(a.images, i, "left"), _squeezed(b.images, j, "right")], -1)
    prompt = f"{a_subject(a.name, a.class_noun)} and {a_subject(b.name, b.class_noun)}"
    latents = base.encode_video(pictures[:, None])
    names = torch.cat([base.places([prompt], p.lesson.placeholder).named for p in (first, second)])
    masks, apart = None, None
    if a.masks and b.masks:
        mine, other = _squeezed(a.masks, i, "left"), _squeezed(b.masks, j, "right")
        (here, near), (there, far) = ((m[:, :1], m[:, -1:]) for m in (mine, other))
        beside = [
            torch.cat([here, 0 * there], -1),
            torch.cat([0 * here, there], -1),
            torch.cat([near, far], -1),
        ]
        where = F.interpolate(torch.cat(beside, 1), size=latents.shape[-2:], mode="area").to(base.device)
        masks, apart = where[:, :2], 1 - where[:, 2]
    with torch.no_grad():
        plain = base.encode_text([" and ".join(f"a {s.class_noun}" for s in (a, b) if s.class_noun)])
    return Pair((first, second), prompt, names, latents, masks, apart, plain)


def _squeezed(pictures: Sequence[Tensor], rows: Tensor, side: str) -> Tensor:
    """The pictures `rows` (N,), each as wide as its half of a picture: (N, C, H, W / 2)."""
    stack = torch.stack(list(pictures))[rows]
    height, width = stack.shape[-2:]
    half = width // 2 if side == "left" else width - width // 2
    return F.interpolate(stack, size=(height, half), mode="bilinear", antialias=True)


@dataclass
class Together:
    """The stages of learning several subjects. Pupils are changed in place."""

    base: Base
    recipe: Recipe
    pupils: Sequence[Pupil]
    pairs: Sequence[Pair]
    generator: torch.Generator
    on_step: OnStep

    def train(self, stage: Stage, steps_each: int) -> None:
        """One stage: a pair and a single subject in turn; pairs in random order, subjects one after the other."""
        steps = steps_each * len(self.pupils)
        joint = [self._side_by_side(pair, stage) for pair in self.pairs]
        turns = cycle([loss for pupil in self.pupils for loss in (None, self._alone(pupil, stage))])

        def next_loss() -> Tensor:
            alone = next(turns)
            return alone() if alone else joint[int(self._draw(len(joint), ()))]()

        def on_loss(step: int, loss: float) -> None:
            for pupil in self.pupils:
                pupil.lesson.curve.append(loss)
            self.on_step(StepReport(stage, step, steps, loss, lambda: [p.learner() for p in self.pupils]))

        groups = [g for p in self.pupils for g in p.lesson.groups(stage, p.tokens, p.trained(stage))]
        optimise(stage, groups, steps, next_loss, self.base.dtype, on_loss)

    def _alone(self, pupil: Pupil, stage: Stage) -> Loss:
        lesson, adapters = pupil.lesson, pupil.trained(stage)
        read = _read(stage, lambda: lesson.read(lesson.prompts[0], pupil.tokens))
        return lambda: lesson.loss(read(), adapters, stage) + lesson.overlap(adapters)

    def _side_by_side(self, pair: Pair, stage: Stage) -> Loss:
        base, recipe, (first, second) = self.base, self.recipe, pair.pupils
        size = pair.latents.shape[-2], pair.latents.shape[-1]
        right = second.trained(stage)
        beside = {site: Beside(left, right[site], size) for site, left in first.trained(stage).items()}
        read = _read(stage, lambda: base.encode_text([pair.prompt], [p.vectors() for p in pair.pupils]))

        def loss() -> Tensor:
            rows = self._draw(len(pair.latents), (recipe.batch_size,))
            dropped = torch.rand(recipe.batch_size, generator=self.generator) < recipe.text_dropout
            moments, named = self._draw(recipe.frames, (recipe.batch_size, 1)), ~sent(dropped, base.device)
            text = torch.where(named[:, None, None, None], read(), first.lesson.empty)
            masks = None if pair.masks is None else picked(pair.masks, rows)
            watched = watching(base.denoiser, first.lesson.watched if pair.masks is not None else ())
            shift = recipe.token_shift if stage == "tokens" else recipe.timestep_shift
            sample = noised(
                base,
                picked(pair.latents, rows),
                self.generator,
                shift=shift,
                offset_noise=recipe.offset_noise,
            )
            with base.still():
                within = None
                if masks is not None and pair.apart is not None:
                    apart = picked(pair.apart, rows)
                    plain = torch.where(named[:, None, None, None], pair.plain, first.lesson.empty)
                    within = Within.by(recipe, base, masks.sum(1), apart, sample, plain, moments)
                with attached(base.denoiser, beside), watched as maps:
                    timed = base.tell(text, moments)
                    error = diffusion_loss(base, sample, timed, self.generator, within=within)
            if masks is not None and maps:
                for names, mask in zip(pair.names, masks.unbind(1), strict=True):
                    gaze = attention_mask_loss(maps.values(), names, mask, named)
                    error = error + recipe.attention_mask_weight * gaze
            return error + sum(p.lesson.overlap(p.trained(stage)) for p in pair.pupils)

        return loss

    def _draw(self, below: int, shape: tuple[int, ...]) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)


def _read(stage: Stage, read: Callable[[], T]) -> Callable[[], T]:
    """`read`, which in the second stage is done once: the tokens stand still."""
    if stage == "tokens":
        return read
    with torch.no_grad():
        reading = read()
    return lambda: reading
