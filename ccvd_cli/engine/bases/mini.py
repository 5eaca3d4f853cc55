"""The embedded base and its family: AnimateDiff's UNetMotionModel, told by text per layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .latent import LatentBase


@contextmanager
def still(denoiser: nn.Module) -> Iterator[None]:
    """Within it, motion modules let everything pass: the denoiser is the picture model that it grew from."""

    def through(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return hidden_states

    modules = [m for n, m in denoiser.named_modules() if n.rpartition(".")[0].endswith("motion_modules")]
    for module in modules:
        module.forward = through  # an instance attribute shadows the method until it is deleted
    try:
        yield
    finally:
        for module in modules:
            del module.forward


@contextmanager
def at_frames(denoiser: nn.Module, indices: Tensor) -> Iterator[None]:
    """Within it, a clip's frames stand at these positions (F,) of the temporal attention instead of 0, 1, 2, ...

    A clip can then be learned from a few of its frames at a time: each still knows when it is.
    """
    positions = [m for n, m in denoiser.named_modules() if "motion_modules" in n and n.endswith("pos_embed")]
    whole = [m.pe for m in positions]
    for module in positions:
        module.pe = module.pe[:, indices]
    try:
        yield
    finally:
        for module, pe in zip(positions, whole, strict=True):
            module.pe = pe


class MotionModelBase(LatentBase):
    """`mini`, and AnimateDiff models saved whole (a UNetMotionModel in `unet`)."""

    family = "mini"
    temporal_containers = ("motion_modules",)
    image_mean = (0.5, 0.5, 0.5)
    image_std = (0.5, 0.5, 0.5)

    def load_denoiser(self, folder: Path, dtype: torch.dtype) -> Any:
        from diffusers import UNetMotionModel

        return UNetMotionModel.from_pretrained(folder / "unet", torch_dtype=dtype, use_safetensors=True)

    def still(self) -> AbstractContextManager[None]:
        return still(self.denoiser)
