"""The denoiser's material, drawn and encoded once and kept beside the checkpoints."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..engine.hub import fingerprint
from ..outputs import whole
from .corpus import MATERIAL, described, undrawn
from .parts import load_part, pixels
from .render import Clip
from .training import autocast


def corpus_latents(folder: Path, device: torch.device, seed: int) -> tuple[Tensor, list[str], list[Clip]]:
    """fp16 latents (N, F, C, h, w), captions, and the clips.

    What was encoded is kept in `folder`; it is again where other clips or captions are drawn now, or another autoencoder sees them.
    """
    vae: Any = None
    latents: list[Tensor] = []
    pairs: list[tuple[Clip, str]] = []
    for part in MATERIAL:
        drawn = undrawn(part.count, part.seed + seed, part.mix)
        pairs += drawn
        said = hashlib.sha256(repr(drawn).encode()).hexdigest()
        of = {"drawn": said, "vae": fingerprint(folder / "model", ["vae"])}
        cache = folder / f"{part.name}.safetensors"
        if not _is_of(cache, of):
            vae = vae or load_part(folder, "vae").to(device)
            corpus = described(part.count, part.seed + seed, part.mix)
            with whole(cache) as (written,):
                save_file({"latents": _encoded(vae, corpus.pixels, device)}, written, of)
        with safe_open(cache, "pt") as kept:
            latents.append(kept.get_tensor("latents"))
    return torch.cat(latents), [caption for _, caption in pairs], [clip for clip, _ in pairs]


def _is_of(cache: Path, of: dict[str, str]) -> bool:
    """Whether material was kept there, and of these."""
    with suppress(OSError, SafetensorError), safe_open(cache, "pt") as kept:
        return {key: (kept.metadata() or {}).get(key) for key in of} == of
    return False


@torch.no_grad()
def _encoded(vae: Any, frames: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (N, F, H, W, 3) -> fp16 latents (N, F, C, h, w)."""
    latents = []
    for part in np.array_split(frames, -(-len(frames) // 16)):
        with autocast(device):
            z = vae.encode(pixels(part, device).flatten(0, 1)).latents
        latents.append(z.unflatten(0, part.shape[:2]).half().cpu())
    return torch.cat(latents)
