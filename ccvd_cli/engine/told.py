"""What a base's text is told besides its words: the moment of a frame, the box of a region.

It takes a product: "moving left" and "moving right" differ in what a moment means. A vector that is merely added to all text states of a
frame adds the same to every key, which changes no attention weight, so words and moments would never meet.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

FILE = "model.safetensors"


class Told(nn.Module):
    """h' = h + W_out (phi * (W_in h + b)), where phi are waves of what is told. A fresh one says nothing."""

    def __init__(self, width: int, features: int = 192) -> None:
        super().__init__()
        self.inwards = nn.Linear(width, features)
        self.outwards = nn.Linear(features, width, bias=False)
        nn.init.zeros_(self.outwards.weight)

    def change(self, text: Tensor, angles: Tensor) -> Tensor:
        """What is added to text states (..., T, D) that are told angles (..., A); every wave is in as many features."""
        phi = torch.cat([angles.sin(), angles.cos()], -1).to(text.dtype)
        phi = phi.tile((self.inwards.out_features // phi.shape[-1],))
        out: Tensor = self.outwards(phi[..., None, :] * self.inwards(text))
        return out


class Clock(Told):
    """Tells every frame when it is: phi(f) = sin, cos(k pi f / 16) for k = 1 .. 8."""

    HARMONICS, HALF_TURN = 8, 16

    def __init__(self, width: int, features: int = 192) -> None:
        super().__init__(width, features)
        self.told = nn.Identity()  # a site: what is attached beside it says what else a moment means

    def forward(self, text: Tensor, moments: Tensor) -> Tensor:
        """Text states (N, T, D) at moments (N, F) -> those of every frame, (N, F, T, D)."""
        k = torch.arange(1, self.HARMONICS + 1, device=moments.device)
        angles = moments[..., None] * k * (math.pi / self.HALF_TURN)
        once = text[:, None]
        told: Tensor = self.told((once + self.change(once, angles)).flatten(0, 1))
        return told.unflatten(0, moments.shape)


class Atlas(Told):
    """Tells a region's text where its box is: phi(box) = sin, cos(k pi v) for k = 1 .. 4, v the centre's x and y, width and height."""

    HARMONICS = 4

    def forward(self, text: Tensor, boxes: Tensor) -> Tensor:
        """Text states (..., T, D) of boxes (..., 4) as x0, y0, x1, y1 -> the same shape."""
        low, high = boxes.split(2, -1)
        k = torch.arange(1, self.HARMONICS + 1, device=boxes.device)
        angles = torch.cat([(low + high) / 2, high - low], -1)[..., None] * k * math.pi
        return text + self.change(text, angles.flatten(-2))


T = TypeVar("T", bound=Told)


def load(kind: type[T], folder: Path, width: int) -> T | None:
    """The one of a model's part `folder`, in float32; None where the model has no such part."""
    from safetensors.torch import load_file

    if not folder.is_dir():
        return None
    state = {k: v.float() for k, v in load_file(folder / FILE).items()}
    told = kind(width, features=len(state["inwards.bias"]))
    told.load_state_dict(state)
    return told


__all__ = ["FILE", "Atlas", "Clock", "Told", "load"]
