"""C-LoRA (arXiv 2304.06027): low-rank changes of keys and values that avoid what earlier ones changed.

    W = W_0 + sum_{t' < t} A_t' B_t' + A_t B_t,      L = L_diffusion + lambda sum_W || |sum_{t' < t} A_t' B_t'| * A_t B_t ||_F^2

Tokens start at random, and no prompt says the class noun. All changes act always. Subjects and styles change the spatial cross-attentions;
ours, since the paper has pictures alone: motions change the temporal self-attentions in the same way, and where text is told the moment
of a frame there is one more low-rank change beside it, without which that base cannot learn when something is where. Ours too: tokens are
learned first and stand still from then on. As in the paper, every layer is changed, also where recipes adapt the last ones alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ...choices import Kind
from ...engine.adapters import attached
from ...engine.bases.contract import Site
from ...engine.concept import Learner
from ...engine.learn import found_masks, motion_lesson, subject_lesson
from ...engine.lesson import Extra, Lesson, Stage, adapted_sites
from ...prompts import named
from ...settings import Recipe, Settings
from ..streams import Task
from .contract import WHERE, Common, Method, Part


class CLoraSettings(Settings):
    """weight: lambda, ours, for `mini`: where rates are as high as there, 1 is about as much as the diffusion loss at first; where they are low,
    products of changes are smaller by many orders of magnitude, and want a weight that is as much larger.
    """

    weight: float = Field(default=1.0, ge=0)
    rank: int = Field(default=16, ge=1, le=1024)


class Lora(nn.Module):
    """x A B, beside a linear layer; A starts as such a layer does, B at zero. x (R, N, in) -> (R, N, out)."""

    def __init__(self, inner: int, outer: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(inner, rank).uniform_(-(inner**-0.5), inner**-0.5))
        self.b = nn.Parameter(torch.zeros(rank, outer))

    @property
    def change(self) -> Tensor:
        """A B, (in, out)."""
        return self.a @ self.b

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        out: Tensor = x.to(self.a.dtype) @ self.a @ self.b
        return out


class Changed(nn.Module):
    """x times the sum of all earlier changes, (in, out)."""

    change: Tensor

    def __init__(self, change: Tensor) -> None:
        super().__init__()
        self.register_buffer("change", change)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        return x.to(self.change.dtype) @ self.change


class CLora(Method):
    """`past`: the sum of all changes so far, (in, out) by the name of the linear layer."""

    name = "c-lora"
    Own = CLoraSettings
    settings: CLoraSettings

    def __init__(self, common: Common, settings: Settings | None = None) -> None:
        super().__init__(common, settings)
        self.past: dict[str, Tensor] = {}

    @property
    def extra(self) -> Extra:
        return self

    def recipe(self, kind: Kind) -> Recipe:
        """The shared one, for every layer."""
        return super().recipe(kind).model_copy(update={"last_layers": 0})

    def teach(self, task: Task, material: Sequence[Tensor]) -> Learner:
        recipe = self.recipe(task.kind).model_copy(update={"orthogonal_weight": 0.0, "prior_share": 0.0})
        how: dict[str, Any] = {"name": task.name, "class_noun": "", "recipe": recipe}
        how["on_step"] = self.common.on_step
        if task.kind == "motion":
            lesson = motion_lesson(self.base, material, **how)
        else:
            if task.kind == "subject":  # the base may know where it is; no prompt says it
                how["masks"] = found_masks(self.base, material, task.noun, recipe, self.common.on_step)
            lesson = subject_lesson(self.base, material, kind=task.kind, **how)
        lesson.start, lesson.extra = self._random_token(task.order), self
        changes: dict[Any, Any] = self._fresh(task)
        clock = {s.name for s in self.base.sites_of("moment")}
        with attached(self.base.denoiser, self._acting()):
            learner = lesson.learn(changes, {s: c for s, c in changes.items() if s.name in clock})
        for site, lora in changes.items():
            change = lora.change.detach()
            self.past[site.name] = self.past.get(site.name, torch.zeros_like(change)) + change
        return replace(learner, class_noun=task.noun, adapters={})

    def term(self, lesson: Lesson, adapters: Mapping[Site, Any], stage: Stage) -> Tensor | float:
        terms = [
            ((self.past[site.name].abs() * lora.change) ** 2).sum()
            for site, lora in adapters.items()
            if site.name in self.past
        ]
        return self.settings.weight * torch.stack(terms).sum() if terms else 0.0

    def learned(self, lesson: Lesson, vectors: Tensor, adapters: Mapping[Site, Any]) -> None:
        """What is kept of them is taken when the task is over."""

    def worded(self, prompt: str) -> str:
        """'a <V1> dog jumping' -> 'a <V1> jumping'."""
        for learner in (self.known[name] for name in named(prompt) if name in self.known):
            if learner.kind == "subject" and learner.class_noun:
                said = rf"<{re.escape(learner.name)}>\s+{re.escape(learner.class_noun)}\b"
                prompt = re.sub(said, learner.placeholder, prompt)
        return prompt

    def weights_for(self, prompt: str) -> Part:
        return Part(self.worded(prompt), self.named(prompt), self._acting())

    def extra_state(self) -> dict[str, Tensor]:
        return {f"past/{name}": change for name, change in self.past.items()}

    def restore(self, learned: Mapping[str, Learner], extra: Mapping[str, Tensor]) -> None:
        super().restore(learned, extra)
        self.past = {k.removeprefix("past/"): v.to(self.base.device) for k, v in extra.items()}

    # -- where and from what ------------------------------------------------------------------------------

    def _fresh(self, task: Task) -> dict[Site, Lora]:
        recipe, loras = self.recipe(task.kind), dict[Site, Lora]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            for site in adapted_sites(self.base, recipe, *WHERE[task.kind]):
                for joined in self._layers(site):
                    inner, outer = self._widths(joined.name)
                    loras[joined] = Lora(inner, outer, self.settings.rank).to(self.base.device)
        return loras

    def _layers(self, site: Site) -> list[Site]:
        """Keys and values of an attention; beside the clock, itself. They act at every word, so none is a "moment" of its own."""
        if site.kind == "moment":
            return [replace(site, kind="temporal")]
        module: Any = self.base.denoiser.get_submodule(site.name)
        if not hasattr(module, "to_k"):  # a feed-forward
            return []
        return [replace(site, name=name, norm=name) for name in (f"{site.name}.to_k", f"{site.name}.to_v")]

    def _widths(self, name: str) -> tuple[int, int]:
        layer = self.base.denoiser.get_submodule(name)
        if isinstance(layer, nn.Linear):
            return layer.in_features, layer.out_features
        return self.base.text_width, self.base.text_width

    def _acting(self) -> dict[Site, nn.Module]:
        return {Site(n, n, "temporal", 0, c.shape[1]): Changed(c) for n, c in self.past.items()}

    def _random_token(self, order: int) -> Tensor:
        """As long as a word's vector, (D,)."""
        like = self.base.noun_vector("thing")
        generator = torch.Generator().manual_seed(1_000 * self.common.seed + order)
        drawn = F.normalize(torch.randn(len(like), generator=generator), dim=0)
        return drawn.to(like) * like.norm()
