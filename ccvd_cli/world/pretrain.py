"""Pretraining `mini` on the world, stage by stage: autoencoder, CLIP, pictures, video. Every stage resumes where it stopped.

The denoiser learns v (arXiv 2202.00512) on a zero-terminal-SNR cosine schedule, weighted by min-SNR-5 (arXiv 2303.09556).
Text and denoiser are trained together: with a frozen CLIP text encoder of this size, nouns are not learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.attention import Clock, install_processors
from ..engine.bases.mini import at_frames, still
from . import models
from .corpus import Corpus, actor_masks, described, varied
from .training import Run, autocast

Stage = Literal["vae", "text", "image", "video"]
CORPUS = 10_000  # clips
PICTURES = 64  # a batch of single frames
# Until this share of a stretch, every n-th step is clips: so many of them, with so many of their frames. A frame's place follows from the
# caption and its moment, which pictures teach as well and cheapest; more frames then teach what stays the same between them.
CURRICULUM = ((0.50, 5, 56, 2), (0.80, 2, 24, 6), (1.01, 2, 12, 16))
INDEX = {"_class_name": "AnimateDiffPipeline", "frame_clock": "sinusoidal"}
LAYOUT = {"vae": "vae", "clip": "image_encoder", "text_encoder": "text_encoder", "unet": "unet"}


def pixels(batch: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """uint8 (..., H, W, 3) -> float (..., 3, H, W) in [-1, 1]."""
    x = torch.as_tensor(batch).to(device)
    return x.movedim(-1, -3).float() / 127.5 - 1


def _ramp(progress: float, step: int, warm: int = 60, hold: float = 0.55) -> float:
    """Warm-up, plateau, linear decay to 2%."""
    fall = 1.0 if progress < hold else 0.02 + 0.98 * (1 - progress) / (1 - hold)
    return min(1.0, (step + 1) / warm) * fall


def _group(module: torch.nn.Module, lr: float) -> dict[str, Any]:
    return {"params": [p for p in module.parameters() if p.requires_grad], "lr": lr, "base_lr": lr}


def train_vae(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """L1, plus L1 on pooled pictures for the hues; latents are pushed to zero mean and unit variance per channel."""
    vae = models.vae().to(device)
    run = Run(folder, "vae", {"vae": vae}, [_group(vae, 2e-3)], minutes=minutes)
    pool = torch.from_numpy(varied(24_000, 1_000_000 + seed + run.step))
    generator = torch.Generator().manual_seed(seed + run.step)
    run.restart_clock()
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
            "unit": 0.05 * unit,
        }
        run.update(losses, lr_scale=_ramp(run.progress(), run.step))
    run.save()
    run.adopt_averages()
    vae.eval()
    run.log({"psnr_world": _psnr(vae, described(100, 77_000_000, stills=True).pixels[:, 0], device)})
    ship(folder, "vae", vae)


@torch.no_grad()
def _psnr(vae: Any, batch: np.ndarray, device: torch.device) -> float:
    x = pixels(batch, device)
    with autocast(device):
        seen = vae.decode(vae.encode(x).latents).sample.float().clamp(-1, 1)
    return float(10 * torch.log10(4 / F.mse_loss(seen, x)))


def ship(folder: Path, name: str, module: Any) -> None:
    """Write a part in fp16 safetensors where diffusers and transformers look for it."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    target = folder / "model" / LAYOUT[name]
    if name in ("text_encoder", "clip"):
        module.save_pretrained(target, state_dict=half)
    else:
        _save_diffusers(module, target, half)


def _save_diffusers(module: Any, target: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    target.mkdir(parents=True, exist_ok=True)
    module.register_to_config(_name_or_path="")  # where a stretch started from is nobody's business
    module.save_config(target)
    save_file({k: v.contiguous() for k, v in state.items()}, target / "diffusion_pytorch_model.safetensors")


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
    run = Run(
        folder,
        "text",
        {"clip": clip, "heads": heads},
        [_group(clip, 1e-3), _group(heads, 1e-3)],
        minutes=minutes,
    )
    ids = tokenize(words, corpus.captions).to(device)
    pool = torch.from_numpy(corpus.pixels)
    single = torch.tensor([len(c.actors) == 1 for c in corpus.clips], device=device)
    run.restart_clock()
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
        run.update({"contrast": contrast, "named": named}, lr_scale=_ramp(run.progress(), run.step))
    run.save()
    run.adopt_averages()
    ship(folder, "clip", clip)


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


def tokenize(words: Any, captions: list[str]) -> Tensor:
    """Captions -> (N, 24) token ids, padded."""
    return words(
        captions, padding="max_length", truncation=True, max_length=models.TEXT_LENGTH, return_tensors="pt"
    ).input_ids


def corpus_latents(folder: Path, device: torch.device, clips: int, seed: int) -> tuple[Tensor, list[str]]:
    """The denoiser's material, drawn and encoded once: fp16 latents (N, F, C, h, w) and captions; kept in `folder`."""
    from safetensors.torch import load_file, save_file

    cache, texts = folder / "latents.safetensors", folder / "captions.json"
    if cache.exists() and texts.exists():
        return load_file(cache)["latents"], json.loads(texts.read_text())
    vae = load_part(folder, "vae").to(device)
    corpus = described(clips, 3_000_000 + seed)
    latents = torch.empty(clips, corpus.pixels.shape[1], models.LATENT_CHANNELS, 16, 16, dtype=torch.float16)
    with torch.no_grad(), autocast(device):
        for i in range(0, clips, 16):
            x = pixels(corpus.pixels[i : i + 16], device)
            latents[i : i + 16] = vae.encode(x.flatten(0, 1)).latents.unflatten(0, x.shape[:2]).half().cpu()
    save_file({"latents": latents}, cache)
    texts.write_text(json.dumps(corpus.captions))
    return latents, corpus.captions


def load_part(folder: Path, name: str) -> Any:
    """A shipped part, in float32."""
    from diffusers import AutoencoderTiny, UNetMotionModel
    from transformers import CLIPModel, CLIPTextModel

    kinds: dict[str, Any] = {
        "vae": AutoencoderTiny,
        "clip": CLIPModel,
        "text_encoder": CLIPTextModel,
        "unet": UNetMotionModel,
    }
    return kinds[name].from_pretrained(folder / "model" / LAYOUT[name]).float().eval()


class Denoising:
    """The corpus as latents, and the loss of a denoiser and its text encoder on a part of it."""

    def __init__(
        self, folder: Path, device: torch.device, words: Any, unet: Any, text: Any, seed: int
    ) -> None:
        self.unet, self.text, self.device = unet, text, device
        self.clock = Clock(models.TEXT_WIDTH, device)
        install_processors(unet, device, self.clock)
        self.latents, captions = corpus_latents(folder, device, CORPUS, seed)
        self.actors = torch.from_numpy(actor_masks(CORPUS, 3_000_000 + seed, self.latents.shape[-1]))
        self.ids, self.empty = tokenize(words, captions), tokenize(words, [""])
        self.alphas = models.scheduler().alphas_cumprod.to(device)
        self.generator = torch.Generator().manual_seed(seed)

    def pictures(self, count: int, actor_weight: float) -> Tensor:
        """v-loss of single frames, without motion modules; three batches of four are told when its frames are."""
        rows = self._rows(count)
        moments = torch.randint(self.latents.shape[1], (count, 1), generator=self.generator)
        self.clock.at = moments[:, 0] if self._coin() else None
        with still(self.unet):
            return self._loss(rows, moments, shift=1.5, actor_weight=actor_weight)

    def clips(self, count: int, frames: int, actor_weight: float) -> Tensor:
        """v-loss of clips, of which only some frames are seen."""
        moments = torch.randperm(self.latents.shape[1], generator=self.generator)[:frames].sort().values
        self.clock.at = moments
        with at_frames(self.unet, moments):
            return self._loss(
                self._rows(count), moments.expand(count, -1), shift=2.5, actor_weight=actor_weight
            )

    def _coin(self) -> bool:
        return bool(torch.rand((), generator=self.generator) < 0.75)

    def _rows(self, count: int) -> Tensor:
        return torch.randint(len(self.latents), (count,), generator=self.generator)

    def _loss(self, rows: Tensor, moments: Tensor, shift: float, actor_weight: float) -> Tensor:
        """Mean squared error in v, of the same weight at every noise level, `actor_weight` times as much where actors are.

        Min-SNR weights vanish with the SNR, and at its low end the layout and the path of a clip are decided. An actor covers a tenth of
        the frame, and what the caption says of it is most of what is said: unweighted, a small model learns the scenes alone for long.
        `shift` > 1 favours high noise. One caption in ten is left empty, for classifier-free guidance.
        """
        x = self.latents[rows[:, None], moments].float().to(self.device).transpose(1, 2)
        drop = torch.rand(len(rows), generator=self.generator) < 0.1
        told = torch.where(drop[:, None], self.empty, self.ids[rows]).to(self.device)
        inside = self.actors[rows[:, None], moments].float().to(self.device)[:, None]
        weights = 1 + (actor_weight - 1) * inside
        u = torch.rand(len(rows), generator=self.generator)
        u = shift * u / (1 + (shift - 1) * u)
        t = (u * len(self.alphas)).long().clamp(max=len(self.alphas) - 1).to(self.device)
        alpha = self.alphas[t].view(-1, 1, 1, 1, 1)
        noise = torch.randn(x.shape, generator=self.generator).to(self.device)
        noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * x
        with autocast(self.device):
            text = self.text(input_ids=told).last_hidden_state
            seen = self.unet(noisy, t, text).sample
        return ((seen.float() - target).square() * weights).mean() / weights.mean()


def _actor_weight(progress: float) -> float:
    """From 4 down to 1 over a stretch: weighting hurries what is learned, but its optimum is not the data's."""
    return 1 + 3 * min(1.0, max(0.0, (0.9 - progress) / 0.6))


def train_image(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Single frames: what things look like. The text encoder starts as CLIP's and learns with the denoiser."""
    words = models.tokenizer(folder / "model" / "tokenizer")
    unet, text = models.video_unet(models.image_unet()).to(device), models.text_encoder(len(words)).to(device)
    text.load_state_dict(_text_tower(folder))
    groups = [_group(unet, 1e-3), _group(text, 4e-4)]
    run = Run(folder, "image", {"unet": unet, "text": text}, groups, minutes=minutes)
    task = Denoising(folder, device, words, unet, text, seed + run.step)
    run.restart_clock()
    while run.running():
        loss = task.pictures(PICTURES, _actor_weight(run.progress()))
        run.update({"picture": loss}, lr_scale=_ramp(run.progress(), run.step, hold=0.7))
    run.save()
    ship_denoiser(folder, run)


def train_video(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Clips: motion modules join the picture model; some steps are pictures without them, so that it stays one."""
    words = models.tokenizer(folder / "model" / "tokenizer")
    # A stretch without its checkpoint starts from the shipped weights: the image stage's, or an earlier video stage's.
    unet, text = (
        load_part(folder, "unet").train().to(device),
        load_part(folder, "text_encoder").train().to(device),
    )
    moving = [p for n, p in unet.named_parameters() if "motion_modules" in n]
    rest = [p for n, p in unet.named_parameters() if "motion_modules" not in n]
    groups = [
        {"params": moving, "lr": 1e-3, "base_lr": 1e-3},
        {"params": rest, "lr": 8e-4, "base_lr": 8e-4},
        _group(text, 3e-4),
    ]
    run = Run(folder, "video", {"unet": unet, "text": text}, groups, minutes=minutes)
    task = Denoising(folder, device, words, unet, text, seed + run.step)
    run.restart_clock()
    while run.running():
        weight = _actor_weight(run.progress())
        every, clips, frames = next((e, c, f) for share, e, c, f in CURRICULUM if run.progress() < share)
        if run.step % every:
            losses = {"picture": task.pictures(PICTURES, weight)}
        else:
            losses = {f"clip{frames}": task.clips(clips, frames, weight)}
        run.update(losses, lr_scale=_ramp(run.progress(), run.step, hold=0.8))
        if run.step % 300 == 0:
            ship_denoiser(folder, run)
    run.save()
    ship_denoiser(folder, run)


def _text_tower(folder: Path) -> dict[str, Tensor]:
    """The weights of CLIP's text tower, as the text encoder names them."""
    tower = load_part(folder, "clip").text_model
    names = models.text_encoder(tower.config.vocab_size).state_dict()
    state = tower.state_dict()
    return {k: state[k.removeprefix("text_model.")] for k in names}


def ship_denoiser(folder: Path, run: Run) -> None:
    """Write the averaged denoiser and text encoder as the model folder's newest."""
    for name, module in (("unet", run.modules["unet"]), ("text_encoder", run.modules["text"])):
        kept = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(kept | run.averages["text" if name == "text_encoder" else name].state())
        ship(folder, name, module)
        module.load_state_dict(kept)
    models.scheduler().save_pretrained(folder / "model" / "scheduler")
    (folder / "model" / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")


STAGES = {"vae": train_vae, "text": train_clip, "image": train_image, "video": train_video}
