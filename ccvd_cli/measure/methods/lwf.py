"""Learning without forgetting (arXiv 1606.09282): on a prompt that names nobody, the model answers as it did before the task.

    L = L_diffusion + lambda || eps_before(x_t, generic prompt) - eps(x_t, generic prompt) ||^2,

x_t being the new task's own latents, since no other material is left; the mean over elements. The adapter beside the clock, which is spoken
to at a motion's words alone, is asked at every word of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ...choices import Kind
from ...engine.adapters import Bottleneck
from ...engine.bases.contract import Site
from ...engine.lesson import Extra, Lesson, Stage
from ...engine.transfer import picked
from ...settings import Settings
from .finetune import Finetune
from .rehearsal import Ask, answer, frozen_at

GENERIC: dict[Kind, str] = {"subject": "a thing", "motion": "a thing moving", "style": "a picture"}


class LwfSettings(Settings):
    """weight: lambda, the paper's 1; samples: of a batch that are compared, at most."""

    weight: float = Field(default=1.0, ge=0)
    samples: int = Field(default=4, ge=1, le=1024)


class Lwf(Finetune):
    """The model before the task is kept, frozen, while the task is learned."""

    name = "lwf"
    Own = LwfSettings
    settings: LwfSettings

    @property
    def extra(self) -> Extra:
        return self

    def term(self, lesson: Lesson, adapters: Mapping[Site, Bottleneck], stage: Stage) -> Tensor | float:
        before = frozen_at(adapters, self.shared)
        if not before:
            return 0.0
        count = min(self.settings.samples, lesson.recipe.batch_size)
        rows = torch.randint(len(lesson.latents), (count,), generator=lesson.generator)
        with torch.no_grad():
            text = self.base.encode_text([GENERIC[lesson.kind]])
            everywhere = torch.ones(1, text.shape[2], dtype=torch.bool, device=text.device)
            latents, embeds = picked(lesson.latents, rows), picked(lesson.embeds, rows)
            ask = Ask.about(lesson, stage, latents, embeds, text, everywhere)
            then = answer(lesson, before, ask)
        return self.settings.weight * F.mse_loss(answer(lesson, adapters, ask), then)

    def learned(self, lesson: Lesson, vectors: Tensor, adapters: Mapping[Site, Bottleneck]) -> None:
        """Keeps nothing: the new model is the next task's old one."""
