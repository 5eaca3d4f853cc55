"""Training losses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention_maps import on_grid
from .bases.contract import Base

OUTSIDE = -1e-8


def diffusion_loss(
    base: Base,
    latents: Tensor,
    text: Tensor,
    generator: torch.Generator,
    *,
    shift: float = 1.0,
    offset_noise: float = 0.0,
    masks: Tensor | None = None,
    outside: float = 0.0,
    debias: float = 0.0,
) -> Tensor:
    """Mean squared error of the denoiser's answer (arXiv 2006.11239), a scalar.

    latents (B, C, F, h, w), text (B, L, T, D). Offset noise adds one value per sample, channel and frame, so that brightness is learned too.
    `masks` (B, h, w) in [0, 1], none of them empty, weigh the error: what is outside costs `outside` times as much, 0 by default.
    `debias` is the weight of the appearance-debiased error, which only clips have: F > 1.
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    if offset_noise:
        offset = torch.randn(*latents.shape[:3], 1, 1, generator=generator).to(latents.device)
        noise = noise + offset_noise * offset
    timesteps = base.timesteps(len(latents), generator, shift)
    noisy, target = base.noise_and_target(latents, noise, timesteps)
    answer = base.predict(noisy, timesteps, text)
    loss = F.mse_loss(answer, target) if masks is None else masked_error(answer, target, masks, outside)
    if debias and latents.shape[2] > 1:
        anchors = torch.randint(latents.shape[2], (len(latents),), generator=generator)
        loss = loss + debias * F.mse_loss(debiased(answer, anchors), debiased(target, anchors))
    return loss


def masked_error(answer: Tensor, target: Tensor, masks: Tensor, outside: float = 0.0) -> Tensor:
    """Mean squared error of (B, C, F, h, w), a scalar: of each sample the mean over its mask (B, h, w), so that small subjects count as much.

    What is outside the mask joins that mean with a weight of `outside`.
    """
    squared = F.mse_loss(answer, target, reduction="none").mean((1, 2))
    weights = outside + (1 - outside) * masks
    return ((squared * weights).sum((1, 2)) / weights.sum((1, 2))).mean()


def debiased(answer: Tensor, anchors: Tensor) -> Tensor:
    """phi(e) = sqrt(2) e - e_anchor: what a clip's frames share loses weight (MotionDirector, arXiv 2310.08465, where beta = 1).

    e (B, C, F, h, w); `anchors` (B,): one frame of each sample. The paper's e is noise; of bases that predict v it is v, in answer and target
    alike. phi is linear, so the error is that of the residual answer - target, however the base expresses it.
    """
    anchor = answer[torch.arange(len(answer)), :, anchors][:, :, None]
    return 2**0.5 * answer - anchor


def attention_mask_loss(
    maps: Iterable[Tensor], places: Tensor, masks: Tensor, named: Tensor | None = None
) -> Tensor:
    """The squared distance from a concept's cross-attention maps to its masks, a scalar (CustomVideo, arXiv 2401.09962).

    The paper regresses the map of a subject's token to its mask, with 1 inside and -1e-8 outside, at 1/32 of the pictures' resolution
    only, and adds this with a weight of 0.2. So do we; our attention is a probability over all tokens, averaged over heads, and a cell
    that the mask covers in part has the share in between. In single precision the value outside does what zero would do.

    maps: (B, N, T) of one layer each; places (T,): true at the concept's own token; masks (B, h, w) in [0, 1] at the latents' resolution;
    named (B,): samples whose prompt has the concept in it (None: all), the others do not count. Nothing here waits for the device.
    """
    terms = []
    for seen in maps:
        share = on_grid(masks, seen.shape[1])
        gaze = (seen * places).sum(-1)
        terms.append(F.mse_loss(gaze, share + (1 - share) * OUTSIDE, reduction="none").mean(1))
    each = torch.stack(terms).mean(0)
    if named is None:
        return each.mean()
    return (each * named).sum() / named.sum().clamp(min=1)
