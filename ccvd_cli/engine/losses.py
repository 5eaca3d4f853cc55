"""Training losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .bases.contract import Base


def diffusion_loss(
    base: Base,
    latents: Tensor,
    text: Tensor,
    generator: torch.Generator,
    *,
    shift: float = 1.0,
    offset_noise: float = 0.0,
) -> Tensor:
    """Mean squared error of the denoiser's answer (arXiv 2006.11239), a scalar.

    latents (B, C, F, h, w), text (B, L, T, D). Offset noise adds one value per sample, channel and frame, so that brightness is learned too.
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    if offset_noise:
        offset = torch.randn(*latents.shape[:3], 1, 1, generator=generator).to(latents.device)
        noise = noise + offset_noise * offset
    timesteps = base.timesteps(len(latents), generator, shift)
    noisy, target = base.noise_and_target(latents, noise, timesteps)
    return F.mse_loss(base.predict(noisy, timesteps, text), target)
