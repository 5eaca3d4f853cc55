"""Where a base itself sees a thing in photos: there its estimates differ with and without the noun (DiffEdit, arXiv 2210.11427, section 3.1).

    m = mean over noises eps, times t of | E(x_t, noun) - E(x_t, "") |,      mask = m above its own threshold

DiffEdit's threshold is half of the range; ours parts a photo's cells into two groups that are as far apart as can be (Otsu). Then the mask
grows a little all around: a hat or a collar belongs to somebody's dog, and not to the noun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .bases.contract import Base

NOISES = 12  # of each photo; DiffEdit has 10
MARGIN = 1  # cells of the latents
_THRESHOLDS = 40


@torch.no_grad()
def seen_by(
    base: Base,
    photos: Sequence[Tensor],
    noun: str,
    seed: int = 0,
    on_noise: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor]:
    """Masks (1, H, W) of 0 and 1, one for each photo (3, H, W) in [-1, 1]; none of them empty. `on_noise` hears how many are done."""
    generator = torch.Generator().manual_seed(seed)
    latents = base.encode_video(torch.stack(list(photos))[:, None])
    count, moment = len(latents), torch.zeros(1, 1, dtype=torch.long)
    text, silent = (
        base.tell(base.encode_text([p]).expand(count, -1, -1, -1), moment) for p in (f"a {noun}", "")
    )
    contrast = torch.zeros(count, *latents.shape[-2:], device=latents.device)
    with base.still():
        for i in range(NOISES):
            times = base.timesteps(count, generator)
            noise = torch.randn(latents.shape, generator=generator).to(latents.device)
            noisy, _ = base.noise_and_target(latents, noise, times)
            contrast += (
                (base.predict(noisy, times, text) - base.predict(noisy, times, silent)).abs().mean((1, 2))
            )
            on_noise(i + 1, NOISES)
    masks = torch.stack([(one >= threshold(one)).float() for one in contrast.cpu()])
    grown = F.max_pool2d(masks[:, None], 2 * MARGIN + 1, stride=1, padding=MARGIN)
    return list(F.interpolate(grown, size=photos[0].shape[-2:], mode="nearest"))


def threshold(values: Tensor) -> float:
    """Otsu's: what is above it and what is below are as far apart as can be, each group counting as often as it has values."""
    values = values.flatten().double()
    best, chosen = -1.0, float(values.max())
    for level in torch.linspace(float(values.min()), float(values.max()), _THRESHOLDS)[1:-1].tolist():
        low, high = values[values < level], values[values >= level]
        apart = (
            len(low) * len(high) * float((high.mean() - low.mean()) ** 2) if len(low) and len(high) else -1.0
        )
        if apart > best:
            best, chosen = apart, level
    return chosen
