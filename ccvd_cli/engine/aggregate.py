"""Several learners -> one wide adapter per site. Done once per prompt, whatever the number of stored concepts.

Concepts of one kind share the weight of 1 at each site: subjects and styles among the spatial adapters, motions among the temporal ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .adapters import Wide
from .bases.contract import Base, Site
from .concept import Learner


def equal_weights(learners: Sequence[Learner]) -> dict[str, float]:
    """Each concept's share among those that use the same kind of site."""
    motions = sum(x.kind == "motion" for x in learners)
    others = len(learners) - motions
    return {x.name: 1 / (motions if x.kind == "motion" else others) for x in learners}


def guide(learners: Sequence[Learner]) -> Tensor | None:
    """The image embedding that guides appearance: one training picture of the first subject, (1, E).

    Without a subject there is none: a motion's own clips would bring back what they look like, which guidance kept out of the adapter.
    """
    subjects = [x for x in learners if x.kind == "subject"]
    return subjects[0].image_prototypes[:1] if subjects and subjects[0].image_prototypes.numel() else None


def fold(base: Base, learners: Sequence[Learner]) -> dict[Site, Wide]:
    """One wide adapter per site that any of the learners touches: dW_l = sum_j z_j dW_j,l (arXiv 2410.17594, equation 6)."""
    weights, e = equal_weights(learners), guide(learners)
    folded = {}
    for site in base.sites:
        parts = [(x.adapters[site.name], weights[x.name], e) for x in learners if site.name in x.adapters]
        if parts:
            folded[site] = Wide(parts).to(base.device, base.dtype)
    return folded
