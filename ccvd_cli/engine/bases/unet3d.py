"""ModelScopeT2V, zeroscope and their kin: UNet3DConditionModel, the method's home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .latent import LatentBase


class Shared(Tensor):
    """Text that all frames of a sample read. The denoiser would copy it for each of them, and its attentions project every copy."""

    def repeat_interleave(self, *_: Any, **__: Any) -> Tensor:
        return self.as_subclass(Tensor)


class UNet3DBase(LatentBase):
    """Components are loaded by their own classes: the pipeline that once joined them is deprecated."""

    family = "unet3d"
    temporal_containers = ("temp_attentions", "transformer_in")

    def load_denoiser(self, folder: Path, dtype: torch.dtype) -> Any:
        from diffusers import UNet3DConditionModel

        return UNet3DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, use_safetensors=True)

    def predict(self, latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return super().predict(latents, timesteps, text.as_subclass(Shared))
