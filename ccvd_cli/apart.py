"""Styles that are guided apart from what prompts show: whether, and what is left of the prompts then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .prompts import without_styles

if TYPE_CHECKING:
    from .settings import SampleSettings


def content(
    prompts: Sequence[str], styles: Sequence[str], settings: SampleSettings
) -> tuple[list[str], SampleSettings] | None:
    """Prompts, and settings whose regions have prompts, without `styles`, the names of those that take part.

    None where they are part of the prompts: if nobody wants them apart; if concepts may take part that no prompt names; if a style is not
    all prompts', or only some regions'; or if without them a prompt would say nothing, or a region name nobody.
    """
    regions = [region.prompt for region in settings.regions]
    if not styles or not settings.style_guidance or settings.open_to_others:
        return None
    for name in styles:
        everywhere = all(f"<{name}>" in prompt for prompt in prompts)
        if not everywhere or len({f"<{name}>" in region for region in regions}) > 1:
            return None
    said = [without_styles(prompt, styles) for prompt in prompts]
    told = in_regions(settings, [without_styles(region, styles) for region in regions])
    if not all(said) or not all(region.prompt and region.names for region in told.regions):
        return None
    return said, told


def in_regions(settings: SampleSettings, prompts: Sequence[str]) -> SampleSettings:
    """The same settings, with other prompts in its regions."""
    regions = tuple(
        region.model_copy(update={"prompt": prompt})
        for region, prompt in zip(settings.regions, prompts, strict=True)
    )
    return settings.model_copy(update={"regions": regions})
