"""Pretraining `mini` on the world, stage by stage: autoencoder, CLIP, pictures, video. Every stage resumes where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import models
from .corpus import Corpus, described, varied
from .denoising import train_image, train_video
from .parts import load_part, pixels, ship, tokenize
from .training import Stretch, autocast, group, ramp


def train_vae(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """L1, of pooled pictures too for the hues and of edges for what is small; latents are pushed to zero mean and unit variance per channel.

    Shipped weights, if the folder has some, are where a stretch without a checkpoint starts: latents then stay about what they mean.
    """
    there = (folder / "model" / "vae").exists()
    vae = (load_part(folder, "vae").train() if there else models.vae()).to(device)
    run = Stretch(folder, "vae", {"vae": vae}, [group(vae, 1e-3 if there else 2e-3)], minutes=minutes)
    pool = torch.from_numpy(varied(24_000, 1_000_000 + seed + run.step))
    generator = torch.Generator().manual_seed(seed + run.step)
    run.restart_clock()
    with run:
        while run.running():
            x = pixels(pool[torch.randint(len(pool), (32,), generator=generator)], device)
            with autocast(device):
                z = vae.encode(x).latents
                seen = vae.decode(z + 0.05 * torch.randn_like(z)).sample.float()
            z = z.float()
            unit = z.mean((0, 2, 3)).square().mean() + (z.std((0, 2, 3)) - 1).square().mean()
            losses = {
                "l1": F.l1_loss(seen, x),
                "l2": F.mse_loss(seen, x),
                "pooled": F.l1_loss(F.avg_pool2d(seen, 4), F.avg_pool2d(x, 4)),
                "edges": 0.5 * (_l1_of_edges(seen, x, -1) + _l1_of_edges(seen, x, -2)),
                "unit": 0.05 * unit,
            }
            run.update(losses, lr_scale=ramp(run.progress(), run.step))
    run.adopt_averages()
    vae.eval()
    run.log({"psnr_world": _psnr(vae, described(100, 77_000_000, stills=True).pixels[:, 0], device)})
    ship(folder, "vae", vae)


def _l1_of_edges(seen: Tensor, x: Tensor, dim: int) -> Tensor:
    """L1 between the differences of neighbours along `dim`: a blur costs more than it does in L1 of the pictures."""
    return F.l1_loss(seen.diff(dim=dim), x.diff(dim=dim))


@torch.no_grad()
def _psnr(vae: Any, batch: np.ndarray, device: torch.device) -> float:
    x = pixels(batch, device)
    with autocast(device):
        seen = vae.decode(vae.encode(x).latents).sample.float().clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(seen, x)))


def train_clip(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """CLIP's contrastive loss (arXiv 2103.00020); linear heads on the picture make it see shape as well as colour."""
    words = models.tokenizer(folder / "model" / "tokenizer")
    clip = models.clip(len(words)).to(device)
    corpus = described(5_000, 2_000_000 + seed, stills=True)
    targets = attributes(corpus).to(device)
    heads = torch.nn.ModuleList(
        [torch.nn.Linear(models.TEXT_WIDTH, int(c) + 1) for c in targets.max(0).values]
    )
    heads.to(device)
    run = Stretch(
        folder,
        "text",
        {"clip": clip, "heads": heads},
        [group(clip, 1e-3), group(heads, 1e-3)],
        minutes=minutes,
    )
    ids = tokenize(words, corpus.captions).to(device)
    pool = torch.from_numpy(corpus.pixels)
    single = torch.tensor([len(c.actors) == 1 for c in corpus.clips], device=device)
    run.restart_clock()
    with run:
        while run.running():
            rows = torch.randperm(len(pool))[:96]
            x = pixels(pool[rows, torch.randint(4, (len(rows),))], device)
            with autocast(device):
                out = clip(input_ids=ids[rows], pixel_values=x)
                guesses = [head(out.image_embeds) * 10 for head in heads]
            logits, same = out.logits_per_image.float(), torch.arange(len(rows), device=device)
            contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
            one = single[rows]
            named = torch.stack(
                [F.cross_entropy(g.float()[one], targets[rows][one, i]) for i, g in enumerate(guesses)]
            ).mean()
            run.update({"contrast": contrast, "named": named}, lr_scale=ramp(run.progress(), run.step))
    run.adopt_averages()
    vision, text = models.towers(clip)
    ship(folder, "image_encoder", vision)
    ship(folder, "text_encoder", text)


def attributes(corpus: Corpus) -> Tensor:
    """What each clip's first actor is: indices of noun, colour, texture and scene, (N, 4)."""
    from .render import COLOURS, TEXTURES
    from .scenes import SCENES
    from .shapes import NOUNS

    colours = list(COLOURS.values())
    rows = [
        (
            list(NOUNS).index(c.actors[0].noun),
            colours.index(c.actors[0].colour),
            TEXTURES.index(c.actors[0].texture),
            list(SCENES).index(c.scene),
        )
        for c in corpus.clips
    ]
    return torch.tensor(rows)


def train_captions(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """A text encoder that agrees with the image encoder as it is, for metrics: the one of stage `text` goes on learning with the denoiser."""
    words = models.tokenizer(folder / "model" / "tokenizer")
    vision = load_part(folder, "image_encoder").to(device)
    texts, warmth = models.captioner(len(words)).to(device), Warmth()
    modules = {"texts": texts, "warmth": warmth.to(device)}
    run = Stretch(folder, "captions", modules, [group(m, 1e-3) for m in modules.values()], minutes=minutes)
    corpus = described(5_000, 2_500_000 + seed, stills=True)
    ids, pool = tokenize(words, corpus.captions).to(device), torch.from_numpy(corpus.pixels)
    with torch.no_grad(), autocast(device):
        batches = [pixels(part, device) for part in pool[:, 0].split(256)]
        seen = torch.cat([F.normalize(vision(pixel_values=x).image_embeds.float(), dim=-1) for x in batches])
    generator = torch.Generator().manual_seed(seed + run.step)
    run.restart_clock()
    with run:
        while run.running():
            rows = torch.randperm(len(pool), generator=generator)[:128].to(device)
            with autocast(device):
                told = F.normalize(texts(input_ids=ids[rows]).text_embeds.float(), dim=-1)
            logits, same = warmth(told @ seen[rows].T), torch.arange(len(rows), device=device)
            contrast = (F.cross_entropy(logits, same) + F.cross_entropy(logits.T, same)) / 2
            run.update({"contrast": contrast}, lr_scale=ramp(run.progress(), run.step))
    run.adopt_averages()
    ship(folder, "caption_encoder", texts)


class Warmth(torch.nn.Module):
    """CLIP's learned temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.log = torch.nn.Parameter(torch.tensor(2.66))

    def forward(self, cosines: Tensor) -> Tensor:
        return cosines * self.log.exp().clamp(max=100)


STAGES = {
    "vae": train_vae,
    "text": train_clip,
    "image": train_image,
    "video": train_video,
    "captions": train_captions,
}
