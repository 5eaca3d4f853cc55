"""L2DM: fine-tuning with a memory of generated samples, and distillation on them (after third-party accounts of it).

After a task the model draws its concept several times; those most like what it was learned from stay in memory. Later tasks rehearse them,

    L = L_diffusion + lambda_r L_diffusion(memory) + lambda_d || eps_before(memory) - eps(memory) ||^2,

each under the prompt and the tokens of its own concept. Alikeness is the cosine of the base's own image embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from ...engine.adapters import Bottleneck
from ...engine.bases.contract import Site
from ...engine.compose import generate_batch
from ...engine.concept import Learner
from ...engine.lesson import Extra, Lesson, Stage
from ...engine.transfer import picked
from ...settings import SampleSettings, Settings
from ..metrics import image_alignment
from ..streams import Task
from .contract import WHERE, Common, Part
from .finetune import Finetune
from .rehearsal import Ask, answer, frozen_at


class L2dmSettings(Settings):
    """candidates: drawn after a task; kept: of them; samples: rehearsed at a step; replay, distillation: lambda_r and lambda_d."""

    candidates: int = Field(default=8, ge=1, le=1024)
    kept: int = Field(default=4, ge=1, le=1024)
    samples: int = Field(default=4, ge=1, le=1024)
    replay: float = Field(default=1.0, ge=0)
    distillation: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _drawn_before_kept(self) -> L2dmSettings:
        if self.kept > self.candidates:
            raise ValueError(f"{self.kept} of {self.candidates} candidates cannot be kept")
        return self


class Remembered(NamedTuple):
    """latents (N, C, F, h, w), embeds (N, F, E) of their frames, their prompt's text (1, L, T, D), and where it says the concept (1, T)."""

    latents: Tensor
    embeds: Tensor
    text: Tensor
    places: Tensor


class L2dm(Finetune):
    """`memory`: by concept."""

    name = "l2dm"
    Own = L2dmSettings
    settings: L2dmSettings

    def __init__(self, common: Common, settings: Settings | None = None) -> None:
        super().__init__(common, settings)
        self.memory: dict[str, Remembered] = {}

    @property
    def extra(self) -> Extra:
        return self

    def term(self, lesson: Lesson, adapters: Mapping[Site, Bottleneck], stage: Stage) -> Tensor | float:
        names = [n for n in self.memory if WHERE[self.known[n].kind] == WHERE[lesson.kind]]
        if not adapters or not names:
            return 0.0
        one = self.memory[names[int(torch.randint(len(names), (), generator=lesson.generator))]]
        count = min(self.settings.samples, lesson.recipe.batch_size)
        rows = torch.randint(len(one.latents), (count,), generator=lesson.generator)
        ask = Ask.about(
            lesson, stage, picked(one.latents, rows), picked(one.embeds, rows), one.text, one.places
        )
        with torch.no_grad():
            then = answer(lesson, frozen_at(adapters, self.shared), ask)
        now = answer(lesson, adapters, ask)
        replay, kept = F.mse_loss(now, ask.sample.target), F.mse_loss(now, then)
        return self.settings.replay * replay + self.settings.distillation * kept

    def learned(self, lesson: Lesson, vectors: Tensor, adapters: Mapping[Site, Bottleneck]) -> None:
        """The memory needs the whole model: it is filled after the task."""
        self._prompt = lesson.prompts[-1]

    def after_task(self, task: Task, learner: Learner) -> None:
        part = self.weights_for(self._prompt)
        frames = self.recipe("motion").frames if task.kind == "motion" else 1
        settings = self.common.sampling.model_copy(update={"frames": frames, "regions": ()})
        drawn = torch.cat([self._drawn(part, settings, i) for i in range(self.settings.candidates)])
        best = self._best(drawn * 2 - 1, learner)
        with torch.no_grad():
            text = self.base.encode_text([part.prompt], [learner.token_vectors()])
        places = self.base.places([part.prompt], learner.placeholder)
        embeds = self.base.embed_images(best.flatten(0, 1)).unflatten(0, best.shape[:2])
        latents = self.base.encode_video(best)
        self.memory[task.name] = Remembered(latents, embeds, text, places.named | places.ended)

    def extra_state(self) -> dict[str, Tensor]:
        kept = {f"memory/{name}/{k}": v for name, r in self.memory.items() for k, v in r._asdict().items()}
        return super().extra_state() | kept

    def restore(self, learned: Mapping[str, Learner], extra: Mapping[str, Tensor]) -> None:
        super().restore(learned, extra)
        of = {name: {k: extra.get(f"memory/{name}/{k}") for k in Remembered._fields} for name in learned}
        self.memory = {
            name: Remembered(**{k: v.to(self.base.device) for k, v in found.items() if v is not None})
            for name, found in of.items()
            if all(v is not None for v in found.values())
        }

    def _drawn(self, part: Part, settings: SampleSettings, i: int) -> Tensor:
        """One of the candidates, (1, F, 3, H, W): a batch of them may be more than a device holds."""
        seeded = settings.model_copy(update={"seed": settings.seed + i})
        with part.attached(self.base):
            return generate_batch(self.base, [part.prompt], part.learners, seeded)

    def _best(self, drawn: Tensor, learner: Learner) -> Tensor:
        """Of clips (N, F, 3, H, W); a base without an image encoder keeps the first."""
        if not self.base.image_width:
            return drawn[: self.settings.kept]
        reference = learner.image_prototypes.cpu()
        alike = [image_alignment(self.base.embed_images(clip).cpu(), reference) for clip in drawn]
        order = sorted(range(len(drawn)), key=lambda i: -alike[i])
        return drawn[sorted(order[: self.settings.kept])]
