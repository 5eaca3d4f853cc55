"""Which motions lead, and along which paths: read from the registry without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..leading import leaders

if TYPE_CHECKING:
    from ccvd_registry import ConceptView

    from ..settings import SampleSettings


LONGEST = 1000  # frames of a path


def leading(prompt: str, concepts: Sequence[ConceptView], settings: SampleSettings) -> list[str]:
    """The motions that lead somebody in a clip, one for each whom they lead."""
    paths = [concept.name for concept in concepts if path_of(concept)]
    found = leaders(prompt, {concept.name: concept.kind for concept in concepts}, paths, settings)
    return [name for name in found if name]


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
            if sides != 4 or frames > LONGEST:
                return None
            return [[round(float(v), 3) for v in box] for box in file.get_tensor("path")]
    except unreadable:
        return None
