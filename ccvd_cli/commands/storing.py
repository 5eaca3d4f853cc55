"""What was learned gets into the registry, whatever has happened meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..output import duration
from ..registering import new_concept
from ..session import Session

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, DataFile, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from .learning import Learning, ToLearn

_PATIENCE, _AGAIN = 600.0, 10.0  # seconds that storing is tried for, and between two tries


def store(
    session: Session,
    registry: Registry,
    learners: Sequence[Learner],
    learning: Learning,
    base: Base,
    began: datetime,
) -> list[ConceptView]:
    """Stores what was learned, all at once.

    That a name was taken meanwhile is no reason to lose it: it gets the next free one. Nor is a full disk or a registry that another
    process holds: there is some time to help it.
    """
    from ccvd_registry import HomeNotWritable, NameTaken, RegistryBusy

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            news = zip(learners, learning.wanted, strict=True)
            made = [
                new_concept(
                    x, base, learning.recipe, data=_data(new), how=_how(learning, learners, x), started=began
                )
                for x, new in news
            ]
            registry.add_all(made)
            break
        except NameTaken as taken:
            learner = next(x for x in learners if x.name == taken.name)
            learner.name = registry.next_name(besides=[x.name for x in learners])
            session.warn(f"{taken.name} was taken meanwhile, so this is {learner.name}.")
        except (HomeNotWritable, RegistryBusy) as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            session.warn(
                f"{error.message}; {error.hint}. What was learned is kept in memory and tried again "
                f"every {_AGAIN:g} s, for {duration(left)}."
            )
            time.sleep(min(_AGAIN, left))
    return registry.find(x.name for x in learners)


def _how(learning: Learning, learners: Sequence[Learner], one: Learner) -> dict[str, Any]:
    """The size that it was learned at, and who was learned beside it."""
    size = {"height": learning.sampling.height, "width": learning.sampling.width}
    beside = [other.name for other in learners if other is not one]
    return {**size, "beside": beside} if beside else size


def _data(new: ToLearn) -> list[DataFile]:
    """The files that it was learned from, each with its mask."""
    from ..engine.masks import ALPHA

    each = zip(new.loaded.used, new.loaded.digests, strict=True)
    data: list[DataFile] = [{"file": path.name, "sha256": digest} for path, digest in each]
    if not new.masks:
        return data
    if not new.masks.used:
        return [{**photo, "mask": ALPHA} for photo in data]
    masks = zip(data, new.masks.used, new.masks.digests, strict=True)
    return [{**photo, "mask": path.name, "mask_sha256": digest} for photo, path, digest in masks]
