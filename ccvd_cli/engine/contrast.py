"""Where a base itself sees a thing in pictures: there its estimates differ with and without the noun (DiffEdit, arXiv 2210.11427, section 3.1).

    m = mean over noises eps, times t of | E(x_t, noun) - E(x_t, "") |,      mask = m above its own threshold

DiffEdit's threshold is half of the range; ours parts a photo's cells into two groups that are as far apart as can be (Otsu). A hat or a collar
belongs to somebody's dog, and not to the noun: so the mask follows the outline that colours show (`outline.py`), or grows a little all around.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .bases.contract import Base
from .outline import outlined
from .sample import OnStep, ignore

NOISES = 12  # of each photo; DiffEdit has 10
MARGIN = 1  # cells of the latents
AT_ONCE = 16  # pictures
_THRESHOLDS = 40


@torch.no_grad()
def contrasts(
    base: Base,
    pictures: Sequence[Tensor],
    noun: str,
    seed: int = 0,
    on_noise: OnStep = ignore,
    *,
    noises: int,
    within: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """m of each picture (3, H, W) in [-1, 1], times `noises`, of its latents' size: (N, h, w), on the CPU.

    within: shares of the way to noise between which times are drawn. `on_noise` hears how many are done.
    """
    generator = torch.Generator().manual_seed(seed)
    moment = torch.zeros(1, 1, dtype=torch.long)
    said, silent = (base.tell(base.encode_text([p]), moment) for p in (f"a {noun}", ""))
    parts = torch.stack(list(pictures))[:, None].split(AT_ONCE)
    found = []
    with base.still():
        for part, some in enumerate(parts):
            latents = base.encode_video(some)
            told, untold = (t.expand(len(latents), *t.shape[1:]) for t in (said, silent))
            contrast = torch.zeros(len(latents), *latents.shape[-2:], device=latents.device)
            for i in range(noises):
                times = base.timesteps(len(latents), generator, within=within)
                noise = torch.randn(latents.shape, generator=generator).to(latents.device)
                noisy, _ = base.noise_and_target(latents, noise, times)
                apart = base.predict(noisy, times, told) - base.predict(noisy, times, untold)
                contrast += apart.abs().mean((1, 2))
                on_noise(part * noises + i + 1, len(parts) * noises)
            found.append(contrast.cpu())
    return torch.cat(found)


def seen_by(
    base: Base,
    photos: Sequence[Tensor],
    noun: str,
    seed: int = 0,
    on_noise: OnStep = ignore,
    *,
    outline: bool = False,
) -> list[Tensor]:
    """Masks (1, H, W) of 0 and 1, one for each photo (3, H, W) in [-1, 1]; none of them empty. `on_noise` hears how many are done.

    outline: they are (2, H, W), where the subject is and what is near it, and may be its own or not. They follow its outline, but for photos in
    which colours do not tell it from its place.
    """
    maps = contrasts(base, photos, noun, seed, on_noise, noises=NOISES)
    seen = torch.stack([(one >= threshold(one)).float() for one in maps])[:, None]
    grown = F.max_pool2d(seen, 2 * MARGIN + 1, stride=1, padding=MARGIN)
    seen, grown = (F.interpolate(m, size=photos[0].shape[-2:], mode="nearest") for m in (seen, grown))
    if not outline:
        return list(grown)
    outlines = outlined(photos, [one[0].numpy() > 0 for one in seen])
    return [
        usual.repeat(2, 1, 1) if one is None else torch.from_numpy(np.stack(one)).float()
        for one, usual in zip(outlines, grown, strict=True)
    ]


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
