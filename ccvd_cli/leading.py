"""Whom motions lead along the paths of their clips: decided by names alone. Who is led, and where, is in engine/path_following.py."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from .prompts import named

if TYPE_CHECKING:
    from .settings import SampleSettings


def leaders(
    prompt: str, kinds: Mapping[str, str], paths: Collection[str], settings: SampleSettings
) -> list[str | None]:
    """The motion that leads in each region, or None; where there are no regions, that of the whole prompt, if it leads.

    A region is led by the one motion that it names, if that has a path and the region stands still; a prompt that names no more than one
    subject, by its one motion.

    Args:
        kinds: of the concepts that take part, by name.
        paths: the motions among them that have one.
    """

    def leader(said: str) -> str | None:
        motions = [name for name in named(said) if kinds.get(name) == "motion"]
        return motions[0] if len(motions) == 1 and motions[0] in paths else None

    if not settings.path_strength or settings.frames == 1:
        return [None] * len(settings.regions)
    if settings.regions:
        still = [len(region.keyframes) == 1 for region in settings.regions]
        return [leader(r.prompt) if at else None for r, at in zip(settings.regions, still, strict=True)]
    said = named(prompt)
    subjects = [name for name in said if kinds.get(name) == "subject"]
    found = leader(prompt) if len(subjects) < 2 and kinds.keys() >= set(said) else None
    return [found] if found else []
