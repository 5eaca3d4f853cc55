"""Learning one concept, from pictures or clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from ..choices import Kind
from ..prompts import a_subject
from ..settings import Recipe
from .adapters import Bottleneck
from .bases.contract import Base, Site
from .concept import Learner
from .contrast import seen_by
from .lesson import WITHOUT_A_NOUN, Extra, Lesson
from .lesson_prompts import motion_prompts, style_prompts
from .optimise import OnStep, StepReport
from .path_finding import found_path
from .prior import imagine
from .retention import Earlier


def subject_lesson(
    base: Base,
    images: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
    kind: Kind = "subject",
    masks: Sequence[Tensor] = (),
) -> Lesson:
    """All that a subject is learned from; arguments and errors as those of `learn_subject`."""
    pictures = torch.stack(list(images))
    base.latent_shape(1, *pictures.shape[2:])
    embeds = base.embed_images(pictures)
    lesson = Lesson(
        base,
        recipe,
        name,
        kind,
        class_noun,
        style_prompts(name) if kind == "style" else (a_subject(name, class_noun),),
        latents=base.encode_video(pictures[:, None]),
        embeds=embeds[:, None],
        guides=embeds,
        on_step=on_step,
        earlier=earlier,
    )
    if kind == "subject":
        masks = masks or found_masks(base, images, class_noun, recipe, on_step)
    if masks:
        lesson.look_within(masks)
    if recipe.prior_share:
        shown = class_noun or ("picture" if kind == "style" else WITHOUT_A_NOUN["subject"])
        with base.still():
            lesson.prior = imagine(
                base, f"a {shown}", lesson.latents.shape[1:], recipe.seed, _preparing("prior", on_step)
            )
    return lesson


def found_masks(
    base: Base, images: Sequence[Tensor], class_noun: str, recipe: Recipe, on_step: OnStep
) -> Sequence[Tensor]:
    """Where the base sees a subject in its pictures, as `seen_by` has it; none if the recipe does not ask for that."""
    if not recipe.find_masks:
        return ()
    noun = class_noun or WITHOUT_A_NOUN["subject"]
    asked = _preparing("masks", on_step)
    return seen_by(base, images, noun, recipe.seed, asked, outline=recipe.outline_masks)


def _preparing(stage: str, on_step: OnStep) -> Callable[[int, int], None]:
    return lambda step, total: on_step(StepReport(stage, step, total))


def learn_subject(
    base: Base,
    images: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
    kind: Kind = "subject",
    masks: Sequence[Tensor] = (),
    onto: Mapping[str, Bottleneck] | None = None,
    extra: Extra | None = None,
) -> Learner:
    """Tokens, then the identity adapter, from pictures (3, H, W) in [-1, 1]; apart from the `earlier` concepts of its kind, if given.

    A style is learned as a subject is, but prompts name it as a style, and its tokens start from the word unless a noun is given. With
    `masks`, one (1 or 2, H, W) in [0, 1] per picture and none of them black, what they show is learned, and of the rest as much as the recipe
    says; without, the recipe may have the base find them.
    `onto`: adapters by site name that are trained on instead of fresh ones, as plain fine-tuning from task to task does; they act while
    tokens are learned. `extra`: what is added to the loss.

    Raises:
        CcvdError: the loss is not a number.
        UsageError: a size that the base cannot make, or no site that the recipe names.
    """
    lesson = subject_lesson(
        base,
        images,
        name=name,
        class_noun=class_noun,
        recipe=recipe,
        on_step=on_step,
        earlier=earlier,
        kind=kind,
        masks=masks,
    )
    lesson.extra = extra
    adapters = _onto(lesson.fresh("spatial"), onto)
    lesson.resting = _resting(adapters, onto)
    return lesson.learn(adapters)


def motion_lesson(
    base: Base,
    clips: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
) -> Lesson:
    """All that a motion is learned from; arguments and errors as those of `learn_motion`."""
    stack = torch.stack(list(clips))
    base.latent_shape(stack.shape[1], stack.shape[3], stack.shape[4])
    embeds = base.embed_images(stack.flatten(0, 1)).unflatten(0, stack.shape[:2])
    path = None
    if recipe.find_path:
        path = found_path(base, stack, WITHOUT_A_NOUN["subject"], recipe.seed, _preparing("path", on_step))
    return Lesson(
        base,
        recipe,
        name,
        "motion",
        class_noun,
        motion_prompts(name),
        latents=base.encode_video(stack),
        embeds=embeds,
        guides=embeds[:, 0],
        on_step=on_step,
        earlier=earlier,
        path=path,
    )


def learn_motion(
    base: Base,
    clips: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
    onto: Mapping[str, Bottleneck] | None = None,
    extra: Extra | None = None,
) -> Learner:
    """Tokens (if the recipe has steps for them), then the motion adapter under appearance guidance, from clips (F, 3, H, W).

    If the recipe asks for it, the base finds where the clips' things are led, too (path_finding.py).

    Where text tells frames their moment, the adapter beside the clock is learned with the tokens: together they say where things are when.

    The guide of a training sample is the embedding of one random frame of its clip: what a thing looks like is told, so that the adapter
    has only its movement left to learn (arXiv 2312.04433, section 3.3). `onto`, `extra`: as for `learn_subject`.

    Raises:
        CcvdError: the loss is not a number.
        UsageError: a size that the base cannot make, or no site that the recipe names.
    """
    lesson = motion_lesson(
        base, clips, name=name, class_noun=class_noun, recipe=recipe, on_step=on_step, earlier=earlier
    )
    lesson.extra = extra
    adapters = _onto(lesson.fresh("temporal", "moment", condition=base.image_width), onto)
    early = {site: a for site, a in adapters.items() if site.kind == "moment"}
    lesson.resting = _resting({s: a for s, a in adapters.items() if s not in early}, onto)
    return lesson.learn(adapters, early)


def _onto(adapters: dict[Site, Bottleneck], onto: Mapping[str, Bottleneck] | None) -> dict[Site, Bottleneck]:
    """The same adapters, with the weights of those that go on."""
    for site, adapter in adapters.items():
        if onto and site.name in onto:
            adapter.load_state_dict(onto[site.name].state_dict())
    return adapters


def _resting(
    adapters: Mapping[Site, Bottleneck], onto: Mapping[str, Bottleneck] | None
) -> dict[Site, Bottleneck]:
    """Those that go on, as they are: they act while tokens are learned, since they will when the tokens are said."""
    return {s: deepcopy(a).requires_grad_(False) for s, a in adapters.items() if onto and s.name in onto}
