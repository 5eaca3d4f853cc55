"""The sampling loop: it fits one screen and knows no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from ..schedule import weights
from ..settings import SampleSettings
from .adapters import attached
from .aggregate import fold
from .bases.contract import Base
from .concept import Learner


class Start(NamedTuple):
    """Where sampling sets out instead of from noise: latents (B, C, F, h, w), as noisy as they are before step `first` of the schedule."""

    latents: Tensor
    first: int


def _ignore(*_: int) -> None: ...


def seeded_noise(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Standard normal, drawn on the CPU, so that a seed means the same clip on every device."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(device)


@torch.no_grad()
def sample(
    base: Base,
    text: Tensor,
    shape: tuple[int, ...],
    settings: SampleSettings,
    on_step: Callable[[int, int], None] = _ignore,
    before_step: Callable[[int], None] = _ignore,
    start: Start | None = None,
) -> Tensor:
    """Latents (B, C, F, h, w) from noise, or from `start`, with classifier-free guidance (arXiv 2207.12598).

    `text` (2B, L, T, D), or what `Base.tell` made of it: the prompts' states after the empty prompt's; at a scale of 1 the latter are not
    needed. Timesteps are known beforehand: nothing in the loop waits for the device.
    """
    scheduler = base.scheduler(settings.scheduler, settings.steps)
    if start is None:
        noise = seeded_noise(shape, settings.seed, base.device)
        start = Start(noise * scheduler.init_noise_sigma, 0)
    latents, first = start
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    on_device = scheduler.timesteps.to(base.device)
    guided = settings.guidance_scale != 1
    text = text if guided else text[len(latents) :]
    for i, t in list(enumerate(scheduler.timesteps.tolist()))[first:]:
        before_step(i)
        seen = scheduler.scale_model_input(latents, t)
        rows = torch.cat([seen, seen]) if guided else seen
        answer = base.predict(rows, on_device[i].expand(len(rows)), text)
        if guided:
            empty, told = answer.chunk(2)
            answer = empty + settings.guidance_scale * (told - empty)
        latents = scheduler.step(answer, t, latents).prev_sample
        on_step(i + 1 - first, settings.steps - first)
    return latents


@torch.no_grad()
def generate_batch(
    base: Base,
    prompts: Sequence[str],
    learners: Sequence[Learner],
    settings: SampleSettings,
    on_step: Callable[[int, int], None] = _ignore,
    start: Start | None = None,
) -> Tensor:
    """Clips (B, F, 3, H, W) in [0, 1] on the CPU: one per prompt, all with the same learners; sample i starts from its own noise."""
    shape = (len(prompts), *base.latent_shape(settings.frames, settings.height, settings.width))
    tokens = [x.token_vectors() for x in learners]
    told, empty = base.encode_text(prompts, tokens), base.encode_text([""]).expand(len(prompts), -1, -1, -1)
    text, picture, adapters = torch.cat([empty, told]), settings.frames == 1, fold(base, learners)
    subjects = [wide for site, wide in adapters.items() if site.kind == "spatial"]
    strengths = weights(settings.subject_schedule, settings.steps)

    def before_step(i: int) -> None:
        for wide in subjects:
            wide.strength = strengths[i]

    with base.still() if picture else nullcontext(), attached(base.denoiser, adapters):
        if not picture:  # a picture has no moment
            motions = [x.token_vectors().placeholder for x in learners if x.kind == "motion"]
            places = base.places([""] * len(prompts) + list(prompts), motions)
            text = base.tell(text, torch.arange(settings.frames)[None], places)
        latents = sample(base, text, shape, settings, on_step, before_step, start)
    return (base.decode_video(latents).cpu() + 1) / 2


def generate(
    base: Base,
    prompt: str,
    learners: Sequence[Learner],
    settings: SampleSettings,
    on_step: Callable[[int, int], None] = _ignore,
) -> Tensor:
    """One clip, (F, 3, H, W) in [0, 1]. Raises UsageError for a size that the base cannot make."""
    return generate_batch(base, [prompt], learners, settings, on_step)[0]
