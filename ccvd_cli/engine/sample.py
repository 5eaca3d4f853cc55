"""The sampling loop: it fits one screen and knows no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ..schedule import weights
from ..settings import SampleSettings
from .adapters import attached
from .aggregate import fold
from .bases.contract import Base
from .concept import Learner


def _ignore(*_: int) -> None: ...


@torch.no_grad()
def sample(
    base: Base,
    text: Tensor,
    shape: tuple[int, ...],
    settings: SampleSettings,
    on_step: Callable[[int, int], None] = _ignore,
    before_step: Callable[[int], None] = _ignore,
) -> Tensor:
    """Latents (B, C, F, h, w) from noise, with classifier-free guidance (arXiv 2207.12598).

    `text` (2B, L, T, D), or what `Base.tell` made of it: the prompts' states after the empty prompt's; at a scale of 1 the latter are not
    needed. The noise is drawn on the CPU, so a seed means the same clip on every device. Timesteps are known beforehand: nothing in the
    loop waits for the device.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    latents = torch.randn(shape, generator=generator).to(base.device)
    scheduler = base.scheduler(settings.scheduler, settings.steps)
    latents = latents * scheduler.init_noise_sigma
    on_device = scheduler.timesteps.to(base.device)
    guided = settings.guidance_scale != 1
    text = text if guided else text[len(latents) :]
    for i, t in enumerate(scheduler.timesteps.tolist()):
        before_step(i)
        seen = scheduler.scale_model_input(latents, t)
        rows = torch.cat([seen, seen]) if guided else seen
        answer = base.predict(rows, on_device[i].expand(len(rows)), text)
        if guided:
            empty, told = answer.chunk(2)
            answer = empty + settings.guidance_scale * (told - empty)
        latents = scheduler.step(answer, t, latents).prev_sample
        on_step(i + 1, settings.steps)
    return latents


@torch.no_grad()
def generate_batch(
    base: Base,
    prompts: Sequence[str],
    learners: Sequence[Learner],
    settings: SampleSettings,
    on_step: Callable[[int, int], None] = _ignore,
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
        latents = sample(base, text, shape, settings, on_step, before_step)
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
