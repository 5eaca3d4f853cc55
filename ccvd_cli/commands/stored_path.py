"""The path of a registered motion, read without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccvd_registry import ConceptView


def path_of(concept: ConceptView) -> list[list[float]] | None:
    """Boxes by frame, as x and y of the middle, width and height, in fractions of the frame.

    None if it has no path, or cannot be read: who uses it will say so.
    """
    from safetensors import SafetensorError, safe_open

    if concept.kind != "motion":
        return None
    try:
        with safe_open(concept.embedding_path, "np") as file:
            if "path" not in file.keys():  # noqa: SIM118  (it is no dictionary)
                return None
            return [[round(float(v), 3) for v in box] for box in file.get_tensor("path")]
    except (SafetensorError, OSError):
        return None
