"""A concept, measured: clips are made for its questions, scored while they are at hand, and kept with their scores.

What is scored: how well a clip fits its prompt (clip_t), how much it looks like what a subject or style was learned from (clip_i, dino_i),
how much it moves like the clips that a motion was learned from (motion), how consecutive frames agree (t_cons), and how much moves at
all (dynamic).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.bases.contract import Base
from ..engine.concept import Learner
from ..engine.media_out import write_clip
from ..engine.sample import generate_batch
from ..settings import SampleSettings
from .encoders import ImageEncoder, TextImageEncoder
from .metrics import Estimate, estimate, image_alignment, temporal_consistency, text_alignment
from .motion import dynamic_degree, motion_fidelity
from .questions import Question

OnStep = Callable[[int, int], None]
SCORES = "scores.jsonl"


@dataclass(frozen=True)
class References:
    """What clips of a concept are held against: embeddings (R, E) by encoder, and clips (F, 3, H, W) in [0, 1]. Any may be missing."""

    images: Mapping[str, Tensor] = field(default_factory=dict)
    clips: Sequence[Tensor] = ()


@dataclass(frozen=True)
class Examiner:
    """Scores clips. `clip` judges prompts and pictures, `dino` pictures alone."""

    clip: TextImageEncoder
    dino: ImageEncoder | None = None

    @property
    def names(self) -> list[str]:
        return [encoder.name for encoder in (self.clip, self.dino) if encoder]

    def scores(self, clip: Tensor, question: Question, references: References) -> dict[str, float]:
        """By metric, of a clip (F, 3, H, W) in [0, 1]. Metrics whose reference is missing are left out."""
        seen = self.clip.images(clip)
        found = {"clip_t": text_alignment(seen, self.clip.texts([question.plain])[0])}
        for metric, encoder in (("clip_i", self.clip), ("dino_i", self.dino)):
            if encoder is not None and encoder.name in references.images:
                frames = seen if encoder is self.clip else encoder.images(clip)
                found[metric] = image_alignment(frames, references.images[encoder.name])
        if references.clips:
            alike = [motion_fidelity(clip, reference) for reference in references.clips]
            found["motion"] = sum(alike) / len(alike)
        found |= {"t_cons": temporal_consistency(seen), "dynamic": dynamic_degree(clip)}
        return found


@dataclass(frozen=True)
class Row:
    """A clip and its scores. `batch` is what it was made from, all that counts of it, as a SHA-256."""

    batch: str
    prompt: str
    seed: int
    clip: str
    scores: dict[str, float]


class Kept:
    """The rows of a folder, in `scores.jsonl`; what was kept there before is there again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / SCORES
        self.rows: list[Row] = []
        if self.path.exists():
            self.rows = list(self._read())

    def _read(self) -> Iterator[Row]:
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue  # cut off by an interruption
            if (self.folder / row.clip).exists():
                yield row

    def of(self, batch: str) -> list[Row]:
        return [row for row in self.rows if row.batch == batch]

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def evaluate(
    base: Base,
    learners: Sequence[Learner],
    digests: Sequence[Mapping[str, str]],
    questions: Sequence[Question],
    examiner: Examiner,
    references: References,
    settings: SampleSettings,
    folder: Path,
    *,
    seeds: int = 1,
    at_once: int = 8,
    on_step: OnStep = lambda step, total: None,
) -> list[Row]:
    """Makes and scores a clip for every question and seed, and keeps both in `folder`. What is there already is not made again.

    Args:
        learners: whoever may take part, as when generating; the questions name whom they are about.
        digests: of their files: they say whether these are still the ones whose clips were kept.
        settings: of the first seed; the others follow it.
        at_once: so many clips are made together. It changes their noise, so it is part of what a clip was made from.

    Raises:
        CcvdError: the file system refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept, rows = Kept(folder), []
    parts = [questions[i : i + at_once] for i in range(0, len(questions), at_once)]
    batches = [(k, part) for k in range(seeds) for part in parts]
    for done, (k, part) in enumerate(batches):
        sampling = settings.model_copy(update={"seed": settings.seed + k})
        about = {
            "concepts": [dict(d) for d in digests],
            "base": base.fingerprint,
            "prompts": [q.prompt for q in part],
            "settings": sampling.model_dump(mode="json"),
            "encoders": examiner.names,
            "references": _digest_of(references),
        }
        batch = _sha256(json.dumps(about, sort_keys=True).encode())
        known = kept.of(batch)
        if len(known) != len(part):
            made = generate_batch(
                base,
                [q.prompt for q in part],
                learners,
                sampling,
                lambda step, total, done=done: on_step(done * total + step, len(batches) * total),  # type: ignore[misc]
            )
            known = [
                _keep(folder, batch, question, clip, sampling, examiner, references, i)
                for i, (question, clip) in enumerate(zip(part, made, strict=True))
            ]
            kept.add(known)
        rows += known
    return rows


def _keep(
    folder: Path,
    batch: str,
    question: Question,
    clip: Tensor,
    settings: SampleSettings,
    examiner: Examiner,
    references: References,
    place: int,
) -> Row:
    scale = 4 if max(clip.shape[-2:]) <= 128 else 1
    path = folder / f"{batch[:8]}-{place}-seed{settings.seed}.mp4"
    write_clip(clip, path, settings.fps, scale=scale)
    scores = {k: round(v, 5) for k, v in examiner.scores(clip, question, references).items()}
    return Row(batch, question.prompt, settings.seed, path.name, scores)


def _digest_of(references: References) -> str:
    tensors = [*(references.images[k] for k in sorted(references.images)), *references.clips]
    return _sha256(b"".join(t.to(torch.float32).contiguous().numpy().tobytes() for t in tensors))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def summary(rows: Sequence[Row]) -> dict[str, Estimate]:
    """The mean of every metric over clips, with its interval."""
    metrics = dict.fromkeys(metric for row in rows for metric in row.scores)
    return {m: estimate([row.scores[m] for row in rows if m in row.scores]) for m in metrics}


def as_json(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {metric: {k: round(v, 5) for k, v in asdict(e).items()} for metric, e in found.items()}


__all__ = ["Examiner", "References", "Row", "as_json", "evaluate", "summary"]
