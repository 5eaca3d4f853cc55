"""`--masks`: where the masks of each folder of photos come from, and what that changes of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .learn_options import one_each

if TYPE_CHECKING:
    from ..choices import Kind
    from ..engine.masks import Masks
    from ..engine.media import Loaded
    from ..settings import Recipe, SampleSettings
    from .learning import ToLearn

AUTO, NONE = "auto", "none"  # instead of a folder of masks
_OF_MASKS = ("outside_weight", "keep_weight", "attention_mask_weight", "attention_mask_level")


def sources(given: Sequence[str] | None, count: int) -> Sequence[str]:
    """Where the masks of each of so many folders come from, "" being nowhere in particular. Raises UsageError."""
    if given and "" in given:
        raise UsageError("--masks '': no folder.", f"Give a folder, alpha, {AUTO} or {NONE}.")
    if given and len(given) == 1 and given[0] in (AUTO, NONE):
        given = [*given] * count  # said once for all
    each = one_each(given, count, "--masks") or [""] * count
    if AUTO in each and NONE in each:
        raise UsageError(
            f"--masks {AUTO} for one subject and {NONE} for another.", "Learn them one after the other."
        )
    return each


def cut_out(folder: Path, sampling: SampleSettings) -> bool:
    """Whether all photos of a folder are transparent around something, so that they are their own masks."""
    from ..engine.masks import are_cut_out
    from ..engine.media import find_images

    return are_cut_out(find_images(folder), (sampling.height, sampling.width))


def changes(usual: Recipe, masks: Sequence[str]) -> dict[str, Any]:
    """What masks change of a recipe: whether the base finds those that are not given, and keeps what is outside of these."""
    if not any(masks):
        return {}
    if AUTO in masks and not usual.find_masks:
        return {"find_masks": True, "outline_masks": True, "keep_weight": 1.0}
    return {"find_masks": AUTO in masks}


def check_of_use(recipe: Recipe, overrides: Mapping[str, Any], masks: Sequence[str]) -> None:
    """Raises UsageError if settings of masks are given where there will not be any."""
    from .overrides import option_of

    given = [field for field in _OF_MASKS if overrides[field] is not None]
    if given and not recipe.find_masks and all(mask in ("", NONE) for mask in masks):
        raise UsageError(
            f"{option_of(given[0])} without masks.",
            "Say where the subject is: --masks FOLDER, alpha, or auto.",
        )


def words_for(kind: Kind, new: ToLearn, recipe: Recipe) -> str:
    if new.masks:
        return ", within their masks" if new.masks.used else ", within what is not transparent in them"
    return ", within masks that the base finds" if kind == "subject" and recipe.find_masks else ""


def load(photos: Loaded, source: str, sampling: SampleSettings) -> Masks | None:
    from ..engine.masks import load_masks

    if source in ("", AUTO, NONE):
        return None
    return load_masks(photos, source, size=(sampling.height, sampling.width))
