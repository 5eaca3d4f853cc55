"""A concept, measured: clips are made for its questions, scored while they are at hand, and kept with their scores.

What is scored: how well a clip fits its prompt (clip_t), how much it looks like what a subject or style was learned from (clip_i, dino_i),
how much it moves like the clips that a motion was learned from (motion), how consecutive frames agree (t_cons), and how much moves at
all (dynamic).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clips import default_scale
from ..engine.bases.contract import Base
from ..engine.compose import generate_batch
from ..engine.concept import Learner
from ..engine.media_out import write_clip
from ..errors import CcvdError
from ..estimates import Estimate, estimate, rate
from ..metric_names import SHARES, bounds_of
from ..regions import Box
from ..settings import SampleSettings
from .encoders import ImageEncoder, TextImageEncoder
from .exact import Shown, least
from .kept_rows import Kept, Row
from .known import Facts, Judges, in_style, known_of_several
from .metrics import image_alignment, temporal_consistency, text_alignment
from .motion import Array, likeness, paths, reach
from .questions import Question

OnStep = Callable[[int, int], None]
FORMAT = 3  # of rows; a new one when scores are computed otherwise


@dataclass(frozen=True)
class References:
    """What clips of a concept are held against: embeddings (R, E) by the encoder's digest, and clips (F, 3, H, W) in [0, 1]; any may be missing.

    `digest` says what they were made from, `truth` whom or what they are known to show, where the embedded world drew them.
    """

    digest: str = ""
    images: Mapping[str, Tensor] = field(default_factory=dict)
    clips: Sequence[Tensor] = ()
    truth: Facts = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        kind: str,
        shown: Sequence[Tensor],
        digest: str,
        encoders: Sequence[ImageEncoder],
        truth: Facts | None = None,
    ) -> References:
        """From what a concept of a kind was learned from: pictures (3, H, W) or clips (F, 3, H, W) in [-1, 1]."""
        known = truth or {}
        if kind == "motion":
            return cls(digest, clips=[(clip + 1) / 2 for clip in shown], truth=known)
        pictures = (torch.stack(list(shown)) + 1) / 2
        return cls(digest, {e.digest: e.images(pictures) for e in encoders}, truth=known)

    @cached_property
    def paths(self) -> list[Array]:
        """Of the clips: followed once, however many are held against them."""
        return [paths(clip) for clip in self.clips]


@dataclass(frozen=True)
class Held:
    """One concept's part in what a clip is held against; in a prompt for several subjects each is looked for in its `box`."""

    references: References
    box: Box | None = None


@dataclass(frozen=True)
class Examiner:
    """Scores clips. `clip` judges prompts and pictures, `dino` pictures alone, and `judges` what can be known in the embedded world."""

    clip: TextImageEncoder
    dino: ImageEncoder | None = None
    judges: Judges | None = None
    _texts: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def of_pictures(self) -> list[ImageEncoder]:
        return [encoder for encoder in (self.clip, self.dino) if encoder]

    def encoders(self, held: Sequence[Held] = ()) -> dict[str, str]:
        """Digests by name, those of judges too: rows that others judged stay apart."""
        own = {encoder.name: encoder.digest for encoder in self.of_pictures}
        return own | (self.judges.digests([h.references.truth for h in held]) if self.judges else {})

    def _text(self, prompt: str) -> Tensor:
        """Its embedding (E,), encoded once for all clips."""
        if prompt not in self._texts:
            self._texts[prompt] = self.clip.texts([prompt])[0]
        return self._texts[prompt]

    def scores(self, clip: Tensor, question: Question, held: Sequence[Held]) -> dict[str, float]:
        """By metric, of a clip (F, 3, H, W) in [0, 1]. Metrics whose reference is missing are left out; of several concepts it is the mean."""
        seen = self.clip.images(clip)
        found = {"clip_t": text_alignment(seen, self._text(question.plain))}
        for metric, encoder in (("clip_i", self.clip), ("dino_i", self.dino)):
            if encoder is None:
                continue
            alike = []
            for h in held:
                if encoder.digest in h.references.images:
                    whole = encoder is self.clip and h.box is None
                    frames = seen if whole else encoder.images(inside(clip, h.box))
                    alike.append(image_alignment(frames, h.references.images[encoder.digest]))
            found |= {metric: _mean(alike)} if alike else {}
        followed = paths(clip)
        moved = [likeness(followed, reference) for h in held for reference in h.references.paths]
        found |= {"motion": _mean(moved)} if moved else {}
        found |= {"t_cons": temporal_consistency(seen), "dynamic": reach(followed)}
        if self.judges:
            found |= self.judges.scores(clip, *shown_to(question, held))
        return found


def inside(clip: Tensor, box: Box | None) -> Tensor:
    """What a clip (F, 3, H, W) shows in a box (None: all of it), made square by repeating the edges of its longer sides."""
    if box is None:
        return clip
    height, width = clip.shape[-2:]
    (x0, y0), (x1, y1) = [(math.floor(x * width), math.floor(y * height)) for x, y in (box[:2], box[2:])]
    part = clip[..., y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    wide, high = part.shape[-1], part.shape[-2]
    across, down = max(0, high - wide), max(0, wide - high)
    padding = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(part, padding, mode="replicate")


def shown_to(question: Question, held: Sequence[Held]) -> tuple[Shown, bool]:
    """What a clip should show, as the question says it or else by the words of its prompt and by what its concepts are known to be.

    And whether it is in a style.
    """
    if question.shown is not None:
        return question.shown, question.shown.style is not None
    truths, boxes = [h.references.truth for h in held], [h.box for h in held]
    return known_of_several(question.prompt, question.plain, truths, boxes), in_style(question.prompt)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class Exam:
    """What a concept, or several together, are put through.

    `learners` may take part, as when generating; their `digests` say whether they are still the same. `at_once`: so many clips are made
    together; it changes their noise, and where others may join, who does.
    """

    learners: Sequence[Learner]
    digests: Sequence[Mapping[str, str]]
    questions: Sequence[Question]
    held: Sequence[Held]
    settings: SampleSettings
    seeds: int = 1
    at_once: int = 8

    def batches(self) -> list[tuple[Sequence[Question], SampleSettings]]:
        parts = [self.questions[i : i + self.at_once] for i in range(0, len(self.questions), self.at_once)]
        seeds = range(self.settings.seed, self.settings.seed + self.seeds)
        return [(part, self.settings.model_copy(update={"seed": seed})) for seed in seeds for part in parts]


def how(base: Base, examiner: Examiner, exam: Exam) -> dict[str, Any]:
    """What evaluations must share to be compared. What has been learned since is not in it."""
    about = {
        "format": FORMAT,
        "base": base.fingerprint,
        "dtype": str(base.dtype),
        "encoders": examiner.encoders(exam.held),
        "references": _one_or_all([h.references.digest for h in exam.held]),
        "prompts": _digest([q.asked() for q in exam.questions]),
        "seeds": exam.seeds,
        "at_once": exam.at_once,
        "settings": exam.settings.model_dump(mode="json"),
    }
    truth = _one_or_all([dict(h.references.truth) for h in exam.held])
    return about | ({"truth": truth} if examiner.judges else {})


def _one_or_all(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def evaluate(
    base: Base, examiner: Examiner, exam: Exam, folder: Path, on_step: OnStep = lambda step, total: None
) -> list[Row]:
    """Makes and scores a clip for every question and seed, and keeps both in `folder`. What is there already is not made again.

    Raises:
        CcvdError: the file system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = Kept(folder)
    except OSError as error:
        raise CcvdError(f"'{folder}' cannot be used: {error.strerror}", "choose another --out") from error
    rows: list[Row] = []
    batches, concepts = exam.batches(), [dict(d) for d in exam.digests]
    alike = {**how(base, examiner, exam), "concepts": concepts}
    for done, (questions, settings) in enumerate(batches):

        def tell(step: int, total: int, done: int = done) -> None:
            on_step(done * total + step, len(batches) * total)

        prompts = [q.prompt for q in questions]
        batch = _digest({**alike, "prompts": prompts, "settings": settings.model_dump(mode="json")})
        found = kept.of(batch)
        if len(found) != len(questions):
            clips = generate_batch(base, prompts, exam.learners, settings, tell)
            found = []
            for i, (question, clip) in enumerate(zip(questions, clips, strict=True)):
                path = folder / f"seed{settings.seed}-{batch[:12]}-{i}.mp4"
                write_clip(clip, path, settings.fps, scale=default_scale(settings))
                scores = examiner.scores(clip, question, exam.held)
                rounded = {k: round(v, 5) for k, v in scores.items()}
                found.append(Row(batch, question.prompt, settings.seed, path.name, rounded, concepts))
            kept.add(found)
        rows += found
    return rows


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def summary(rows: Sequence[Row]) -> dict[str, Estimate]:
    """The mean of every metric over prompts, each of which is the mean over its seeds: these are no further prompts."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for metric, score in row.scores.items():
            values.setdefault(metric, {}).setdefault(row.prompt, []).append(score)
    means = {metric: [_mean(of) for of in prompts.values()] for metric, prompts in values.items()}
    return {m: rate(of) if m in SHARES else estimate(of, bounds=bounds_of(m)) for m, of in means.items()}


def accuracies(examiner: Examiner, exam: Exam) -> dict[str, float]:
    """Of everything that can be known of an exam's clips: how often judges are right about it on rendered truth, the least of all questions."""
    if examiner.judges is None:
        return {}
    judges, frames = examiner.judges, exam.settings.frames
    every = [shown_to(question, exam.held) for question in exam.questions]
    return least(judges.accuracies(shown, styled, frames=frames) for shown, styled in every)


def as_json(found: Mapping[str, Estimate], judges: Mapping[str, float] | None = None) -> dict[str, Any]:
    """With each judge's own accuracy, where there is one."""
    rows = {metric: {k: round(v, 5) for k, v in asdict(e).items()} for metric, e in found.items()}
    return {m: row | ({"judge": (judges or {})[m]} if m in (judges or {}) else {}) for m, row in rows.items()}


__all__ = ["Exam", "Examiner", "Held", "References", "Row", "as_json", "evaluate", "how", "summary"]
