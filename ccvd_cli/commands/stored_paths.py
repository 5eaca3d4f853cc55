"""Which motions lead, and along which paths: read from the registry without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..leading import LONGEST, leaders, led_regions

if TYPE_CHECKING:
    from ccvd_registry import ConceptView

    from ..settings import SampleSettings


def leading(prompt: str, concepts: Sequence[ConceptView], settings: SampleSettings) -> list[str]:
    """The motions that lead somebody in a clip, one for each whom they lead."""
    return [name for name in _leading(prompt, concepts, settings)[0] if name]


def led(prompt: str, concepts: Sequence[ConceptView], settings: SampleSettings) -> SampleSettings:
    """The same settings, with the boxes along which motions will lead."""
    found, paths = _leading(prompt, concepts, settings)
    if not any(found):
        return settings
    return settings.model_copy(update={"regions": led_regions(prompt, found, paths, settings)})


def _leading(
    prompt: str, concepts: Sequence[ConceptView], settings: SampleSettings
) -> tuple[list[str | None], dict[str, list[list[float]]]]:
    paths = {concept.name: path for concept in concepts if (path := path_of(concept))}
    return leaders(prompt, {concept.name: concept.kind for concept in concepts}, paths, settings), paths


def path_of(concept: ConceptView) -> list[list[float]] | None:
    """Boxes by frame, as x and y of the middle, width and height, in fractions of the frame.

    None if it has no path, or cannot be read: who uses it will say so.
    """
    from safetensors import SafetensorError, safe_open

    # Of types that numpy does not know, safetensors asks numpy all the same.
    unreadable = SafetensorError, OSError, TypeError, ValueError, AttributeError
    if concept.kind != "motion":
        return None
    try:
        with safe_open(concept.embedding_path, "np") as file:
            if "path" not in file.keys():  # noqa: SIM118  (it is no dictionary)
                return None
            frames, sides = file.get_slice("path").get_shape()
            if sides != 4 or not 2 <= frames <= LONGEST:
                return None
            path = [[round(float(v), 3) for v in box] for box in file.get_tensor("path")]
            return path if all(0 <= v <= 1 for box in path for v in box) else None
    except unreadable:
        return None
