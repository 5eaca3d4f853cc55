"""The sampling loop: it fits one screen and knows no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..settings import SampleSettings
from .bases.contract import Base
from .windows import Estimate, Window, blended, windows

OnStep = Callable[[int, int], None]


class Start(NamedTuple):
    """Where sampling sets out instead of from noise: latents (B, C, F, h, w), as noisy as they are before step `first` of the schedule."""

    latents: Tensor
    first: int


def ignore(*_: int) -> None: ...


class Guidance(Protocol):
    """The denoiser's answers to `copies` copies of the latents, one after the other, -> one answer."""

    copies: int

    def __call__(self, answers: Tensor) -> Tensor: ...


class ClassifierFree:
    """empty + scale (prompted - empty) (arXiv 2207.12598); at a scale of 1 the empty prompt is not asked."""

    def __init__(self, scale: float) -> None:
        self.scale, self.copies = scale, 1 if scale == 1 else 2

    def __call__(self, answers: Tensor) -> Tensor:
        if self.copies == 1:
            return answers
        empty, prompted = answers.chunk(2)
        return empty + self.scale * (prompted - empty)


class StyleApart:
    """What is shown and how it is drawn, guided apart, as conjunctions are (arXiv 2206.01714):

    empty + scale (content - empty) + style (styled - bare), of the empty prompt, one without styles, the empty prompt as `styled` has it but
    for its styles' adapters, and one in styles. Where the two empty ones are the `same`, it is asked once.
    """

    def __init__(self, scale: float, style: float, *, same: bool) -> None:
        self.scale, self.style, self.copies = scale, style, 3 if same else 4

    def __call__(self, answers: Tensor) -> Tensor:
        empty, content, *bare, styled = answers.chunk(self.copies)
        return empty + self.scale * (content - empty) + self.style * (styled - (*bare, empty)[0])


def guided(base: Base, text: Tensor, guidance: Guidance) -> Estimate:
    """What the base answers, guided.

    `text` (R, L, T, D), or what `Base.tell` made of it: the prompts' states after the empty prompt's; of them as many times B as `guidance`
    wants copies, the last.
    """

    def estimate(latents: Tensor, t: Tensor) -> Tensor:
        rows = latents.repeat(guidance.copies, 1, 1, 1, 1)
        return guidance(base.predict(rows, t.expand(len(rows)), text[-len(rows) :]))

    return estimate


def summed(estimates: Sequence[Estimate]) -> Estimate:
    """The sum of what is answered to the same latents."""
    if len(estimates) == 1:
        return estimates[0]
    return lambda latents, t: torch.stack([estimate(latents, t) for estimate in estimates]).sum(0)


def windowed(base: Base, shape: Sequence[int], settings: SampleSettings, estimate: Estimate) -> Estimate:
    """The same in every window of latents (.., h, w), if they are denoised in windows."""
    return blended([(window, estimate) for window in windows_of(base, shape, settings)])


def windows_of(base: Base, shape: Sequence[int], settings: SampleSettings) -> list[Window]:
    """The windows of latents (.., h, w), of the base's own size; without windows, one that is all of it."""
    return windows(shape[-2], shape[-1], base.own_cells if settings.windows else None, base.device)


def seeded_noise(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Standard normal, drawn on the CPU, so that a seed means the same clip on every device."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(device)


def initial(base: Base, shape: Sequence[int], settings: SampleSettings) -> Tensor:
    """The noise of a seed, as large as the scheduler wants it."""
    scale = base.scheduler(settings.scheduler, settings.steps).init_noise_sigma
    return seeded_noise(shape, settings.seed, base.device) * scale


@torch.no_grad()
def sample(
    base: Base,
    estimate: Estimate,
    shape: tuple[int, ...],
    settings: SampleSettings,
    on_step: OnStep = ignore,
    before_step: Callable[[int], None] = ignore,
    start: Start | None = None,
) -> Tensor:
    """Latents (B, C, F, h, w) from noise, or from `start`. Timesteps are known beforehand: nothing in the loop waits for the device."""
    scheduler = base.scheduler(settings.scheduler, settings.steps)
    latents, first = start or Start(initial(base, shape, settings), 0)
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    on_device = scheduler.timesteps.to(base.device)
    for i, t in list(enumerate(scheduler.timesteps.tolist()))[first:]:
        before_step(i)
        seen = scheduler.scale_model_input(latents, t)
        latents = scheduler.step(estimate(seen, on_device[i]), t, latents).prev_sample
        on_step(i + 1 - first, settings.steps - first)
    return latents
