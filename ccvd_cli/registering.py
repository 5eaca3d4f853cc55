"""What was learned -> what the registry stores of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccvd_registry import DataFile, NewConcept

    from .engine.bases.contract import Base
    from .engine.concept import Learner
    from .settings import Recipe


def new_concept(
    learner: Learner,
    base: Base,
    recipe: Recipe,
    *,
    data: Sequence[DataFile] = (),
    how: Mapping[str, Any] | None = None,
    started: datetime | None = None,
) -> NewConcept:
    """A learner with how it was learned: `data` are the files, `how` is what the recipe does not say, `started` is aware (None: now)."""
    from ccvd_registry import NewConcept

    return NewConcept(
        name=learner.name,
        kind=learner.kind,
        class_noun=learner.class_noun,
        base=base,
        seed=recipe.seed,
        recipe=recipe.model_dump(mode="json"),
        data=list(data),
        how=dict(how or {}),
        loss_curve=learner.loss_curve,
        adapter=learner.adapter_bytes(),
        embedding=learner.embedding_bytes(),
        prototype=learner.prototype_bytes(),
        sites=len(learner.adapters),
        parameters=learner.parameters,
        started=started or datetime.now(timezone.utc),
    )
