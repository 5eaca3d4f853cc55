"""The denoiser's material, drawn and encoded once and kept beside the checkpoints."""

from __future__ import annotations

import json
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
from .heldout import SPARED
from .parts import load_part, pixels
from .render import Clip
from .training import autocast


def corpus_latents(folder: Path, device: torch.device, seed: int) -> tuple[Tensor, list[str], list[Clip]]:
    """The denoiser's material: fp16 latents (N, F, C, h, w), captions, and the clips.

    Drawn and encoded once, and kept in `folder`; again where it is of another seed, another autoencoder, or had other doubles.
    """
    vae: Any = None
    of = {"seed": str(seed), "vae": fingerprint(folder / "model", ["vae"]), "spared": str(SPARED)}
    latents: list[Tensor] = []
    captions: list[str] = []
    clips: list[Clip] = []
    for part in MATERIAL:
        cache = folder / f"{part.name}.safetensors"
        if not _is_of(cache, of):
            vae = vae or load_part(folder, "vae").to(device)
            corpus = described(part.count, part.seed + seed, part.mix)
            told = {"latents": _encoded(vae, corpus.pixels, device)}
            with whole(cache) as (written,):
                save_file(told, written, {**of, "captions": json.dumps(corpus.captions)})
        with safe_open(cache, "pt") as kept:
            latents.append(kept.get_tensor("latents"))
            captions += json.loads(kept.metadata()["captions"])
        clips += undrawn(part.count, part.seed + seed, part.mix)
    return torch.cat(latents), captions, clips


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
