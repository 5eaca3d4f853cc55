"""Plain fine-tuning: one set of adapters goes through all tasks, and the latest state of it acts in every prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from ...engine.adapters import Bottleneck, Wide, attached
from ...engine.aggregate import guide
from ...engine.bases.contract import Site
from ...engine.concept import Learner
from ...engine.lesson import adapted_sites
from ...settings import Settings
from ..streams import Task
from .contract import WHERE, Common, Method, Part, bottlenecks


class Finetune(Method):
    """`shared`: the adapters by site name; a task trains those of its recipe's sites, while all others act as they are. Tokens are kept.

    Where a recipe keeps what is outside of a subject's masks, that is what the model answered before the task, old adapters and all.
    """

    name = "finetune"

    def __init__(self, common: Common, settings: Settings | None = None) -> None:
        super().__init__(common, settings)
        self.shared: dict[str, Bottleneck] = {}

    def teach(self, task: Task, material: Sequence[Tensor]) -> Learner:
        with attached(self.base.denoiser, self._standing(task)):
            learner = self.train(task, material, onto=self.shared, extra=self.extra)
        self.shared |= learner.adapters
        return replace(learner, adapters={})

    def weights_for(self, prompt: str) -> Part:
        """Beside the clock, a named motion's words alone are spoken to, as it was learned; everywhere else all that was learned acts."""
        learners = [self._speaking(x) if x.kind == "motion" else x for x in self.named(prompt)]
        e, modules = guide(learners), dict[Site, nn.Module]()
        for site in self.base.sites_of("spatial", "temporal"):
            if site.name in self.shared:
                wide = Wide([(self.shared[site.name], 1.0, e)])
                modules[site] = wide.to(self.base.device, self.base.dtype)
        return Part(prompt, learners, modules)

    def extra_state(self) -> dict[str, Tensor]:
        return {f"shared/{s}/{k}": v for s, a in self.shared.items() for k, v in a.state_dict().items()}

    def restore(self, learned: Mapping[str, Learner], extra: Mapping[str, Tensor]) -> None:
        super().restore(learned, extra)
        self.shared = bottlenecks(extra, "shared", self.base)

    def _standing(self, task: Task) -> dict[Site, nn.Module]:
        """Adapters that act during a task and are not trained by it."""
        trained = adapted_sites(self.base, self.recipe(task.kind), *WHERE[task.kind])
        sites = [s for s in self.base.sites_of("spatial", "temporal") if s not in trained]
        return {site: self.shared[site.name] for site in sites if site.name in self.shared}

    def _speaking(self, motion: Learner) -> Learner:
        clock = [s.name for s in self.base.sites_of("moment") if s.name in self.shared]
        return replace(motion, adapters={name: self.shared[name] for name in clock})
