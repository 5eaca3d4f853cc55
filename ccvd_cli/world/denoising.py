"""Pretraining the denoiser: pictures that know their moment, then clips.

The denoiser learns v (arXiv 2202.00512) on a zero-terminal-SNR cosine schedule. Text and denoiser are trained together: with a frozen CLIP
text encoder of this size, nouns are not learned. What a caption and a moment say about where things are is taught to the text side first.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.attention import install_processors
from ..engine.bases.mini import at_frames, still
from ..engine.told import Atlas, Clock, load
from . import models
from .boxes import all_boxes, all_prompts, centres_in, hearing_boxes, loose_boxes
from .captions import tells_place
from .corpus import headings
from .kept_latents import corpus_latents
from .looks import LOOK, OWN, looks
from .parts import INDEX, load_part, ship, tokenize
from .render import boxes
from .training import Stretch, autocast, group, ramp
from .word_reader import WordReader

POSE = 64, 3  # cells of 8x8 that actors are in; sine and cosine of their angle, and which way they face
POSE_STEPS = 500
PICTURES = 64  # a batch of single frames
BOXED = 0.6  # of batches: every actor has a box and a prompt of its own
RATES = {"image": (4e-4, 1e-3), "video": (2.5e-4, 6e-4)}  # of the text encoder, and of the rest
# Until this share of a stretch, every n-th step is clips: so many of them, with so many of their frames. A frame's place follows from the
# caption and its moment, which pictures teach as well and cheapest; more frames then teach what stays the same between them.
CURRICULUM = ((0.55, 0, 0, 0), (0.75, 3, 24, 6), (1.01, 2, 12, 16))


def token_of(words: Any, word: str) -> int:
    """The id of a word that the tokenizer does not cut: at the end of one it is another than within."""
    (token,) = words(word, add_special_tokens=False).input_ids
    return int(token)


class Denoising:
    """The corpus as latents, and the loss of a denoiser and its text encoder on a part of it."""

    def __init__(
        self, folder: Path, device: torch.device, modules: dict[str, Any], seed: int, step: int
    ) -> None:
        """`seed` draws the corpus, and with `step`, where the run stands, what is taken from it."""
        self.unet, self.text, self.device = modules["unet"], modules["text"], device
        self.clock: Clock = modules["clock"]
        self.atlas: Atlas = modules["atlas"]
        words = models.tokenizer(folder / "model" / "tokenizer")
        install_processors(self.unet, device)
        self.latents, captions, clips = corpus_latents(folder, device, seed)
        self.actors = all_boxes(clips, boxes)
        self.headings = torch.from_numpy(headings(clips))
        self.ids, self.empty = tokenize(words, captions), tokenize(words, [""])
        self.own, self.looks = token_of(words, OWN), modules["looks"]
        self.seen = torch.from_numpy(looks(clips))
        rng = np.random.default_rng(seed + step)
        self.boxes = all_boxes(clips, lambda clip: loose_boxes(clip, rng))
        self.alone = tokenize(words, all_prompts(clips, rng)).unflatten(0, (len(clips), -1))
        self.present = torch.arange(self.alone.shape[1]) < torch.tensor([[len(c.actors)] for c in clips])
        self.crowds = self.present[:, 1].nonzero()[:, 0]
        told = [tells_place(clip, caption) for clip, caption in zip(clips, captions, strict=True)]
        self.placed = torch.tensor(told).nonzero()[:, 0]
        self.reader = modules["poses"]
        self.schedule = models.scheduler()
        self.generator = torch.Generator().manual_seed(seed + step)

    def pictures(self, count: int, actor_weight: float, *, boxed: bool) -> Tensor:
        """v-loss of single frames, without motion modules; most batches are told when their frames are."""
        rows = self._rows(count, boxed=boxed)
        moments = torch.randint(self.latents.shape[1], (count, 1), generator=self.generator)
        told = self.coin(0.85)
        with still(self.unet):
            return self._loss(rows, moments, shift=1.0, actor_weight=actor_weight, told=told, boxed=boxed)

    def clips(self, count: int, frames: int, actor_weight: float, *, boxed: bool) -> Tensor:
        """v-loss of clips, of which only some frames are seen."""
        rows = self._rows(count, boxed=boxed)
        moments = torch.randperm(self.latents.shape[1], generator=self.generator)[:frames].sort().values
        with at_frames(self.unet, moments):
            frames_of = moments.expand(count, -1)
            return self._loss(rows, frames_of, shift=2.0, actor_weight=actor_weight, boxed=boxed)

    def poses(self, count: int) -> Tensor:
        """Where captions and moments say that actors are, and how they are turned, read off the last text state by a linear map.

        Diffusion alone takes hours to tell "moving left" from "moving right": on a single frame both look alike, so their text states
        fall together before any moment can part them.
        """
        one = torch.arange(count) % 2 == 1  # rows that are told of one actor, and its box
        rows = torch.where(one, self._rows(count, boxed=True), self._rows(count, boxed=False))
        moments = torch.randint(self.latents.shape[1], (count,), generator=self.generator)
        who = self._anyone(rows)
        ids = torch.where(one[:, None], self.alone[rows, who], self.ids[rows]).to(self.device)
        inside = self._inside(rows, moments[:, None])[:, 0]
        inside[one] = centres_in(self.actors[rows, who, moments][one], inside.shape[-1])
        with autocast(self.device):
            text = self.text(input_ids=ids).last_hidden_state
            told = self.clock(text, moments[:, None].to(self.device))[:, 0]
            placed = self.atlas(told, self.boxes[rows, who, moments].to(self.device))
            guess = self.reader(torch.where(one[:, None].to(self.device), placed[:, -1], told[:, -1]))
        cells, turned = guess.float().split([POSE[0], POSE[1]], -1)
        inside = F.avg_pool2d(inside.float(), 2).flatten(1).to(self.device)
        heading = self.headings[rows, moments].to(self.device)
        return F.binary_cross_entropy_with_logits(cells, inside) + 0.3 * F.mse_loss(turned, heading)

    def coin(self, chance: float) -> bool:
        return bool(torch.rand((), generator=self.generator) < chance)

    def _rows(self, count: int, *, boxed: bool) -> Tensor:
        """Clips at random: for boxes half of them with several actors, for captions alone those that tell where single actors are.

        A path that may begin anywhere is a blur on every single frame, and motion is learned from single frames.
        """
        if not boxed:
            return self.placed[torch.randint(len(self.placed), (count,), generator=self.generator)]
        rows = torch.randint(len(self.latents), (count,), generator=self.generator)
        among = torch.randint(len(self.crowds), (count // 2,), generator=self.generator)
        rows[: count // 2] = self.crowds[among]
        return rows[torch.randperm(count, generator=self.generator)]

    def _loss(
        self,
        rows: Tensor,
        moments: Tensor,
        *,
        shift: float,
        actor_weight: float,
        told: bool = True,
        boxed: bool = False,
    ) -> Tensor:
        """Mean squared error in v, of the same weight at every noise level, `actor_weight` times as much where actors are.

        Min-SNR weights vanish with the SNR, and at its low end the layout and the path of a clip are decided. An actor covers a tenth of
        the frame, and what the caption says of it is most of what is said: unweighted, a small model learns the scenes alone for long.
        `shift` > 1 favours high noise; `told`: frames are told their moments, (N, F); `boxed`: actors have prompts of their own in their
        boxes. One clip in ten is told nothing, for classifier-free guidance.
        """
        x = self.latents[rows[:, None], moments].float().to(self.device).transpose(1, 2)
        inside = self._inside(rows, moments).float().to(self.device)[:, None]
        weights = 1 + (actor_weight - 1) * inside
        u = torch.rand(len(rows), generator=self.generator)
        u = shift * u / (1 + (shift - 1) * u)
        steps = self.schedule.config.num_train_timesteps
        t = (u * steps).long().clamp(max=steps - 1).to(self.device)
        noise = torch.randn(x.shape, generator=self.generator).to(self.device)
        noisy = self.schedule.add_noise(x, noise, t)
        target = self.schedule.get_velocity(x, noise, t)
        drop = torch.rand(len(rows), generator=self.generator) < 0.1
        with autocast(self.device):
            if boxed:
                text, listening = self._told_in_boxes(rows, moments, drop, told=told)
            else:
                text, listening = self._told(rows, moments, drop, told=told), nullcontext()
            with listening:
                seen = self.unet(noisy, t, text).sample
        return ((seen.float() - target).square() * weights).mean() / weights.mean()

    def _told(self, rows: Tensor, moments: Tensor, drop: Tensor, *, told: bool) -> Tensor:
        """Text states of captions, (N, T, D), or of every frame, (N * F, T, D)."""
        ids = torch.where(drop[:, None], self.empty, self.ids[rows])
        text = self._read(ids, self.seen[rows])
        return self.clock(text, moments.to(self.device)).flatten(0, 1) if told else text

    def _told_in_boxes(
        self, rows: Tensor, moments: Tensor, drop: Tensor, *, told: bool
    ) -> tuple[Tensor, AbstractContextManager[None]]:
        """Text states of captions and, behind them, of every box; and the context in which the denoiser knows which is for whom.

        One caption in six is left out where the boxes are told, and in one clip of six but one box is.
        """
        count, frames = moments.shape
        alone, silent = torch.rand(2, count, generator=self.generator) < 1 / 6
        chosen = torch.arange(self.present.shape[1]) == self._anyone(rows)[:, None]
        present = self.present[rows] & ~drop[:, None] & (chosen | ~alone[:, None])
        voices = 1 + present.shape[1]
        ids = torch.cat([self.ids[rows][:, None], self.alone[rows]], 1)  # (N, V, T)
        ids[:, 0] = torch.where((drop | silent)[:, None], self.empty, ids[:, 0])
        seen = self.seen[rows]
        each = seen[:, :, None].expand(-1, -1, seen.shape[1], -1)
        text = self._read(ids.flatten(0, 1), torch.cat([seen[:, None], each], 1).flatten(0, 1))
        if told:
            text = self.clock(text, moments.repeat_interleave(voices, 0).to(self.device))
            text = text.unflatten(0, (count, voices)).transpose(1, 2)  # (N, F, V, T, D)
        else:
            text = text.unflatten(0, (count, voices))[:, None].expand(-1, frames, -1, -1, -1)
        where = self.boxes[rows[:, None], :, moments].to(self.device)  # (N, F, V - 1, 4)
        text = torch.cat([text[:, :, :1], self.atlas(text[:, :, 1:], where)], 2)
        there = present.repeat_interleave(frames, 0).to(self.device)
        sizes = [self.latents.shape[-1] >> k for k in range(len(models.CHANNELS))]
        return text.flatten(2, 3).flatten(0, 1), hearing_boxes(
            self.unet, where.flatten(0, 1), there, ids.shape[-1], sizes
        )

    def _anyone(self, rows: Tensor) -> Tensor:
        """One of the actors of every clip, (N,)."""
        count = self.present[rows].sum(1)
        return (torch.rand(len(rows), generator=self.generator) * count).long()

    def _inside(self, rows: Tensor, moments: Tensor) -> Tensor:
        """Where any actor is: (N, F, h, w), true or false."""
        return centres_in(self.actors[rows[:, None], :, moments], self.latents.shape[-1]).any(2)

    def _read(self, ids: Tensor, seen: Tensor) -> Tensor:
        """Text states (N, T, D) of ids (N, T); nine in ten rows are told the looks (N, 3, LOOK) of whom they call their own."""
        known = torch.rand(len(ids), 1, generator=self.generator) < 0.9
        mine = ((ids == self.own) & known).to(self.device)
        with self.looks.told(self.text, mine, seen, self.generator):
            text: Tensor = self.text(input_ids=ids.to(self.device)).last_hidden_state
        return text


def _learn_poses(task: Denoising, run: Stretch, steps: int, rates: dict[str, float]) -> None:
    """Before any picture, in two minutes: the text encoder, its clock and its atlas say where things are when."""
    groups = [group(run.modules[name], lr) for name, lr in rates.items()]
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
    """From 3.5 down to 1 over a stretch: weighting hurries what is learned, but its optimum is not the data's."""
    return 1 + 2.5 * min(1.0, max(0.0, (0.85 - progress) / 0.5))


def train_image(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Single frames: what things look like, and where they are when. The text encoder starts as CLIP's and learns with the denoiser."""
    unet, text = models.video_unet(models.image_unet()), load_part(folder, "text_encoder").train()
    clock, atlas = Clock(models.TEXT_WIDTH), Atlas(models.TEXT_WIDTH)
    _train(folder, device, minutes, seed, "image", unet, text, clock, atlas)


def train_video(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
    """Clips: motion modules join the picture model; some steps are pictures without them, so that it stays one."""
    # A stretch without its checkpoint starts from the shipped weights: the image stage's, or an earlier video stage's.
    unet, text = load_part(folder, "unet").train(), load_part(folder, "text_encoder").train()
    model, width = folder / "model", models.TEXT_WIDTH
    clock = load(Clock, model / "clock", width) or Clock(width)
    atlas = load(Atlas, model / "atlas", width) or Atlas(width)
    _train(folder, device, minutes, seed, "video", unet, text, clock, atlas)


def _train(
    folder: Path,
    device: torch.device,
    minutes: float,
    seed: int,
    stage: Literal["image", "video"],
    unet: Any,
    text: Any,
    clock: Clock,
    atlas: Atlas,
) -> None:
    modules = {
        "unet": unet,
        "text": text,
        "clock": clock,
        "poses": torch.nn.Linear(models.TEXT_WIDTH, sum(POSE)),
        "looks": WordReader(LOOK, text.get_input_embeddings().weight),
        "atlas": atlas,
    }
    fresh = {"poses": 1e-3, "looks": 1e-3}  # every stretch has new ones
    text_lr, lr = RATES[stage]
    groups = [
        group(m.to(device), fresh.get(name, text_lr if name == "text" else lr)) for name, m in modules.items()
    ]
    run = Stretch(folder, stage, modules, groups, minutes=minutes)
    task = Denoising(folder, device, modules, seed, run.step)
    if stage == "image" and not run.step:
        _learn_poses(task, run, POSE_STEPS, {"text": 5e-4, "clock": 2e-3, "atlas": 3e-3, "poses": 2e-3})
    elif not atlas.outwards.weight.any():  # weights from before there was an atlas
        _learn_poses(task, run, POSE_STEPS, {"atlas": 3e-3, "poses": 1e-3})
    run.restart_clock()
    with run:
        while run.running():
            weight = _actor_weight(run.progress())
            every, clips, frames = next((e, c, f) for share, e, c, f in CURRICULUM if run.progress() < share)
            boxed = task.coin(BOXED)
            what = "boxed " * boxed
            if stage == "image" or not every or run.step % every:
                losses = {f"{what}picture": task.pictures(PICTURES, weight, boxed=boxed)}
            else:
                losses = {f"{what}clip{frames}": task.clips(clips, frames, weight, boxed=boxed)}
            if run.step % 4 == 0:
                losses["poses"] = 0.2 * task.poses(128)
            run.update(losses, lr_scale=ramp(run.progress(), run.step, hold=0.7))
            if run.step % 300 == 0:
                ship_denoiser(folder, run)
    ship_denoiser(folder, run)


def ship_denoiser(folder: Path, run: Stretch) -> None:
    """Write the averaged denoiser and text encoder as the model folder's newest."""
    for name, part in (("unet", "unet"), ("text", "text_encoder"), ("clock", "clock"), ("atlas", "atlas")):
        module = run.modules[name]
        kept = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(kept | run.averages[name].state())
        ship(folder, part, module)
        module.load_state_dict(kept)
    models.scheduler().save_pretrained(folder / "model" / "scheduler")
    (folder / "model" / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
