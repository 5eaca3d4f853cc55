"""Making judges: they are trained and examined on rendered truth, and kept.

Generated clips come out of an autoencoder, so most of what a judge learns from, and all that it is examined
on, has been through that one. A judge is trained once; those of `mini`'s own clips are shipped.
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
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from ..engine.hub import fingerprint
from ..engine.optimise import REPORT_EVERY
from .judge import Judge, halved, through
from .judge_material import (
    JUDGED,
    OTHER,
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
    judge.load_state_dict({name: halved(tensor) for name, tensor in judge.state_dict().items()})
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
        frames = through(frames, windows[rows])
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
        if (step + 1) % REPORT_EVERY == 0 or step == settings.steps - 1:
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
