"""Ours: tokens per layer, adapters that stay apart from earlier ones, task-aware aggregation, and boxes for several subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import Tensor

from ...choices import Kind
from ...engine.concept import Learner
from ...engine.retention import Earlier
from ...settings import Recipe, Settings
from ..streams import Task
from .contract import Common, Method, Part

Ablation = Literal["tokens", "orthogonal", "aggregation", "regions", "windows", "noise"]
ABLATIONS: tuple[Ablation, ...] = get_args(Ablation)


class Ccvd(Method):
    """`without`: one token for all layers; no orthogonal loss; LoRA-M's mean of all that was learned; no boxes; boxes of one
    frame instead of windows; no noise guidance in them."""

    name = "ccvd"
    shares = True
    revision = 2  # the orthogonal loss of many concepts is as large as it says

    def __init__(
        self, common: Common, settings: Settings | None = None, without: Sequence[Ablation] = ()
    ) -> None:
        super().__init__(common, settings)
        self.without = frozenset(without)

    def recipe(self, kind: Kind) -> Recipe:
        changes: dict[str, Any] = {}
        if "tokens" in self.without:
            changes["tokens"] = "shared"
        if "orthogonal" in self.without:
            changes["orthogonal_weight"] = 0.0
        return super().recipe(kind).model_copy(update=changes)

    def teach(self, task: Task, material: Sequence[Tensor]) -> Learner:
        recipe = self.recipe(task.kind)
        earlier = Earlier(recipe.orthogonal_form)
        for other in self.known.values():
            if other.kind == task.kind:
                earlier.add({site: a.up.weight.detach() for site, a in other.adapters.items()})
        held = recipe.orthogonal_weight > 0 and earlier.count
        apart = earlier.to(self.base.device) if held else None
        return self.train(task, material, earlier=apart, extra=self.extra)

    def weights_for(self, prompt: str) -> Part:
        changes: dict[str, Any] = {}
        if "regions" not in self.without:
            changes |= self.row(prompt, windows="windows" not in self.without)
        if "noise" in self.without:
            changes["noise_guidance"] = False
        if "aggregation" in self.without:
            return Part(prompt, list(self.known.values()), changes={**changes, "aggregation": "mean"})
        return Part(prompt, self.named(prompt), changes=changes)
