"""What the frozen base makes of a class noun, to be rehearsed beside a concept's own pictures (DreamBooth, arXiv 2208.12242)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..settings import SampleSettings
from .bases.contract import Base
from .sample import ClassifierFree, Start, guided, sample, seeded_noise

PRIOR_PICTURES, PRIOR_STEPS = 16, 12
AT_ONCE = 4  # of large bases more would not fit


@dataclass(frozen=True)
class Prior:
    """What the frozen base makes of the class noun alone: latents (N, C, 1, h, w) and the text states (1, L, T, D) they came from."""

    latents: Tensor
    text: Tensor


def imagine(
    base: Base,
    prompt: str,
    shape: Sequence[int],
    seed: int,
    on_step: Callable[[int, int], None] = lambda step, total: None,
) -> Prior:
    """Pictures that the base makes of a prompt, kept as latents: rehearsing them keeps its other things as they are."""
    with torch.no_grad():
        text_states, empty = base.encode_text([prompt]), base.encode_text([""])
    text = torch.cat([empty, text_states]).repeat_interleave(AT_ONCE, 0)
    settings = SampleSettings(steps=PRIOR_STEPS, frames=1, seed=seed)
    estimate = guided(base, text, ClassifierFree(3.0))
    parts = seeded_noise((PRIOR_PICTURES, *shape), seed, base.device).split(AT_ONCE)
    pictures = []
    for k, noise in enumerate(parts):

        def heard(step: int, total: int, k: int = k) -> None:
            on_step(k * total + step, len(parts) * total)

        pictures.append(sample(base, estimate, tuple(noise.shape), settings, heard, start=Start(noise, 0)))
    return Prior(torch.cat(pictures), text_states)
