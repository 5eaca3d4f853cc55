"""Learning one concept: the stages, and the one training loop.

Stage 1 learns the concept's layer-specific tokens, stage 2 freezes them and learns the adapter. Latents are computed once; so are the
text states as soon as the tokens stand still. The base is frozen throughout; of old concepts only
their subspaces are read, and none is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..errors import CcvdError, UsageError
from ..settings import Kind, Recipe, SampleSettings
from .adapters import Bottleneck, Placed, attached
from .bases.contract import Base, Site, SiteKind, TokenVectors
from .concept import Learner, fresh_adapters
from .losses import diffusion_loss
from .retention import Earlier
from .sample import sample


@dataclass(frozen=True)
class StepReport:
    """Where a training run stands; `loss` is the mean since the last report.

    `snapshot` copies the concept as it is now. Sampling with the copy leaves the training, its random numbers too, as it is.
    """

    stage: str
    step: int
    total: int
    loss: float
    snapshot: Callable[[], Learner]


OnStep = Callable[[StepReport], None]
T = TypeVar("T")
REPORT_EVERY = 5  # reading a loss waits for the device, so not at every step
PRIOR_PICTURES, PRIOR_STEPS = 16, 12
FRAMES_FOR_A_CLIP = 8  # so many single frames stand for a clip of a batch


@dataclass(frozen=True)
class Prior:
    """What the frozen base makes of the class noun alone: latents (N, C, 1, h, w) and the text states (1, L, T, D) they came from."""

    latents: Tensor
    text: Tensor


class Reading(NamedTuple):
    """A training prompt as the base reads it: text (1, L, T, D), and where in it adapters beside the clock may act, (1, T)."""

    text: Tensor
    places: Tensor


@dataclass
class Lesson:
    """What one task is learned from. latents (N, C, F, h, w); embeds (N, F, E) image embeddings of every frame; guides (M, E) those kept."""

    base: Base
    recipe: Recipe
    name: str
    kind: Kind
    class_noun: str
    prompts: tuple[str, ...]
    latents: Tensor
    embeds: Tensor
    guides: Tensor
    on_step: OnStep
    prior: Prior | None = None
    earlier: Earlier | None = None

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.recipe.seed)
        self.curve: list[float] = []
        with torch.no_grad():
            self.empty = self.base.encode_text([""])
        found = {p: self.base.places([p], self.placeholder) for p in self.prompts}
        self.places = {p: named | ended for p, (named, ended) in found.items()}

    @property
    def placeholder(self) -> str:
        return f"<{self.name}>"

    def _read(self, prompt: str, vectors: Tensor) -> Reading:
        tokens = [TokenVectors(self.placeholder, vectors.expand(self.base.text_layers, -1))]
        return Reading(self.base.encode_text([prompt], tokens), self.places[prompt])

    def _any(self, of: Sequence[T]) -> T:
        if len(of) == 1:
            return of[0]
        return of[int(torch.randint(len(of), (), generator=self.generator))]

    def learn_tokens(self, start: Tensor, adapters: Mapping[Site, Bottleneck] | None = None) -> Tensor:
        """Stage 1: one vector (D,) per text-conditioned layer, all from `start`, and with them the adapters given. Returns (L, D)."""
        layers = self.base.text_layers
        vectors = nn.Parameter(start.expand(layers if self.recipe.tokens == "per-layer" else 1, -1).clone())
        if self.recipe.token_steps:
            self._train(
                "tokens",
                self.recipe.token_steps,
                lambda: self._read(self._any(self.prompts), vectors),
                vectors,
                adapters or {},
            )
        return vectors.detach().expand(layers, -1).clone()

    def fresh(self, *kinds: SiteKind, condition: int = 0) -> dict[Site, Bottleneck]:
        """Adapters that change nothing yet, the same for the same seed, at the recipe's sites of these kinds."""
        there = self.base.sites_of(*kinds)
        sites = [site for site in there if re.search(self.recipe.only_sites, site.name)]
        if not sites:
            raise UsageError(
                f"--only-sites {self.recipe.only_sites}: found in no name of a site of base {self.base.name}",
                f"one of the {len(there)} is called {there[0].name}",
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            adapters = fresh_adapters(sites, self.recipe.bottleneck, condition)
        for adapter in adapters.values():
            adapter.to(self.base.device)
        return adapters

    def learn_adapters(
        self, vectors: Tensor, adapters: Mapping[Site, Bottleneck]
    ) -> Mapping[Site, Bottleneck]:
        """Stage 2: the adapters, the tokens standing still."""
        with torch.no_grad():
            readings = [self._read(prompt, vectors) for prompt in self.prompts]
        self._train("adapter", self.recipe.adapter_steps, lambda: self._any(readings), vectors, adapters)
        return adapters

    def _train(
        self,
        stage: Literal["tokens", "adapter"],
        steps: int,
        read: Callable[[], Reading],
        vectors: Tensor,
        adapters: Mapping[Site, Bottleneck],
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": [p for a in adapters.values() for p in a.parameters()], "lr": self.recipe.adapter_lr}
        ]
        if stage == "tokens":
            groups.append({"params": [vectors], "lr": self.recipe.token_lr})
        parameters = [p for g in groups for p in g["params"]]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.99), weight_decay=0.0)
        # Constant, then a linear fall over the last third: the papers' constant rate leaves a short run noisy.
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda i: min(1.0, 3 * (1 - i / steps) + 0.01)
        )
        # Half precision loses gradients of a mean over so many values; bfloat16 has the range.
        scale = 2.0**14 if self.base.dtype == torch.float16 else 1.0
        recent: list[Tensor] = []
        for step in range(1, steps + 1):
            loss = self._loss(read(), adapters, stage) + self._overlap(adapters)
            (loss * scale).backward()
            if scale != 1:
                torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / scale)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            recent.append(loss.detach())
            if step % REPORT_EVERY == 0 or step == steps:
                self.curve.append(float(torch.stack(recent).mean()))
                recent.clear()
                if self.curve[-1] != self.curve[-1]:
                    raise CcvdError(
                        f"the loss of stage {stage} is not a number at step {step}", "try a smaller --lr"
                    )
                snapshot = partial(self.learner, vectors, adapters)
                self.on_step(StepReport(stage, step, steps, self.curve[-1], snapshot))

    def _loss(self, reading: Reading, adapters: Mapping[Site, Bottleneck], stage: str) -> Tensor:
        """The diffusion loss of one batch, a share of it prior pictures; captions are dropped at random.

        Pictures pass without the temporal layers, as if they were any frame of a clip, which is what they will be. So do single frames of
        clips while a motion's tokens are learned, where text says which frame it is: where things are when is what such tokens
        are for, and it costs less than whole clips.
        """
        recipe, base = self.recipe, self.base
        single = self.kind == "motion" and stage == "tokens" and base.tells_moments
        size = recipe.batch_size * (FRAMES_FOR_A_CLIP if single else 1)
        own = max(1, size - (round(recipe.prior_share * size) if self.prior else 0))
        rows = torch.randint(len(self.latents), (own,), generator=self.generator)
        frames = torch.randint(self.embeds.shape[1], (own,), generator=self.generator)
        dropped = (torch.rand(own, generator=self.generator) < recipe.text_dropout).to(base.device)
        guiding = torch.randint(self.embeds.shape[1], (own,), generator=self.generator)
        latents, e = self.latents[rows], self.embeds[rows, guiding].to(base.device)
        text = torch.where(dropped[:, None, None, None], self.empty, reading.text)
        places = reading.places & ~dropped[:, None]  # a dropped prompt does not name the motion
        if self.prior:
            more = torch.randint(len(self.prior.latents), (size - own,), generator=self.generator)
            latents = torch.cat([latents, self.prior.latents[more]])
            text = torch.cat([text, self.prior.text.expand(len(more), -1, -1, -1)])
        moments = torch.arange(latents.shape[2])[None]
        if self.kind != "motion":
            moments = torch.randint(recipe.frames, (len(latents), 1), generator=self.generator)
        elif single:
            latents, moments = latents[torch.arange(own), :, frames][:, :, None], frames[:, None]
        still = base.still() if self.kind != "motion" or single else nullcontext()
        joined = {
            site: Placed([(adapter, places)]) if site.kind == "moment" else adapter
            for site, adapter in adapters.items()
        }
        with still, attached(base.denoiser, joined, e):
            return diffusion_loss(
                base,
                latents,
                base.tell(text, moments),
                self.generator,
                shift=recipe.token_shift if stage == "tokens" else recipe.timestep_shift,
                offset_noise=recipe.offset_noise,
            )

    def _overlap(self, adapters: Mapping[Site, Bottleneck]) -> Tensor | float:
        """lambda times the concept orthogonal loss."""
        if self.earlier is None or not self.recipe.orthogonal_weight:
            return 0.0
        return self.recipe.orthogonal_weight * self.earlier.overlap(adapters)

    def learner(self, vectors: Tensor, adapters: Mapping[Site, Bottleneck]) -> Learner:
        """A copy of what is learned so far, frozen."""
        tokens = vectors.detach().expand(self.base.text_layers, -1).clone()
        with torch.no_grad():
            states = self.base.token_states(TokenVectors(self.placeholder, tokens))
        copies = {
            site.name: deepcopy(adapter).eval().requires_grad_(False) for site, adapter in adapters.items()
        }
        return Learner(
            self.name, self.kind, self.class_noun, tokens, copies, states, self.guides, list(self.curve)
        )


def subject_prompt(name: str, class_noun: str) -> str:
    return " ".join(f"a <{name}> {class_noun}".split())


def motion_prompts(name: str) -> tuple[str, ...]:
    """The name at several places of a sentence: it will have to mean the same behind whoever performs it."""
    return tuple(f"{who} performing <{name}>".lstrip() for who in ("", "a thing", "a big thing"))


def style_prompts(name: str) -> tuple[str, ...]:
    """The name behind several things: it will have to mean the same behind whatever is shown."""
    return tuple(f"{what} in <{name}> style".lstrip() for what in ("", "a picture", "a thing"))


def learn_subject(
    base: Base,
    images: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
    kind: Kind = "subject",
) -> Learner:
    """Tokens, then the identity adapter, from pictures (3, H, W) in [-1, 1]; apart from the `earlier` concepts of its kind, if given.

    A style is learned as a subject is, but prompts name it as a style, and its tokens start from the word unless a noun is given.

    Raises:
        CcvdError: the loss is not a number.
        UsageError: a size that the base cannot make, or no site that the recipe names.
    """
    pictures = torch.stack(list(images))
    base.latent_shape(1, *pictures.shape[2:])
    embeds = base.embed_images(pictures)
    lesson = Lesson(
        base,
        recipe,
        name,
        kind,
        class_noun,
        style_prompts(name) if kind == "style" else (subject_prompt(name, class_noun),),
        latents=base.encode_video(pictures[:, None]),
        embeds=embeds[:, None],
        guides=embeds,
        on_step=on_step,
        earlier=earlier,
    )
    adapters = lesson.fresh("spatial")
    shown, start = ("picture", "style") if kind == "style" else ("thing", "thing")
    if recipe.prior_share:
        with base.still():
            lesson.prior = imagine(base, f"a {class_noun or shown}", lesson.latents.shape[1:], recipe.seed)
    tokens = lesson.learn_tokens(base.noun_vector(class_noun or start))
    return lesson.learner(tokens, lesson.learn_adapters(tokens, adapters))


def learn_motion(
    base: Base,
    clips: Sequence[Tensor],
    *,
    name: str,
    class_noun: str,
    recipe: Recipe,
    on_step: OnStep = lambda _: None,
    earlier: Earlier | None = None,
) -> Learner:
    """Tokens (if the recipe has steps for them), then the motion adapter under appearance guidance, from clips (F, 3, H, W).

    Where text tells frames their moment, the adapter beside the clock is learned with the tokens: together they say where things are when.

    The guide of a training sample is the embedding of one random frame of its clip: what a thing looks like is told, so that the adapter
    has only its movement left to learn (arXiv 2312.04433, section 3.3).

    Raises:
        CcvdError: the loss is not a number.
        UsageError: a size that the base cannot make, or no site that the recipe names.
    """
    stack = torch.stack(list(clips))
    base.latent_shape(stack.shape[1], stack.shape[3], stack.shape[4])
    embeds = base.embed_images(stack.flatten(0, 1)).unflatten(0, stack.shape[:2])
    lesson = Lesson(
        base,
        recipe,
        name,
        "motion",
        class_noun,
        motion_prompts(name),
        latents=base.encode_video(stack),
        embeds=embeds,
        guides=embeds[:, 0],
        on_step=on_step,
        earlier=earlier,
    )
    adapters = lesson.fresh("temporal", "moment", condition=base.image_width)
    says_when = {site: a for site, a in adapters.items() if site.kind == "moment"}
    tokens = lesson.learn_tokens(base.noun_vector(class_noun or "moving"), says_when)
    return lesson.learner(tokens, lesson.learn_adapters(tokens, adapters))


def imagine(base: Base, prompt: str, shape: Sequence[int], seed: int) -> Prior:
    """Pictures that the base makes of a prompt, kept as latents: rehearsing them keeps its other things as they are."""
    with torch.no_grad():
        told, empty = base.encode_text([prompt]), base.encode_text([""])
    text = torch.cat([empty, told]).repeat_interleave(PRIOR_PICTURES, 0)
    settings = SampleSettings(steps=PRIOR_STEPS, guidance_scale=3.0, frames=1, seed=seed)
    return Prior(sample(base, text, (PRIOR_PICTURES, *shape), settings), told)
