"""Task-aware concept aggregation: how much each concept has to say to a prompt, and one wide adapter per site of all of them.

For layer l, c_l being the prompt's text states and h_j,l those of concept j's own token (arXiv 2410.17594, section 3.3):

    H_j,l = max over words of cos(c_l, h_j,l)        zeta_j,l = H_j,l^4 / sum_i H_i,l^4        dW_l = sum_j zeta_j,l dW_j,l

Concepts of one kind share the weight of 1. Where a subject and a style act in the same layers, each kind has it times 1 / sqrt(2): what they add
is unlike, so both together are as much as either alone, and half of a style is hardly seen. Where concepts may take part that no prompt
names, all that act in the same layers share the weight of 1, as the paper has it: subjects and styles in the spatial ones, motions in the
temporal ones, which use the weights of the spatial layer beside them. All of it depends on the prompt and not on the noise: it is done once
per prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import SampleSettings
from .adapters import Placed, Wide
from .bases.contract import Base, Site
from .concept import Learner

POWER = 4
BY_LAYERS = ("subject", "style"), ("motion",)  # kinds that act in the same layers
NEGLIGIBLE = 0.01  # who is not named, and weighs less than this share of the weightiest, is not worth opening
Why = Literal["named", "relevant"]


@dataclass(frozen=True)
class Candidate:
    """A concept that may take part: prototypes (L, D) are the text states of its token alone."""

    name: str
    kind: str
    prototypes: Tensor


@dataclass(frozen=True)
class Share:
    """How much a concept takes part: weights (L,), one per text-conditioned layer."""

    name: str
    kind: str
    why: Why
    weights: Tensor

    @property
    def mean(self) -> float:
        return float(self.weights.mean())


def candidates(learners: Sequence[Learner]) -> list[Candidate]:
    return [Candidate(x.name, x.kind, x.text_prototypes.cpu()) for x in learners]


def relevance(states: Tensor, words: Tensor, prototypes: Tensor) -> Tensor:
    """H: text states (B, L, T, D), of which `words` (B, T) count, and prototypes (J, L, D) -> (J, L), the mean over prompts."""
    near = torch.einsum(
        "bltd,jld->bjlt", F.normalize(states.float(), dim=-1), F.normalize(prototypes.float(), dim=-1)
    )
    near = near.masked_fill(~words[:, None, None], -1)
    return near.amax(-1).mean(0)


def relevance_weights(relevances: Tensor) -> Tensor:
    """(J, L) -> weights that sum to 1 over concepts in every layer."""
    powers = relevances.clamp(min=1e-3) ** POWER
    return powers / powers.sum(0)


def weigh(
    base: Base,
    prompts: Sequence[str],
    states: Tensor,
    among: Sequence[Candidate],
    settings: SampleSettings,
) -> list[Share]:
    """Who takes part in prompts of these text states (B, L, T, D), and how much.

    `named`: concepts that a prompt names, by relevance; others join them from the threshold on, the `top_k` most relevant at most.
    `relevance`: all of the candidates, by relevance, of which the threshold and `top_k` may leave some out. `mean`: all of them alike, the
    merge of LoRA-M. `off`: nothing is weighed, each that is named acts with weight 1.
    """
    named = {c.name for c in among if any(f"<{c.name}>" in p for p in prompts)}
    shares: list[Share] = []
    taking = among if settings.open_to_others else [c for c in among if c.name in named]
    for kinds in BY_LAYERS:
        sharing = [kinds] if settings.open_to_others else [(kind,) for kind in kinds]
        groups = [group for some in sharing if (group := [c for c in taking if c.kind in some])]
        for group in groups:
            level = 1.0 if settings.aggregation == "off" else len(groups) ** -0.5
            weighed = _weighed(base, prompts, states, group, named, settings)
            shares += [replace(s, weights=level * s.weights) for s in weighed]
    order = [c.name for c in among]
    return sorted(shares, key=lambda s: order.index(s.name))


def _weighed(
    base: Base,
    prompts: Sequence[str],
    states: Tensor,
    members: list[Candidate],
    named: set[str],
    settings: SampleSettings,
) -> list[Share]:
    """The shares of one group, whose weights sum to 1 in every layer (unless nothing is weighed)."""
    relevances = relevance(
        states, base.words(prompts), torch.stack([c.prototypes for c in members]).to(states.device)
    ).cpu()
    weights = torch.ones_like(relevances)
    if settings.aggregation != "off":
        kept = _joining(members, relevances.mean(1), named, settings)
        members, relevances = [members[k] for k in kept], relevances[kept]
        if not members:
            return []
        equal = settings.aggregation == "mean"
        weights = torch.full_like(relevances, 1 / len(members)) if equal else relevance_weights(relevances)
        asked, means = torch.tensor([c.name in named for c in members]), weights.mean(1)
        heard = asked | (means >= NEGLIGIBLE * means.max())
        members = [c for c, hears in zip(members, heard.tolist(), strict=True) if hears]
        weights = weights[heard] / weights[heard].sum(0)
    return [
        Share(c.name, c.kind, "named" if c.name in named else "relevant", w)
        for c, w in zip(members, weights, strict=True)
    ]


def _joining(members: list[Candidate], means: Tensor, named: set[str], settings: SampleSettings) -> list[int]:
    """Indices of those that take part, in their order: whoever is named, and of the others the most relevant."""
    if settings.aggregation == "mean":
        return list(range(len(members)))
    least = settings.relevance_threshold if settings.relevance_threshold is not None else 0.0
    asked = [k for k, c in enumerate(members) if c.name in named]
    others = [k for k in means.argsort(descending=True).tolist() if k not in asked and means[k] >= least]
    return sorted(asked + others[: settings.top_k])


def guide(learners: Sequence[Learner]) -> Tensor | None:
    """The image embedding that guides appearance: one training picture of the first subject, (1, E).

    Without a subject there is none: a motion's own clips would bring back what they look like, which guidance kept out of the adapter.
    """
    subjects = [x for x in learners if x.kind == "subject"]
    return subjects[0].image_prototypes[:1] if subjects and subjects[0].image_prototypes.numel() else None


def fold(base: Base, learners: Sequence[Learner], shares: Sequence[Share]) -> dict[Site, Wide]:
    """One wide adapter per spatial or temporal site that any of the learners touches."""
    by_name = {s.name: s for s in shares}
    e, folded = guide(_named(learners, shares)), {}
    for site in base.sites_of("spatial", "temporal"):
        parts = [
            (x.adapters[site.name], float(by_name[x.name].weights[site.layer]), e)
            for x in learners
            if x.name in by_name and site.name in x.adapters
        ]
        if parts:
            folded[site] = Wide(parts).to(base.device, base.dtype)
    return folded


def speaking(
    base: Base, rows: Sequence[str], learners: Sequence[Learner], shares: Sequence[Sequence[Share]]
) -> dict[Site, Placed]:
    """The adapters beside the clock, each at the words that it may change in the rows that `tell` will read.

    At its own name a motion acts alone; at the end of a prompt that names several, by their weights. `shares`: of each row.
    """
    e, spoken = _guides(learners, shares), {}
    for site in base.sites_of("moment"):
        parts = []
        for x in learners:
            if site.name not in x.adapters:
                continue
            named, ended = base.places(rows, x.token_vectors().placeholder)
            shared = torch.tensor([_mean_of(x.name, s) for s in shares])[:, None]
            places = (named.float() + ended.float() * shared.to(ended.device)) * (shared > 0).to(ended.device)
            parts.append((Wide([(x.adapters[site.name], 1.0, e)]).to(base.device, base.dtype), places))
        if parts:
            spoken[site] = Placed(parts)
    return spoken


def _guides(learners: Sequence[Learner], shares: Sequence[Sequence[Share]]) -> Tensor | None:
    """The guide of each row, (B, E); zeros, which guide nowhere, where no subject takes part."""
    width = learners[0].image_prototypes.shape[-1] if learners else 0
    guides = [guide(_named(learners, row)) for row in shares]
    if not width or not any(e is not None for e in guides):
        return None
    nothing = torch.zeros(1, width, device=learners[0].image_prototypes.device)
    return torch.cat([nothing if e is None else e for e in guides])


def _named(learners: Sequence[Learner], shares: Sequence[Share]) -> list[Learner]:
    """Whoever merely joins a prompt does not say what things in it look like."""
    named = {s.name for s in shares if s.why == "named"}
    return [x for x in learners if x.name in named]


def _mean_of(name: str, shares: Sequence[Share]) -> float:
    return next((s.mean for s in shares if s.name == name), 0.0)
