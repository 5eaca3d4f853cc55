"""Training losses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import Recipe
from .attention_maps import on_grid
from .bases.contract import Base
from .transfer import sent

OUTSIDE = -1e-8
LEAST = 0.05  # of a picture


class Noised(NamedTuple):
    """What a denoiser is asked, noisy latents (B, C, F, h, w) at timesteps (B,), and the right answer, shaped like them."""

    noisy: Tensor
    timesteps: Tensor
    target: Tensor


def noised(
    base: Base, latents: Tensor, generator: torch.Generator, *, shift: float = 1.0, offset_noise: float = 0.0
) -> Noised:
    """Latents (B, C, F, h, w) at random times. Offset noise adds one value per sample, channel and frame, so that brightness is learned too."""
    noise = sent(torch.randn(latents.shape, generator=generator), latents.device)
    if offset_noise:
        offset = torch.randn(*latents.shape[:3], 1, 1, generator=generator)
        noise = noise + offset_noise * sent(offset, latents.device)
    timesteps = base.timesteps(len(latents), generator, shift)
    noisy, target = base.noise_and_target(latents, noise, timesteps)
    return Noised(noisy, timesteps, target)


@dataclass(frozen=True)
class Within:
    """Where the loss looks: `masks` (B, h, w) in [0, 1]. What is outside costs `outside` times as much.

    apart (B, h, w): where the concept surely is not; what is neither within nor apart may be its own or not. before (K, C, F, h, w): what was
    answered to the first K of the samples before there was the concept; where that is apart, moving away from it costs `keep` times as much.
    """

    masks: Tensor
    apart: Tensor
    outside: float = 0.0
    before: Tensor | None = None
    keep: float = 0.0

    @classmethod
    @torch.no_grad()
    def by(
        cls,
        recipe: Recipe,
        base: Base,
        masks: Tensor,
        apart: Tensor,
        sample: Noised,
        plain: Tensor,
        moments: Tensor,
    ) -> Within:
        """As a recipe has it. If that keeps anything, the base is asked, as it is now: `plain` (B, L, T, D) is the text without the concept.

        It is asked about the first half of the samples, which takes half the time: they are as random as all are, and the concept's own where
        prior pictures stand behind them.
        """
        before = None
        if recipe.keep_weight:
            some = slice((len(masks) + 1) // 2)
            text = base.tell(plain[some], moments[some])
            before = base.predict(sample.noisy[some], sample.timesteps[some], text)
        return cls(masks, apart, recipe.outside_weight, before, recipe.keep_weight)


def diffusion_loss(
    base: Base,
    sample: Noised,
    text: Tensor,
    generator: torch.Generator,
    *,
    within: Within | None = None,
    debias: float = 0.0,
) -> Tensor:
    """Mean squared error of the denoiser's answer (arXiv 2006.11239) to text (B, L, T, D), a scalar.

    `debias` is the weight of the appearance-debiased error, which only clips have: F > 1.
    """
    answer, target = base.predict(sample.noisy, sample.timesteps, text), sample.target
    if within is None:
        loss = F.mse_loss(answer, target)
    else:
        loss = masked_error(answer, target, within.masks, within.outside)
        if within.before is not None:
            some = slice(len(within.before))
            loss = loss + within.keep * kept_error(answer[some], within.before, within.apart[some])
    if debias and target.shape[2] > 1:
        anchors = torch.randint(target.shape[2], (len(target),), generator=generator)
        loss = loss + debias * F.mse_loss(debiased(answer, anchors), debiased(target, anchors))
    return loss


def masked_error(answer: Tensor, target: Tensor, masks: Tensor, outside: float = 0.0) -> Tensor:
    """Mean squared error of (B, C, F, h, w), a scalar: of each sample the mean over its mask (B, h, w), so that small subjects count as much.

    What is outside the mask joins that mean with a weight of `outside`.
    """
    squared = F.mse_loss(answer, target, reduction="none").mean((1, 2))
    weights = outside + (1 - outside) * masks
    return ((squared * weights).sum((1, 2)) / weights.sum((1, 2))).mean()


def kept_error(answer: Tensor, before: Tensor, outside: Tensor) -> Tensor:
    """As `masked_error` of what is `outside` (B, h, w); but less than a twentieth of a picture counts as little as it is."""
    squared = F.mse_loss(answer, before, reduction="none").mean((1, 2))
    weights = outside.sum((1, 2)).clamp(min=LEAST * outside[0].numel())
    return ((squared * outside).sum((1, 2)) / weights).mean()


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
