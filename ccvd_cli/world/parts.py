"""`mini`'s parts on disk: written in fp16 safetensors where diffusers and transformers look for them, and read again."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine import told
from . import models

INDEX = {"_class_name": "AnimateDiffPipeline"}


def pixels(batch: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """uint8 (..., H, W, 3) -> float (..., 3, H, W) in [-1, 1]."""
    x = torch.as_tensor(batch).to(device)
    return x.movedim(-1, -3).float() / 127.5 - 1


def tokenize(words: Any, captions: list[str]) -> Tensor:
    """Captions -> (N, 24) token ids, padded."""
    return words(
        captions, padding="max_length", truncation=True, max_length=models.TEXT_LENGTH, return_tensors="pt"
    ).input_ids


def ship(folder: Path, name: str, module: Any) -> None:
    """Write a part in fp16 safetensors where diffusers and transformers look for it."""
    from safetensors.torch import save_file

    target, half = folder / "model" / name, deepcopy(module).half()
    if isinstance(module, told.Told):
        target.mkdir(parents=True, exist_ok=True)
        save_file(half.state_dict(), target / told.FILE)
        return
    if hasattr(half, "register_to_config"):
        half.register_to_config(_name_or_path="")  # where a stretch started from is nobody's business
    half.save_pretrained(target)


def load_part(folder: Path, name: str) -> Any:
    """A shipped part, in float32."""
    from diffusers import AutoencoderTiny, UNetMotionModel
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    kinds: dict[str, Any] = {
        "vae": AutoencoderTiny,
        "image_encoder": CLIPVisionModelWithProjection,
        "text_encoder": CLIPTextModel,
        "unet": UNetMotionModel,
    }
    return kinds[name].from_pretrained(folder / "model" / name).float().eval()
