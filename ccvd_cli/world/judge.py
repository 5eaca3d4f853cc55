"""Judges: small classifiers that learn from rendered truth and say what a generated clip shows.

Generated clips come out of an autoencoder, so most of what a judge learns from, and all that it is examined
on, has been through that one. A judge is trained once and kept; those of `mini`'s own clips are shipped.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..engine.hub import fingerprint
from ..outputs import whole
from .judge_material import (
    JUDGED,
    OTHER,
    WHOLE,
    Draw,
    Material,
    examination,
    material,
    one_of,
    ordinary,
    world_digest,
)
from .render import FRAMES
from .training import autocast

OnStep = Callable[[str, int, int, float | None], None]  # stage, step, total, loss
_FORMAT = 3
_UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
_EXAMINED = 300  # clips, where they are of other lengths than those that a judge was examined on
SHIPPED = Path(__file__).parent / "judges"  # judges of the embedded base's clips come with the package


@dataclass(frozen=True)
class JudgeSettings:
    """How a judge is trained. Motions are learned from fewer clips than nouns: `motion_batch` of a batch."""

    clips: int = 5_000
    steps: int = 2_000
    batch: int = 64
    motion_batch: int = 16
    lr: float = 3e-3
    examined: int = 600
    seed: int = 0


@dataclass(frozen=True)
class Autoencoder:
    """What generated clips come out of: `through` maps frames (N, 3, 64, 64) in [0, 1] to the same."""

    digest: str
    device: torch.device
    through: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, base: Any) -> Autoencoder:
        """That of an opened base (`engine.bases.contract.Base`)."""

        def through(frames: Tensor) -> Tensor:
            seen: Tensor = base.decode_video(base.encode_video(frames[None] * 2 - 1))[0]
            return (seen + 1) / 2

        return cls(fingerprint(Path(base.location), ["vae"]), base.device, through)


def _placed(x: Tensor) -> Tensor:
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
        x = self.features(_placed(frames * 2 - 1))
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
        x = self.features(_placed(x.flatten(0, 1))).flatten(1)
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
        self, clips: Tensor, looks: int = 8, windows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Attribute -> (N, classes) on the CPU, of clips (N, F, 3, H, W) in [0, 1].

        `looks`: how many frames are looked at for what they show; the motion is read from sixteen. `windows` (N, 4): x0, y0, x1, y1 of the part
        that is looked at, in fractions of the frame; the motion is read from all of it.
        """
        self.eval()
        windows = torch.tensor(WHOLE).expand(len(clips), 4) if windows is None else windows
        parts = [
            self._judge(part.to(self.device), looks, through.to(self.device))
            for part, through in zip(clips.split(16), windows.split(16), strict=True)
        ]
        return {name: torch.cat([p[name] for p in parts]).cpu() for name in self.classes}

    def _judge(self, clips: Tensor, looks: int, windows: Tensor) -> dict[str, Tensor]:
        seen = clips[:, _evenly(clips.shape[1], min(looks, clips.shape[1]))]
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
        tensors = {k: _kept(v).cpu().contiguous() for k, v in self.state_dict().items()}
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


def _kept(tensor: Tensor) -> Tensor:
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
        return _through(_resized(clips.flatten(0, 1), 64), windows.repeat_interleave(clips.shape[1], 0))
    parts = []
    for clip, (x0, y0, x1, y1) in zip(clips, windows.tolist(), strict=True):
        top, left = round(y0 * height), round(x0 * width)
        rows = slice(top, max(top + 1, round(y1 * height)))
        columns = slice(left, max(left + 1, round(x1 * width)))
        parts.append(_resized(clip[..., rows, columns], 64))
    return torch.cat(parts)


def _through(frames: Tensor, windows: Tensor) -> Tensor:
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


# --- making judges -----------------------------------------------------------------------------------


def attribute_judge(
    autoencoder: Autoencoder,
    folder: Path,
    *,
    settings: JudgeSettings | None = None,
    on_step: OnStep = lambda *_: None,
) -> Judge:
    """Judges noun, colour, texture, scene, motion and style of single actors. Kept in `folder`.

    Six questions take longer to learn than one: by default twice the clips and steps of a judge of identities.
    """
    if settings is None:
        one = JudgeSettings()
        settings = replace(one, clips=2 * one.clips, steps=2 * one.steps)
    return _judge("attributes", JUDGED, ordinary, autoencoder, folder, settings, on_step)


def identity_judge(
    subjects: Sequence[int],
    autoencoder: Autoencoder,
    folder: Path,
    *,
    settings: JudgeSettings | None = None,
    on_step: OnStep = lambda *_: None,
) -> Judge:
    """Judges `identity`: the name of one of the held-out subjects, or 'other'; also through windows. Kept in `folder`."""
    from .heldout import subject

    classes = {"identity": (*(subject(i).name for i in subjects), OTHER)}
    draw = partial(one_of, tuple(subjects))
    return _judge("identity", classes, draw, autoencoder, folder, settings, on_step)


def judges_folder(home: Path | None) -> Path:
    """Where judges are kept: in `home` if there is one, else in the platform's cache folder."""
    from platformdirs import user_cache_dir

    return (home or Path(user_cache_dir("ccvd", appauthor=False))) / "judges"


def _judge(
    kind: str,
    classes: dict[str, tuple[str, ...]],
    draw: Draw,
    autoencoder: Autoencoder,
    folder: Path,
    settings: JudgeSettings | None,
    on_step: OnStep,
) -> Judge:
    settings = settings or JudgeSettings()
    about = {"classes": classes, "world": world_digest(), "autoencoder": autoencoder.digest}
    config = {"format": _FORMAT, "kind": kind, **about, **asdict(settings)}
    key = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{kind}-{key}.safetensors"
    for there in (path, SHIPPED / path.name):
        with suppress(*_UNREADABLE):
            return Judge.load(there).to(autoencoder.device)
    started = time.monotonic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        judge = Judge(classes).to(autoencoder.device)
        drawn = material(
            draw, settings.clips, settings.seed, lambda i, n: on_step("drawing truth", i, n, None)
        )
        _train(judge, drawn, autoencoder, settings, on_step)
    judge.load_state_dict({name: _kept(tensor) for name, tensor in judge.state_dict().items()})
    judge.accuracy = examine(judge, draw, autoencoder, settings.examined, settings.seed)  # as it is kept
    judge.save(path, {**config, "seconds": round(time.monotonic() - started, 1)})
    return judge


def _train(
    judge: Judge, drawn: Material, autoencoder: Autoencoder, settings: JudgeSettings, on_step: OnStep
) -> None:
    device, names = autoencoder.device, list(judge.classes)
    moments, halved = _channels_first(drawn.moments), _channels_first(drawn.halved)
    for k in range(moments.shape[1] - 1):  # one moment stays as it was drawn
        for part in moments[:, k].split(256):  # slices are views
            part.copy_(_bytes(autoencoder.through(part.to(device).float() / 255)))
    labels, windows = torch.from_numpy(drawn.labels), torch.from_numpy(drawn.windows)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=settings.lr, weight_decay=0.02)
    shape = partial(_one_cycle, total=settings.steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    judge.train()
    for step in range(settings.steps):
        rows = torch.randint(len(moments), (settings.batch,))
        truth = dict(zip(names, labels[rows].to(device).unbind(1), strict=True))
        frames = _worn(moments[rows, torch.randint(moments.shape[1], rows.shape)].to(device)[:, None])[:, 0]
        frames = _through(frames, windows[rows])
        with autocast(device):
            answers = judge.frames(frames)
            if judge.motion is not None:
                few = rows[: settings.motion_batch]
                answers["motion"] = judge.motion(_worn(halved[few].to(device)))
        loss = torch.stack([F.cross_entropy(answers[k], truth[k][: len(answers[k])]) for k in names]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        on_step("training judge", step + 1, settings.steps, float(loss.detach()))


def _one_cycle(step: int, total: int) -> float:
    return min(1.0, (step + 1) / (0.1 * total + 1)) * (0.5 + 0.5 * math.cos(math.pi * min(step / total, 1.0)))


def _worn(clips: Tensor) -> Tensor:
    """uint8 clips (B, F, 3, H, W) -> [0, 1]: moved, lit, blurred and noisy as generated ones are."""
    x = clips.float() / 255
    batch, _, _, height, _ = x.shape
    reach = height // 16
    flat = F.pad(x.flatten(1, 2), (reach,) * 4, mode="replicate")
    top, left = torch.randint(2 * reach + 1, (2, batch)).tolist()
    moved = [
        flat[i, :, t : t + height, s : s + height] for i, (t, s) in enumerate(zip(top, left, strict=True))
    ]
    flat = torch.stack(moved)

    def amount(high: float) -> Tensor:
        return (torch.rand(batch, 1, 1, 1) * high).to(x.device)

    soft = F.avg_pool2d(F.pad(flat, (1,) * 4, mode="replicate"), 3, 1)
    flat = flat + amount(0.8) * (soft - flat)
    flat = (flat - 0.5) * (0.9 + amount(0.2)) + 0.46 + amount(0.08)
    flat = flat + amount(0.05) * torch.randn(flat.shape).to(x.device)
    return flat.clamp(0, 1).view_as(x)


@torch.no_grad()
def examine(
    judge: Judge, draw: Draw, autoencoder: Autoencoder, count: int, seed: int = 0, frames: int = FRAMES
) -> dict[str, float]:
    """Share of right answers on clips that have been through the autoencoder: per attribute, and, as "noun, styled", on those in a style."""
    exam = examination(draw, count, seed, frames)
    found: dict[str, list[Tensor]] = {name: [] for name in judge.classes}
    windows = torch.from_numpy(exam.windows).split(16)
    for clips, window in zip(_channels_first(exam.pixels).split(16), windows, strict=True):
        drawn = clips.to(autoencoder.device).float().flatten(0, 1) / 255
        seen = autoencoder.through(drawn).unflatten(0, clips.shape[:2])
        for name, chances in judge.log_probabilities(seen, windows=window).items():
            found[name].append(chances.argmax(-1))
    labels, styled = torch.from_numpy(exam.labels), torch.from_numpy(exam.styled)
    accuracy: dict[str, float] = {}
    for k, name in enumerate(judge.classes):
        right, named = torch.cat(found[name]) == labels[:, k], labels[:, k] >= 0
        parts = (
            {name: named} if name == "style" else {name: named & ~styled, f"{name}, styled": named & styled}
        )
        accuracy |= {
            part: round(float(right[of].float().mean()), 4) for part, of in parts.items() if of.any()
        }
    return accuracy


def accuracy_on(judge: Judge, draw: Draw, autoencoder: Autoencoder, frames: int) -> Mapping[str, float]:
    """As `examine` says it, of clips of so many frames: what the judge keeps is of the world's own length."""
    if frames == FRAMES:
        return judge.accuracy
    return examine(judge, draw, autoencoder, _EXAMINED, frames=frames)


def _channels_first(pixels: Any) -> Tensor:
    """uint8 (..., H, W, 3) -> (..., 3, H, W)."""
    return torch.from_numpy(pixels).movedim(-1, -3)


def _bytes(frames: Tensor) -> Tensor:
    return frames.clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
