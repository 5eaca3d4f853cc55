"""Pretraining the denoiser: pictures that know their moment, then clips.

The denoiser learns v (arXiv 2202.00512) on a zero-terminal-SNR cosine schedule. Text and denoiser are trained together: with a frozen CLIP
text encoder of this size, nouns are not learned. What a caption and a moment say about where things are is taught to the text side first.
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
from ..engine.bases.mini import at_frames, load_clock, still
from . import models
from .corpus import MATERIAL, actor_masks, described, headings, undrawn
from .looks import OWN, LookReader, looks
from .parts import INDEX, load_part, pixels, ship, tokenize
from .render import Clip
from .training import Run, autocast, group, ramp

POSE = 64, 3  # cells of 8x8 that actors are in; sine and cosine of their angle, and which way they face
POSE_STEPS = 500
PICTURES = 64  # a batch of single frames
# Until this share of a stretch, every n-th step is clips: so many of them, with so many of their frames. A frame's place follows from the
# caption and its moment, which pictures teach as well and cheapest; more frames then teach what stays the same between them.
CURRICULUM = ((0.35, 6, 40, 2), (0.70, 3, 24, 6), (1.01, 2, 12, 16))


def corpus_latents(folder: Path, device: torch.device, seed: int) -> tuple[Tensor, list[str], list[Clip]]:
    """The denoiser's material: fp16 latents (N, F, C, h, w), captions, and the clips; drawn and encoded once, and kept in `folder`."""
    from safetensors.torch import load_file, save_file

    vae: Any = None
    latents: list[Tensor] = []
    captions: list[str] = []
    clips: list[Clip] = []
    for part in MATERIAL:
        cache, texts = folder / f"{part.name}.safetensors", folder / f"{part.name}.json"
        if not (cache.exists() and texts.exists()):
            vae = vae or load_part(folder, "vae").to(device)
            corpus = described(part.count, part.seed + seed, strangers=part.strangers)
            save_file({"latents": _encoded(vae, corpus.pixels, device)}, cache)
            texts.write_text(json.dumps(corpus.captions))
        latents.append(load_file(cache)["latents"])
        captions += json.loads(texts.read_text())
        clips += undrawn(part.count, part.seed + seed, strangers=part.strangers)
    return torch.cat(latents), captions, clips


@torch.no_grad()
def _encoded(vae: Any, frames: np.ndarray, device: torch.device) -> Tensor:
    """uint8 (N, F, H, W, 3) -> fp16 latents (N, F, C, h, w)."""
    latents = []
    for part in np.array_split(frames, -(-len(frames) // 16)):
        with autocast(device):
            z = vae.encode(pixels(part, device).flatten(0, 1)).latents
        latents.append(z.unflatten(0, part.shape[:2]).half().cpu())
    return torch.cat(latents)


class Denoising:
    """The corpus as latents, and the loss of a denoiser and its text encoder on a part of it."""

    def __init__(
        self, folder: Path, device: torch.device, modules: dict[str, Any], seed: int, step: int
    ) -> None:
        """`seed` draws the corpus, and with `step`, where the run stands, what is taken from it."""
        self.unet, self.text, self.device = modules["unet"], modules["text"], device
        self.clock: Clock = modules["clock"]
        words = models.tokenizer(folder / "model" / "tokenizer")
        install_processors(self.unet, device)
        self.latents, captions, clips = corpus_latents(folder, device, seed)
        self.actors = torch.from_numpy(actor_masks(clips, self.latents.shape[-1]))
        self.headings = torch.from_numpy(headings(clips))
        self.ids, self.empty = tokenize(words, captions), tokenize(words, [""])
        self.own = int(words(OWN, add_special_tokens=False).input_ids[0])
        self.seen = torch.from_numpy(looks(clips))
        self.looks: LookReader = modules["looks"]
        self.reader = modules["poses"]
        self.schedule = models.scheduler()
        self.generator = torch.Generator().manual_seed(seed + step)

    def pictures(self, count: int, actor_weight: float) -> Tensor:
        """v-loss of single frames, without motion modules; most batches are told when their frames are."""
        rows = self._rows(count)
        moments = torch.randint(self.latents.shape[1], (count, 1), generator=self.generator)
        with still(self.unet):
            return self._loss(rows, moments, shift=1.0, actor_weight=actor_weight, told=self._coin())

    def clips(self, count: int, frames: int, actor_weight: float) -> Tensor:
        """v-loss of clips, of which only some frames are seen."""
        moments = torch.randperm(self.latents.shape[1], generator=self.generator)[:frames].sort().values
        with at_frames(self.unet, moments):
            return self._loss(
                self._rows(count), moments.expand(count, -1), shift=2.5, actor_weight=actor_weight
            )

    def poses(self, count: int) -> Tensor:
        """Where captions and moments say that actors are, and how they are turned, read off the last text state by a linear map.

        Diffusion alone takes hours to tell "moving left" from "moving right": on a single frame both look alike, so their text states
        fall together before any moment can part them.
        """
        rows = self._rows(count)
        moments = torch.randint(self.latents.shape[1], (count,), generator=self.generator)
        with autocast(self.device):
            text = self.text(input_ids=self.ids[rows].to(self.device)).last_hidden_state
            guess = self.reader(self.clock(text, moments[:, None].to(self.device))[:, 0, -1])
        cells, turned = guess.float().split([POSE[0], POSE[1]], -1)
        inside = F.avg_pool2d(self.actors[rows, moments].float(), 2).flatten(1).to(self.device)
        heading = self.headings[rows, moments].to(self.device)
        return F.binary_cross_entropy_with_logits(cells, inside) + 0.3 * F.mse_loss(turned, heading)

    def _coin(self) -> bool:
        return bool(torch.rand((), generator=self.generator) < 0.85)

    def _rows(self, count: int) -> Tensor:
        return torch.randint(len(self.latents), (count,), generator=self.generator)

    def _loss(
        self, rows: Tensor, moments: Tensor, *, shift: float, actor_weight: float, told: bool = True
    ) -> Tensor:
        """Mean squared error in v, of the same weight at every noise level, `actor_weight` times as much where actors are.

        Min-SNR weights vanish with the SNR, and at its low end the layout and the path of a clip are decided. An actor covers a tenth of
        the frame, and what the caption says of it is most of what is said: unweighted, a small model learns the scenes alone for long.
        `shift` > 1 favours high noise; `told`: frames are told their moments, (N, F). One caption in ten is left empty, for classifier-free
        guidance.
        """
        x = self.latents[rows[:, None], moments].float().to(self.device).transpose(1, 2)
        drop = torch.rand(len(rows), generator=self.generator) < 0.1
        ids = torch.where(drop[:, None], self.empty, self.ids[rows]).to(self.device)
        inside = self.actors[rows[:, None], moments].float().to(self.device)[:, None]
        weights = 1 + (actor_weight - 1) * inside
        u = torch.rand(len(rows), generator=self.generator)
        u = shift * u / (1 + (shift - 1) * u)
        steps = self.schedule.config.num_train_timesteps
        t = (u * steps).long().clamp(max=steps - 1).to(self.device)
        noise = torch.randn(x.shape, generator=self.generator).to(self.device)
        noisy = self.schedule.add_noise(x, noise, t)
        target = self.schedule.get_velocity(x, noise, t)
        known = torch.rand(len(rows), 1, generator=self.generator) < 0.9
        mine = (ids == self.own) & known.to(self.device)
        with autocast(self.device), self.looks.told(self.text, mine, self.seen[rows], self.generator):
            text = self.text(input_ids=ids).last_hidden_state
            if told:
                text = self.clock(text, moments.to(self.device)).flatten(0, 1)
            seen = self.unet(noisy, t, text).sample
        return ((seen.float() - target).square() * weights).mean() / weights.mean()


def _learn_poses(task: Denoising, run: Run, steps: int) -> None:
    """Before any picture, in two minutes: the text encoder and its clock say where things are when."""
    groups = [group(run.modules[name], lr) for name, lr in (("text", 5e-4), ("clock", 2e-3), ("poses", 2e-3))]
    optimizer = torch.optim.AdamW(groups, fused=True)
    losses: list[Tensor] = []
    for step in range(steps):
        for g in optimizer.param_groups:
            g["lr"] = g["base_lr"] * ramp(step / steps, step, warm=20)
        loss = task.poses(256)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if step % 100 == 99 or step == steps - 1:
            run.log({"poses_alone": float(torch.stack(losses[-100:]).mean())})


def _actor_weight(progress: float) -> float:
    """From 2.5 down to 1 over a stretch: weighting hurries what is learned, but its optimum is not the data's."""
    return 1 + 1.5 * min(1.0, max(0.0, (0.8 - progress) / 0.5))


def train_image(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Single frames: what things look like, and where they are when. The text encoder starts as CLIP's and learns with the denoiser."""
    unet, text = models.video_unet(models.image_unet()), load_part(folder, "text_encoder").train()
    _train(folder, device, minutes, seed, "image", unet, text, Clock(models.TEXT_WIDTH))


def train_video(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Clips: motion modules join the picture model; some steps are pictures without them, so that it stays one."""
    # A stretch without its checkpoint starts from the shipped weights: the image stage's, or an earlier video stage's.
    unet, text = load_part(folder, "unet").train(), load_part(folder, "text_encoder").train()
    _train(
        folder, device, minutes, seed, "video", unet, text, load_clock(folder / "model", models.TEXT_WIDTH)
    )


def _train(
    folder: Path,
    device: torch.device,
    minutes: float,
    seed: int,
    stage: Literal["image", "video"],
    unet: Any,
    text: Any,
    clock: Clock,
) -> None:
    modules = {
        "unet": unet,
        "text": text,
        "clock": clock,
        "poses": torch.nn.Linear(models.TEXT_WIDTH, sum(POSE)),
        "looks": LookReader(text.get_input_embeddings().weight),
    }
    rates = (1e-3, 4e-4, 1e-3, 1e-3, 1e-3)
    groups = [group(m.to(device), lr) for m, lr in zip(modules.values(), rates, strict=True)]
    run = Run(folder, stage, modules, groups, minutes=minutes)
    task = Denoising(folder, device, modules, seed, run.step)
    if stage == "image" and not run.step:
        _learn_poses(task, run, POSE_STEPS)
    run.restart_clock()
    with run:
        while run.running():
            weight = _actor_weight(run.progress())
            every, clips, frames = next((e, c, f) for share, e, c, f in CURRICULUM if run.progress() < share)
            if stage == "image" or run.step % every:
                losses = {"picture": task.pictures(PICTURES, weight)}
            else:
                losses = {f"clip{frames}": task.clips(clips, frames, weight)}
            if run.step % 4 == 0:
                losses["poses"] = 0.1 * task.poses(128)
            run.update(losses, lr_scale=ramp(run.progress(), run.step, hold=0.7))
            if run.step % 300 == 0:
                ship_denoiser(folder, run)
    ship_denoiser(folder, run)


def ship_denoiser(folder: Path, run: Run) -> None:
    """Write the averaged denoiser and text encoder as the model folder's newest."""
    for name, part in (("unet", "unet"), ("text", "text_encoder"), ("clock", "clock")):
        module = run.modules[name]
        kept = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(kept | run.averages[name].state())
        ship(folder, part, module)
        module.load_state_dict(kept)
    models.scheduler().save_pretrained(folder / "model" / "scheduler")
    (folder / "model" / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
