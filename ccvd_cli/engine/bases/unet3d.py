"""ModelScopeT2V, zeroscope and their kin: UNet3DConditionModel, the method's home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .latent import LatentBase


class UNet3DBase(LatentBase):
    """Components are loaded by their own classes: the pipeline that once joined them is deprecated."""

    family = "unet3d"
    temporal_containers = ("temp_attentions", "transformer_in")

    def load_denoiser(self, folder: Path, dtype: torch.dtype) -> Any:
        from diffusers import UNet3DConditionModel

        return UNet3DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, use_safetensors=True)
