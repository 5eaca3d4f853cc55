"""Frames larger than the base's own, denoised in overlapping windows of that size (MultiDiffusion, arXiv 2302.08113, equation 5):

    E(p) = sum_j w_j(p) E_j(p) / sum_j w_j(p),

where E_j is the estimate of window j, and w_j falls linearly to the edges at which its neighbours take over. A base that has learned frames
of one size draws things as large as they are there, and twice if there is room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..row import step_of

Estimate = Callable[
    [Tensor, Tensor], Tensor
]  # latents (B, C, F, h, w) at a timestep () -> the denoiser's answer to them


@dataclass(frozen=True)
class Window:
    """A part of the latents (..., h, w): where it is, also as x0, y0, x1, y1 in fractions, and the share (h', w') of its estimate."""

    rows: slice
    columns: slice
    box: tuple[float, float, float, float]
    share: Tensor

    def of(self, latents: Tensor) -> Tensor:
        return latents[..., self.rows, self.columns]


def windows(height: int, width: int, own: tuple[int, int] | None, device: torch.device) -> list[Window]:
    """Windows of `own` cells (h, w) that cover so many; one over all where that is no larger, or nothing is known."""
    tall, wide = own or (height, width)
    across, down = _spans(width, wide), _spans(height, tall)
    ramps = [(y, x, _ramp(down, y)[:, None] * _ramp(across, x)) for y in down for x in across]
    total = torch.zeros(height, width)
    for rows, columns, ramp in ramps:
        total[rows, columns] += ramp
    return [
        Window(
            rows,
            columns,
            (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height),
            (ramp / total[rows, columns]).to(device),
        )
        for rows, columns, ramp in ramps
    ]


def _spans(size: int, own: int) -> list[slice]:
    """As few as overlap by a quarter at least, at equal distances."""
    if size <= own:
        return [slice(0, size)]
    count = math.ceil((size - own) / step_of(own)) + 1
    starts = [round(i * (size - own) / (count - 1)) for i in range(count)]
    return [slice(start, start + own) for start in starts]


def _ramp(spans: Sequence[slice], one: slice) -> Tensor:
    """1 where no neighbour is, and falling to the edges where one is; never 0."""
    k, ramp = spans.index(one), torch.ones(one.stop - one.start)
    if k > 0:
        over = spans[k - 1].stop - one.start
        ramp[:over] *= torch.arange(1, over + 1) / (over + 1)
    if k < len(spans) - 1:
        over = one.stop - spans[k + 1].start
        ramp[len(ramp) - over :] *= torch.arange(over, 0, -1) / (over + 1)
    return ramp


def blended(parts: Sequence[tuple[Window, Estimate]]) -> Estimate:
    """The estimate of all latents, from those of windows."""
    if len(parts) == 1:
        return parts[0][1]

    def estimate(latents: Tensor, t: Tensor) -> Tensor:
        out = torch.zeros_like(latents)
        for window, part in parts:
            out[..., window.rows, window.columns] += window.share * part(window.of(latents), t)
        return out

    return estimate


def through(windows: Sequence[Window], boxes: Tensor) -> list[Tensor]:
    """What of boxes (K, F, 4) each window hears, (K, F, 4) in fractions of itself; an empty box where it does not hear one.

    Frame by frame, a box is heard in every window that sees half of it or is half filled by it, and in the one that sees most of it.
    """
    seen = torch.tensor([w.box for w in windows])[:, None, None]  # (J, 1, 1, 4)
    low, high = torch.maximum(seen[..., :2], boxes[..., :2]), torch.minimum(seen[..., 2:], boxes[..., 2:])
    part = (high - low).clamp(min=0).prod(-1) / (boxes[..., 2:] - boxes[..., :2]).prod(-1)  # (J, K, F)
    most = torch.zeros_like(part).scatter(0, part.argmax(0, keepdim=True), 1.0)
    origin, size = seen[..., :2], seen[..., 2:] - seen[..., :2]
    inside = torch.cat([(low - origin) / size, (high - origin) / size], -1).clamp(0, 1)
    filled = (inside[..., 2:] - inside[..., :2]).prod(-1)
    heard = (part >= 0.5 - 1e-6) | (filled >= 0.5 - 1e-6) | (most > 0)
    return list(torch.where(heard[..., None], inside, 0.0))
