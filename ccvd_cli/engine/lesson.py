"""A lesson: all that a task is learned from, its losses, and the two stages of learning it.

Stage 1 learns the concept's layer-specific tokens, stage 2 freezes them and learns the adapter. Latents are computed once; so are the
text states as soon as the tokens stand still. The base is frozen throughout; of old concepts only their subspaces
are read, and none is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..choices import Kind
from ..errors import UsageError
from ..settings import Recipe
from .adapters import Bottleneck, Placed, attached
from .attention_maps import layers_at, watching
from .bases.contract import Base, Places, Site, SiteKind, TokenVectors
from .concept import Learner, fresh_adapters
from .losses import Noised, Within, attention_mask_loss, diffusion_loss, noised
from .optimise import OnStep, StepReport, optimise
from .prior import Prior
from .retention import Earlier
from .transfer import picked, sent

T = TypeVar("T")
Stage = Literal["tokens", "adapter"]
WITHOUT_A_NOUN: dict[Kind, str] = {"subject": "thing", "motion": "moving", "style": "style"}
FRAMES_FOR_A_CLIP = 8  # so many single frames stand for a clip of a batch


class Reading(NamedTuple):
    """A training prompt as the base reads it: text (1, L, T, D), and where in it the concept stands."""

    text: Tensor
    places: Places


def adapted_sites(base: Base, recipe: Recipe, *kinds: SiteKind) -> list[Site]:
    """The sites of these kinds that a recipe adapts. Raises UsageError if there is none."""
    first = base.text_layers - (recipe.last_layers or base.text_layers)
    late = [s for s in base.sites_of(*kinds) if s.kind != "spatial" or s.depth >= first]
    sites = [site for site in late if re.search(recipe.only_sites, site.name)]
    if not sites:
        among = f" among its last {recipe.last_layers} layers (--last-layers 0: all)" * (
            len(late) != len(base.sites_of(*kinds))
        )
        raise UsageError(
            f"--only-sites {recipe.only_sites}: found in no name of a site of base {base.name}{among}",
            f"one of the {len(late)} is called {late[0].name}",
        )
    return sites


def where_said(adapters: Mapping[Site, Bottleneck], places: Tensor) -> dict[Site, nn.Module]:
    """Those beside the clock act at `places` (B, T) of the text alone, the others everywhere."""
    return {s: Placed([(a, places)]) if s.kind == "moment" else a for s, a in adapters.items()}


class Extra(Protocol):
    """What a way of continual learning adds to a task."""

    def term(self, lesson: Lesson, adapters: Mapping[Site, Bottleneck], stage: Stage) -> Tensor | float:
        """Added to the loss of every step; `adapters` are those being learned, in stage 1 mostly none."""

    def learned(self, lesson: Lesson, vectors: Tensor, adapters: Mapping[Site, Bottleneck]) -> None:
        """Hears that all is learned, while the lesson's material is still at hand."""


@dataclass
class Lesson:
    """What one task is learned from. latents (N, C, F, h, w); embeds (N, F, E) image embeddings of every frame; guides (M, E) those kept.

    masks (N, h, w) in [0, 1]: where in the latents it is, if that was told; `apart`: where it surely is not; `watched`: the layers whose
    attention follows the masks.
    path (F, 4): of a motion that leads somewhere, where (path_finding.py). start (D,): where tokens start instead of at a word.
    resting: adapters that act while tokens are learned. empty (1, L, T, D): the text of nothing; plain, if there are masks: of the class noun
    alone. curve: the losses so far.
    """

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
    masks: Tensor | None = None
    apart: Tensor | None = None
    watched: Sequence[str] = ()
    path: Tensor | None = None
    start: Tensor | None = None
    extra: Extra | None = None
    resting: Mapping[Site, Bottleneck] = field(default_factory=dict)
    curve: list[float] = field(default_factory=list, init=False)
    generator: torch.Generator = field(init=False)
    empty: Tensor = field(init=False)
    plain: Tensor = field(init=False)
    places: dict[str, Places] = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.recipe.seed)
        with torch.no_grad():
            self.empty = self.base.encode_text([""])
        self.places = {p: self.base.places([p], self.placeholder) for p in self.prompts}

    @property
    def placeholder(self) -> str:
        return f"<{self.name}>"

    def read(self, prompt: str, vectors: Tensor) -> Reading:
        tokens = [TokenVectors(self.placeholder, vectors.expand(self.base.text_layers, -1))]
        return Reading(self.base.encode_text([prompt], tokens), self.places[prompt])

    def look_within(self, masks: Sequence[Tensor]) -> None:
        """From here on, what lies within the masks (1 or 2, H, W) of the pictures is learned first of all, and the name is read there; outside
        of them what was answered before can be kept. A second channel says what is near the subject: only beyond that it is kept.
        """
        with torch.no_grad():
            self.plain = self.base.encode_text([f"a {self.class_noun}" if self.class_noun else ""])
        size = self.latents.shape[-2:]
        both = F.interpolate(torch.stack(list(masks)), size=size, mode="area").to(self.base.device)
        self.masks, self.apart = both[:, 0], 1 - both[:, -1]
        if self.recipe.attention_mask_weight:
            level = self.recipe.attention_mask_level
            self.watched = layers_at(self.base, self.latents[:1], self.empty, level)

    def _any(self, of: Sequence[T]) -> T:
        if len(of) == 1:
            return of[0]
        return of[int(torch.randint(len(of), (), generator=self.generator))]

    def fresh_tokens(self) -> nn.Parameter:
        """One vector (D,) per text-conditioned layer, or one for all, (L or 1, D): all start as the recipe's word, or the class noun."""
        noun = self.class_noun or WITHOUT_A_NOUN[self.kind]
        start = self.base.noun_vector(self.recipe.token_start or noun) if self.start is None else self.start
        rows = self.base.text_layers if self.recipe.tokens == "per-layer" else 1
        return nn.Parameter(start.expand(rows, -1).clone())

    def learn_tokens(self, adapters: Mapping[Site, Bottleneck] | None = None) -> Tensor:
        """Stage 1: the tokens, and with them the adapters given. Returns (L, D)."""
        vectors = self.fresh_tokens()
        if self.recipe.token_steps:
            self._train(
                "tokens",
                self.recipe.token_steps,
                lambda: self.read(self._any(self.prompts), vectors),
                vectors,
                adapters or {},
            )
        return vectors.detach().expand(self.base.text_layers, -1).clone()

    def fresh(self, *kinds: SiteKind, condition: int = 0) -> dict[Site, Bottleneck]:
        """Adapters that change nothing yet, the same for the same seed, at the recipe's sites of these kinds."""
        sites = adapted_sites(self.base, self.recipe, *kinds)
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
            readings = [self.read(prompt, vectors) for prompt in self.prompts]
        self._train("adapter", self.recipe.adapter_steps, lambda: self._any(readings), vectors, adapters)
        return adapters

    def learn(
        self, adapters: Mapping[Site, Bottleneck], early: Mapping[Site, Bottleneck] | None = None
    ) -> Learner:
        """Both stages; `early`: the adapters that are learned with the tokens."""
        tokens = self.learn_tokens(early)
        learned = self.learn_adapters(tokens, adapters)
        if self.extra:
            self.extra.learned(self, tokens, learned)
        return self.learner(tokens, learned)

    def _train(
        self,
        stage: Stage,
        steps: int,
        read: Callable[[], Reading],
        vectors: Tensor,
        adapters: Mapping[Site, Bottleneck],
    ) -> None:
        def on_loss(step: int, loss: float) -> None:
            self.curve.append(loss)
            self.on_step(StepReport(stage, step, steps, loss, lambda: [self.learner(vectors, adapters)]))

        more = self.extra.term if self.extra else lambda *_: 0.0
        optimise(
            stage,
            self.groups(stage, vectors, adapters),
            steps,
            lambda: self.loss(read(), adapters, stage) + self.overlap(adapters) + more(self, adapters, stage),
            self.base.dtype,
            on_loss,
        )

    def groups(
        self, stage: Stage, vectors: Tensor, adapters: Mapping[Site, Bottleneck]
    ) -> list[dict[str, Any]]:
        """What a stage trains, and how fast: adapters if there are any, and tokens in their own stage."""
        parameters = [p for a in adapters.values() for p in a.parameters()]
        groups: list[dict[str, Any]] = [{"params": parameters, "lr": self.recipe.adapter_lr}]
        if stage == "tokens":
            groups.append({"params": [vectors], "lr": self.recipe.token_lr})
        return groups

    def frame_by_frame(self, stage: Stage) -> bool:
        """Whether clips are learned as single frames."""
        return self.kind == "motion" and stage == "tokens" and self.base.tells_moments

    def loss(self, reading: Reading, adapters: Mapping[Site, Bottleneck], stage: Stage) -> Tensor:
        """The diffusion loss of one batch, a share of it prior pictures; captions are dropped at random.

        Pictures pass without the temporal layers, as if they were any frame of a clip, which is what they will be. So do single frames of
        clips while a motion's tokens are learned, where text says which frame it is: where things are when is what such tokens
        are for, and it costs less than whole clips.
        """
        recipe, base = self.recipe, self.base
        single = self.frame_by_frame(stage)
        size = recipe.batch_size * (FRAMES_FOR_A_CLIP if single else 1)
        own = max(1, size - (round(recipe.prior_share * size) if self.prior else 0))
        rows = torch.randint(len(self.latents), (own,), generator=self.generator)
        frames = torch.randint(self.embeds.shape[1], (own,), generator=self.generator)
        dropped = sent(torch.rand(own, generator=self.generator) < recipe.text_dropout, base.device)
        guiding = torch.randint(self.embeds.shape[1], (own,), generator=self.generator)
        latents, e = picked(self.latents, rows), picked(self.embeds, rows, guiding).to(base.device)
        text = torch.where(dropped[:, None, None, None], self.empty, reading.text)
        speaks = reading.places.named | reading.places.ended
        places = speaks & ~dropped[:, None]  # a dropped prompt does not name the motion
        if self.prior:
            more = torch.randint(len(self.prior.latents), (size - own,), generator=self.generator)
            latents = torch.cat([latents, picked(self.prior.latents, more)])
            text = torch.cat([text, self.prior.text.expand(len(more), -1, -1, -1)])
        moments = torch.arange(latents.shape[2])[None]
        if self.kind != "motion":
            moments = torch.randint(recipe.frames, (len(latents), 1), generator=self.generator)
        elif single:
            latents, moments = (
                picked(latents.transpose(1, 2), torch.arange(own), frames)[:, :, None],
                frames[:, None],
            )
        acting = {**self.resting, **adapters} if stage == "tokens" else adapters
        shift = recipe.token_shift if stage == "tokens" else recipe.timestep_shift
        sample = noised(base, latents, self.generator, shift=shift, offset_noise=recipe.offset_noise)
        with base.still() if self.kind != "motion" or single else nullcontext():
            with attached(base.denoiser, where_said(self.resting, places)):
                where = self._within(rows, sample, moments, dropped)
            with (
                attached(base.denoiser, where_said(acting, places), e),
                watching(base.denoiser, self.watched) as maps,
            ):
                loss = diffusion_loss(
                    base,
                    sample,
                    base.tell(text, moments),
                    self.generator,
                    within=where,
                    debias=recipe.debias_weight,
                )
        return loss + self._gaze(maps, reading.places.named[0], rows, ~dropped)

    def _within(self, rows: Tensor, sample: Noised, moments: Tensor, dropped: Tensor) -> Within | None:
        """Where the loss looks: within the masks of the samples `rows`, and in all of the prior pictures behind them."""
        if self.masks is None or self.apart is None:
            return None
        more = len(sample.noisy) - len(rows)
        masks = torch.cat([picked(self.masks, rows), self.masks.new_ones(more, *self.masks.shape[1:])])
        apart = torch.cat([picked(self.apart, rows), self.masks.new_zeros(more, *self.masks.shape[1:])])
        plain = torch.where(dropped[:, None, None, None], self.empty, self.plain)
        plain = torch.cat([plain, self.plain.expand(more, -1, -1, -1)])
        return Within.by(self.recipe, self.base, masks, apart, sample, plain, moments)

    def _gaze(self, maps: Mapping[str, Tensor], names: Tensor, rows: Tensor, named: Tensor) -> Tensor | float:
        """The weighted attention-mask loss of those samples `rows` (R,) whose prompt has the concept in it: `named` (R,)."""
        if self.masks is None or not maps:
            return 0.0
        seen = [of_layer[: len(rows)] for of_layer in maps.values()]
        loss = attention_mask_loss(seen, names, picked(self.masks, rows), named)
        return self.recipe.attention_mask_weight * loss

    def overlap(self, adapters: Mapping[Site, Bottleneck]) -> Tensor | float:
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
        about = self.name, self.kind, self.class_noun
        return Learner(*about, tokens, copies, states, self.guides, self.path, list(self.curve))
