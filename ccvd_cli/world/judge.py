"""Judges: small classifiers that say what a generated clip shows (`judge_making` trains them)."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..outputs import whole
from .judge_material import WHOLE
from .training import autocast


def _with_coordinates(x: Tensor) -> Tensor:
    """(N, C, H, W) and two channels that say where each pixel is."""
    n, _, h, w = x.shape
    y = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
    return torch.cat([x, y, torch.linspace(-1, 1, w, device=x.device).expand(n, 1, h, w)], 1)


def _convolutions(*widths: int, halvings: int) -> nn.Sequential:
    """3x3 layers, of which the first `halvings` halve the picture."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(pairwise(widths)):
        convolution = nn.Conv2d(before, after, 3, 2 if i < halvings else 1, 1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class FrameNet(nn.Module):
    """Frames (N, 3, 64, 64) in [0, 1] -> logits per attribute; a clip's are the sum over its frames."""

    def __init__(self, classes: dict[str, int]) -> None:
        super().__init__()
        # The last layer stays at 8x8: pooled from 4x4, nouns are learned more slowly.
        self.features = _convolutions(5, 32, 64, 128, 160, halvings=3)
        self.hidden = nn.Linear(2 * 160, 128)
        self.heads = nn.ModuleDict({name: nn.Linear(128, count) for name, count in classes.items()})

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        x = self.features(_with_coordinates(frames * 2 - 1))
        x = F.relu(self.hidden(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)))
        return {name: head(x).float() for name, head in self.heads.items()}


class MotionNet(nn.Module):
    """Clips (B, F, 3, 32, 32) in [0, 1] -> logits (B, classes): where what moves is, then how it goes on."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = _convolutions(8, 24, 48, 64, halvings=3)
        self.frame = nn.Linear(64 * 16, 96)
        self.time = nn.Sequential(
            *(nn.Conv1d(96, 96, 5, padding=2), nn.BatchNorm1d(96), nn.ReLU()),
            *(nn.Conv1d(96, 96, 5, padding=2), nn.BatchNorm1d(96), nn.ReLU()),
        )
        self.head = nn.Linear(2 * 96, classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = clips * 2 - 1
        x = torch.cat(
            [x, (x - x.mean(1, keepdim=True)).abs()], 2
        )  # what moves stands out from the mean picture
        x = self.features(_with_coordinates(x.flatten(0, 1))).flatten(1)
        x = F.relu(self.frame(x)).unflatten(0, clips.shape[:2]).transpose(1, 2)
        x = self.time(x)
        return self.head(torch.cat([x.mean(2), x.amax(2)], 1)).float()


class Judge(nn.Module):
    """Says what clips show. `classes`: attribute -> names; `accuracy`: its share of right answers."""

    def __init__(self, classes: dict[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.classes = classes
        self.accuracy: dict[str, float] = {}
        self.frames = FrameNet({k: len(v) for k, v in classes.items() if k != "motion"})
        self.motion = MotionNet(len(classes["motion"])) if "motion" in classes else None

    @property
    def device(self) -> torch.device:
        return self.frames.hidden.weight.device

    @property
    def digest(self) -> str:
        """sha256 of its weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def log_probabilities(
        self, clips: Tensor, frames_read: int = 8, windows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Attribute -> (N, classes) on the CPU, of clips (N, F, 3, H, W) in [0, 1].

        `frames_read`: how many frames are looked at for what they show; the motion is read from sixteen. `windows` (N, 4): x0, y0, x1, y1 of
        the part that is looked at, in fractions of the frame; the motion is read from all of it.
        """
        self.eval()
        windows = torch.tensor(WHOLE).expand(len(clips), 4) if windows is None else windows
        parts = [
            self._judge(part.to(self.device), frames_read, window.to(self.device))
            for part, window in zip(clips.split(16), windows.split(16), strict=True)
        ]
        return {name: torch.cat([p[name] for p in parts]).cpu() for name in self.classes}

    def _judge(self, clips: Tensor, frames_read: int, windows: Tensor) -> dict[str, Tensor]:
        seen = clips[:, _evenly(clips.shape[1], min(frames_read, clips.shape[1]))]
        with autocast(self.device):
            logits = self.frames(_seen(seen.float(), windows))
            found = {k: v.log_softmax(-1).unflatten(0, seen.shape[:2]).sum(1) for k, v in logits.items()}
            if self.motion is not None:
                sixteen = clips[:, _evenly(clips.shape[1], 16)]
                small = _resized(sixteen.flatten(0, 1).float(), 32).unflatten(0, sixteen.shape[:2])
                found["motion"] = self.motion(small)
        return {k: v.log_softmax(-1) for k, v in found.items()}

    def read(self, clips: Tensor) -> list[dict[str, str]]:
        """What each clip (N, F, 3, H, W) in [0, 1] shows: attribute -> name."""
        best = {k: v.argmax(-1).tolist() for k, v in self.log_probabilities(clips).items()}
        return [{k: self.classes[k][found[i]] for k, found in best.items()} for i in range(len(clips))]

    def save(self, path: Path, config: dict[str, Any]) -> None:
        """One safetensors file, whole or not at all; its metadata says how it was made and how good it is."""
        facts = {"classes": self.classes, "accuracy": self.accuracy, "config": config}
        tensors = {k: halved(v).cpu().contiguous() for k, v in self.state_dict().items()}
        with whole(path) as (part,):
            part.write_bytes(save(tensors, {k: json.dumps(v) for k, v in facts.items()}))

    @classmethod
    def load(cls, path: Path) -> Judge:
        with safe_open(path, "pt") as file:
            facts = {k: json.loads(v) for k, v in file.metadata().items()}
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  not a mapping
        judge = cls({k: tuple(v) for k, v in facts["classes"].items()})
        judge.load_state_dict(tensors)
        judge.accuracy = facts["accuracy"]
        return judge.eval()


def halved(tensor: Tensor) -> Tensor:
    """In half precision, but for counts."""
    return tensor.half() if tensor.is_floating_point() else tensor


def _evenly(frames: int, count: int) -> list[int]:
    return [round(i) for i in torch.linspace(0, frames - 1, count).tolist()]


def _seen(clips: Tensor, windows: Tensor) -> Tensor:
    """What windows (N, 4) show of clips (N, F, 3, H, W), (N * F, 3, 64, 64).

    Of frames that are no square a window is cut out first: squeezed with all the rest, its detail would be gone.
    """
    height, width = clips.shape[-2:]
    if height == width:
        return through(_resized(clips.flatten(0, 1), 64), windows.repeat_interleave(clips.shape[1], 0))
    parts = []
    for clip, (x0, y0, x1, y1) in zip(clips, windows.tolist(), strict=True):
        top, left = round(y0 * height), round(x0 * width)
        rows = slice(top, max(top + 1, round(y1 * height)))
        columns = slice(left, max(left + 1, round(x1 * width)))
        parts.append(_resized(clip[..., rows, columns], 64))
    return torch.cat(parts)


def through(frames: Tensor, windows: Tensor) -> Tensor:
    """What windows (N, 4) show of frames (N, 3, H, W), stretched to the frame's size."""
    x0, y0, x1, y1 = windows.to(frames).unbind(1)
    zero = torch.zeros_like(x0)
    theta = torch.stack(
        [torch.stack([x1 - x0, zero, x0 + x1 - 1], 1), torch.stack([zero, y1 - y0, y0 + y1 - 1], 1)], 1
    )
    grid = F.affine_grid(theta, list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)


def _resized(frames: Tensor, size: int) -> Tensor:
    """(N, 3, H, W) -> (N, 3, size, size)."""
    if frames.shape[-2:] == (2 * size, 2 * size):
        return F.avg_pool2d(frames, 2)
    if frames.shape[-2:] == (size, size):
        return frames
    return F.interpolate(frames, (size, size), mode="bilinear", antialias=True, align_corners=False)
