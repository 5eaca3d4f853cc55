"""Which regions a clip has: those that are given, or boxes side by side where a prompt names several subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import prompts, regions
from ..errors import UsageError
from ..session import Session
from .options import RegionOptions

if TYPE_CHECKING:
    from ccvd_registry import ConceptView

    from ..regions import Region
    from ..settings import SampleSettings


def given_regions(options: RegionOptions) -> list[Region]:
    """Those of --region and --regions. Raises UsageError for any that is no region."""
    found = [regions.parse(text) for text in options.region or ()]
    return found + (regions.read(options.regions) if options.regions else [])


def placed(
    session: Session,
    prompt: str,
    concepts: Sequence[ConceptView],
    given: Sequence[Region],
    options: RegionOptions,
) -> list[Region]:
    """The given regions; without any, and unless that is switched off, a box for each of several subjects."""
    if given or not options.auto_regions:
        return list(given)
    nouns = {c.name: c.class_noun for c in concepts if c.kind == "subject"}
    apart = prompts.told_apart(prompt, nouns)
    if len(apart) < 2:
        return []
    row = regions.side_by_side(apart)
    session.say("Side by side, so that nobody is left out (--no-auto-regions leaves it to the base):")
    for region in row:
        session.say(f"  --region '{region}'")
    return row


def check_fit(settings: SampleSettings, prompt: str, stride: int) -> None:
    """Raises UsageError for regions that do not fit the prompt or the clip."""
    cells = settings.width // stride, settings.height // stride
    regions.check(settings.regions, prompt, frames=settings.frames, cells=cells)


def preview(options: RegionOptions, settings: SampleSettings) -> None:
    """Draws the boxes into --preview-regions. Raises UsageError without a box, or for a file that cannot be written."""
    from ..outputs import check_output
    from ..region_preview import draw

    assert options.preview_regions is not None
    if options.preview_regions.suffix.lower() != ".png":
        raise UsageError(
            f"--preview-regions '{options.preview_regions}': not a .png file.",
            "Name a file such as boxes.png.",
        )
    if not settings.regions:
        raise UsageError(
            "There are no regions to draw.", "Give --region, or name two subjects in the prompt."
        )
    check_output(options.preview_regions)
    draw(settings.regions, (settings.width, settings.height), settings.frames, options.preview_regions)
