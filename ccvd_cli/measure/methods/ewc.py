"""Elastic weight consolidation (arXiv 1612.00796): what mattered to earlier tasks is held where it is.

    L = L_diffusion + lambda / 2 sum_i F_i (theta_i - theta*_i)^2,      F_i = sum over tasks of E[(dL_diffusion / dtheta_i)^2]

theta* is where the last task left the weights; F accumulates over tasks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ...engine.adapters import Bottleneck
from ...engine.bases.contract import Site
from ...engine.concept import Learner
from ...engine.lesson import Extra, Lesson, Stage
from ...engine.optimise import loss_scale
from ...settings import Settings
from .contract import Common
from .finetune import Finetune


class EwcSettings(Settings):
    """weight: lambda, ours: on `mini` a third of it keeps nothing of earlier tasks, and three times as much lets later ones learn little.

    samples: single ones that F is a mean over.
    """

    weight: float = Field(default=1500.0, ge=0)
    samples: int = Field(default=32, ge=1, le=100_000)


class Ewc(Finetune):
    """Both tensors by `site/parameter`; a parameter that no task has trained yet is free."""

    name = "ewc"
    Own = EwcSettings
    settings: EwcSettings

    def __init__(self, common: Common, settings: Settings | None = None) -> None:
        super().__init__(common, settings)
        self.fisher: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    @property
    def extra(self) -> Extra:
        return self

    def term(self, lesson: Lesson, adapters: Mapping[Site, Bottleneck], stage: Stage) -> Tensor | float:
        terms = [
            (self.fisher[key] * (value - self.anchor[key]) ** 2).sum()
            for key, value in _parameters(adapters).items()
            if key in self.fisher
        ]
        return self.settings.weight / 2 * torch.stack(terms).sum() if terms else 0.0

    def learned(self, lesson: Lesson, vectors: Tensor, adapters: Mapping[Site, Bottleneck]) -> None:
        parameters = _parameters(adapters)
        found = {key: torch.zeros_like(value) for key, value in parameters.items()}
        recipe, lesson.recipe = lesson.recipe, lesson.recipe.model_copy(update={"batch_size": 1})
        with torch.no_grad():
            readings = [lesson.read(prompt, vectors) for prompt in lesson.prompts]
        for k in range(self.settings.samples):
            loss = lesson.loss(readings[k % len(readings)], adapters, "adapter")
            for key, grad in self._gradients(loss, parameters).items():
                found[key] += grad**2 / self.settings.samples
        lesson.recipe = recipe
        for key, squares in found.items():
            self.fisher[key] = self.fisher.get(key, torch.zeros_like(squares)) + squares
            self.anchor[key] = parameters[key].detach().clone()

    def _gradients(self, loss: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """In single precision, by the largest scale of the loss at which they fit into the base's; none if they fit at no scale."""
        scale = loss_scale(self.base.dtype)
        while scale >= 1:
            grads = torch.autograd.grad(
                loss * scale, list(parameters.values()), retain_graph=True, allow_unused=True
            )
            found = {
                k: g.detach().float() / scale for k, g in zip(parameters, grads, strict=True) if g is not None
            }
            if not found or bool(torch.stack([grad.isfinite().all() for grad in found.values()]).all()):
                return found
            scale /= 2
        return {}

    def extra_state(self) -> dict[str, Tensor]:
        kept = {f"fisher/{k}": v for k, v in self.fisher.items()}
        return super().extra_state() | kept | {f"anchor/{k}": v for k, v in self.anchor.items()}

    def restore(self, learned: Mapping[str, Learner], extra: Mapping[str, Tensor]) -> None:
        super().restore(learned, extra)
        self.fisher = _group(extra, "fisher", self.base.device)
        self.anchor = _group(extra, "anchor", self.base.device)


def _parameters(adapters: Mapping[Site, Bottleneck]) -> dict[str, Tensor]:
    return {f"{site.name}/{name}": p for site, a in adapters.items() for name, p in a.named_parameters()}


def _group(tensors: Mapping[str, Tensor], group: str, device: torch.device) -> dict[str, Tensor]:
    return {
        k.removeprefix(f"{group}/"): v.to(device) for k, v in tensors.items() if k.startswith(f"{group}/")
    }
