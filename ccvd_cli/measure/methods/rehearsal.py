"""What methods share that hold a new model against the one before it: the same question, put to either."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ...engine.adapters import Bottleneck, attached
from ...engine.bases.contract import Site
from ...engine.lesson import Lesson, Stage, where_said
from ...engine.losses import Noised, noised
from ...engine.transfer import picked


@dataclass(frozen=True)
class Ask:
    """What noisy latents show: text (B, L, T, D), in which a concept stands at `places` (B, T), guided by the looks `e` (B, E).

    still: they are single frames, which pass without the temporal layers.
    """

    sample: Noised
    moments: Tensor
    text: Tensor
    places: Tensor
    e: Tensor
    still: bool

    @classmethod
    def about(
        cls, lesson: Lesson, stage: Stage, latents: Tensor, embeds: Tensor, text: Tensor, places: Tensor
    ) -> Ask:
        """As the lesson itself asks in that stage of latents (B, C, F, h, w), of whose frames `embeds` (B, F, E) are; noise, moments and the
        frame that guides at random, from the lesson's chance.
        """
        base, count = lesson.base, len(latents)
        moments = torch.arange(latents.shape[2])[None]
        if lesson.kind != "motion":  # a picture is any frame of a clip
            moments = torch.randint(lesson.recipe.frames, (count, 1), generator=lesson.generator)
        elif lesson.frame_by_frame(stage):
            moments = torch.randint(latents.shape[2], (count, 1), generator=lesson.generator)
            latents = picked(latents.transpose(1, 2), torch.arange(count)[:, None], moments).transpose(1, 2)
        recipe = lesson.recipe
        shift = recipe.token_shift if stage == "tokens" else recipe.timestep_shift
        sample = noised(base, latents, lesson.generator, shift=shift, offset_noise=recipe.offset_noise)
        guiding = torch.randint(embeds.shape[1], (count,), generator=lesson.generator)
        e = picked(embeds, torch.arange(count), guiding).to(base.device)
        text, places = text.expand(count, -1, -1, -1), places.expand(count, -1)
        still = lesson.kind != "motion" or lesson.frame_by_frame(stage)
        return cls(sample, moments, text, places, e, still)


def answer(lesson: Lesson, adapters: Mapping[Site, Bottleneck], ask: Ask) -> Tensor:
    """What the base says with these adapters, shaped like the latents."""
    base = lesson.base
    still = base.still() if ask.still else nullcontext()
    with still, attached(base.denoiser, where_said(adapters, ask.places), ask.e):
        return base.predict(ask.sample.noisy, ask.sample.timesteps, base.tell(ask.text, ask.moments))


def frozen_at(
    adapters: Mapping[Site, Bottleneck], before: Mapping[str, Bottleneck]
) -> dict[Site, Bottleneck]:
    """As they were before the task, at the sites that it trains; where there was none, there is none."""
    return {site: before[site.name] for site in adapters if site.name in before}
