"""What a method of continual learning is: it learns task after task, and says what takes part in a prompt.

All share base, steps, data, seeds and sampler; they differ in what becomes of the adapters, and so in which act while tokens are learned.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...choices import Kind
from ...engine.adapters import Bottleneck, attached
from ...engine.bases.contract import Base, Site, SiteKind
from ...engine.concept import Learner, read_adapters
from ...engine.learn import learn_motion, learn_subject
from ...engine.lesson import Extra
from ...engine.optimise import StepReport
from ...engine.retention import Earlier
from ...prompts import named, told_apart
from ...row import in_a_row
from ...settings import Recipe, SampleSettings, Settings
from ..streams import Task

# Subjects and styles share the adapters of the spatial layers; motions have those of the temporal ones, and beside the clock.
WHERE: dict[Kind, tuple[SiteKind, ...]] = {
    "subject": ("spatial",),
    "style": ("spatial",),
    "motion": ("temporal", "moment"),
}

# Off for all methods, and unknown to recipes when the first lessons were learned.
UNUSED_TO_LEARN = "find_path", "outline_masks"

# Raised whenever the same lesson teaches something else: what was learned before is not taken for it.
LESSONS = 3


@dataclass(frozen=True)
class Common:
    """What all methods have in common. `sampling` has the seed of the run, and so have the recipes.

    taken: what some other run has learned by the same lesson (its digest), if any has.
    """

    base: Base
    recipes: Mapping[Kind, Recipe]
    sampling: SampleSettings
    seed: int = 0
    on_step: Callable[[StepReport], None] = lambda _: None
    taken: Callable[[Task, str], Learner | None] = lambda *_: None


@dataclass(frozen=True)
class Part:
    """What takes part in a prompt.

    prompt: as this method says it; modules: attached besides what the learners bring; changes: to the settings of sampling.
    """

    prompt: str
    learners: Sequence[Learner]
    modules: Mapping[Site, nn.Module] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """sha256 of every number that acts: where it is the same, so are the clips."""
        digest = hashlib.sha256(repr(sorted(self.changes.items())).encode())
        for learner in self.learners:
            _add(digest, learner_tensors(learner), learner.name)
        for site, module in self.modules.items():
            _add(digest, module.state_dict(), site.name)
        return digest.hexdigest()

    @contextmanager
    def attached(self, base: Base) -> Iterator[None]:
        with attached(base.denoiser, self.modules):
            yield


class Method(ABC):
    """One method; an instance goes through one stream.

    known: learned concepts by name, in the order of the tasks; lessons: the digests of those that any other that shares could have learned.
    """

    name: ClassVar[str]
    # Whether nothing but recipe, material and earlier concepts bears on what is learned: then runs take it over from each other.
    shares: ClassVar[bool] = False
    Own: ClassVar[type[Settings]] = Settings  # the settings that it has for itself
    revision: ClassVar[int] = 1  # raised when this method alone teaches otherwise than it did

    def __init__(self, common: Common, settings: Settings | None = None) -> None:
        self.common, self.base = common, common.base
        self.settings: Any = settings or self.Own()
        self.known: dict[str, Learner] = {}
        self.lessons: dict[str, str] = {}

    def learn(self, task: Task, material: Sequence[Tensor]) -> None:
        """Learns one task, and forgets its material."""
        self.before_task(task)
        learner = self.teach(task, material)
        self.known[task.name] = learner
        self.after_task(task, learner)

    def before_task(self, task: Task) -> None:  # noqa: B027  most have nothing to prepare
        """Hears which task is next."""

    def after_task(self, task: Task, learner: Learner) -> None:  # noqa: B027
        """Hears that a task was learned."""

    @property
    def extra(self) -> Extra | None:
        """What it adds to the loss."""
        return None

    def teach(self, task: Task, material: Sequence[Tensor]) -> Learner:
        """Learns the task's concept; here, with adapters of its own."""
        return self.train(task, material, extra=self.extra)

    def worded(self, prompt: str) -> str:
        """A prompt as this method says it."""
        return prompt

    @abstractmethod
    def weights_for(self, prompt: str) -> Part:
        """What takes part in a prompt, as things stand."""

    def extra_state(self) -> dict[str, Tensor]:
        """What must be kept besides the learners to go on later, under names without a leading slash."""
        return {}

    def restore(self, learned: Mapping[str, Learner], extra: Mapping[str, Tensor]) -> None:
        """Goes on from what was kept."""
        self.known = dict(learned)

    # -- what methods are made of -----------------------------------------------------------------------

    def recipe(self, kind: Kind) -> Recipe:
        return self.common.recipes[kind]

    def train(
        self,
        task: Task,
        material: Sequence[Tensor],
        *,
        earlier: Earlier | None = None,
        onto: Mapping[str, Bottleneck] | None = None,
        extra: Extra | None = None,
    ) -> Learner:
        """Tokens, then adapters, by the engine; or, of methods that share, what another run has learned alike, the same but for rounding."""
        if self.shares and onto is None and extra is None:
            lesson = self._lesson(task, material, earlier)
            self.lessons[task.name] = lesson
            if found := self.common.taken(task, lesson):
                return found
        how: dict[str, Any] = {"name": task.name, "class_noun": task.noun, "recipe": self.recipe(task.kind)}
        how |= {"on_step": self.common.on_step, "earlier": earlier, "onto": onto, "extra": extra}
        if task.kind == "motion":
            return learn_motion(self.base, material, **how)
        return learn_subject(self.base, material, kind=task.kind, **how)

    def _lesson(self, task: Task, material: Sequence[Tensor], earlier: Earlier | None) -> str:
        """sha256 of all that a concept with fresh adapters depends on."""
        recipe = self.recipe(task.kind)
        if earlier is None:  # then it does not matter how much nobody weighs
            recipe = recipe.model_copy(update={"orthogonal_weight": 0.0, "orthogonal_form": "mean-abs"})
        told = recipe.model_dump_json(exclude={key for key in UNUSED_TO_LEARN if not getattr(recipe, key)})
        what = f"{task.kind} {task.name} {task.noun} {told}"
        digest = hashlib.sha256(f"{LESSONS} {self.base.fingerprint} {self.base.dtype} {what}".encode())
        _add(digest, {f"{i:04d}": shown for i, shown in enumerate(material)}, "material")
        if earlier:
            _add(digest, earlier.all_kept(), "earlier")
        return digest.hexdigest()

    def named(self, prompt: str) -> list[Learner]:
        """The learned concepts that a prompt names, in its order."""
        return [self.known[name] for name in named(prompt) if name in self.known]

    def row(self, prompt: str, *, windows: bool = True) -> dict[str, Any]:
        """Changes to sampling: a place side by side for each of several subjects, in windows where the base has them; none for one."""
        nouns = {x.name: x.class_noun for x in self.named(prompt) if x.kind == "subject"}
        usual = self.common.sampling
        sampling = usual if windows else usual.model_copy(update={"windows": False})
        placed = in_a_row(sampling, told_apart(prompt, nouns), self.base.own_size)
        if not placed.regions:
            return {"regions": ()}
        return {k: v for k, v in dict(placed).items() if v != getattr(usual, k)}


def learner_tensors(learner: Learner) -> dict[str, Tensor]:
    """All of a learner, in full precision."""
    adapters = {f"{s}/{k}": v for s, a in learner.adapters.items() for k, v in a.state_dict().items()}
    return {
        "tokens": learner.tokens,
        "text": learner.text_prototypes,
        "image": learner.image_prototypes,
        **({} if learner.path is None else {"path": learner.path}),
        **{f"adapters/{key}": value for key, value in adapters.items()},
    }


def learner_of(task: Task, tensors: Mapping[str, Tensor], base: Base) -> Learner:
    """The learner that `learner_tensors` were of."""
    return Learner(
        task.name,
        task.kind,
        task.noun,
        tensors["tokens"],
        bottlenecks(tensors, "adapters", base),
        tensors["text"],
        tensors["image"],
        tensors.get("path"),
    ).to(base.device)


def bottlenecks(tensors: Mapping[str, Tensor], group: str, base: Base) -> dict[str, Bottleneck]:
    """Frozen adapters by site name, from tensors called `group/site/parameter`."""
    own = {k.removeprefix(f"{group}/"): v for k, v in tensors.items() if k.startswith(f"{group}/")}
    adapters = read_adapters(own, {s.name: s for s in base.sites}, base.image_width)
    return {site: adapter.to(base.device) for site, adapter in adapters.items()}


def _add(digest: Any, tensors: Mapping[str, Tensor], name: str) -> None:
    digest.update(name.encode())
    for key in sorted(tensors):
        digest.update(key.encode())
        # Byte by byte: numpy knows no bfloat16.
        digest.update(tensors[key].detach().cpu().flatten().view(torch.uint8).numpy().tobytes())


__all__ = [
    "LESSONS",
    "UNUSED_TO_LEARN",
    "WHERE",
    "Common",
    "Method",
    "Part",
    "bottlenecks",
    "learner_of",
    "learner_tensors",
]
