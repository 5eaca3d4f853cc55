"""Which regions a clip has: those that are given, or boxes side by side where a prompt names several subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import prompts
from ..errors import UsageError
from ..output import emit, emit_json
from ..row import in_a_row, width_of
from ..session import Session
from .opening import find_base
from .options import RegionOptions

if TYPE_CHECKING:
    from ..regions import Region
    from ..settings import SampleSettings
    from .request import Request


def given_regions(options: RegionOptions) -> list[Region]:
    """Those of --region and --regions. Raises UsageError for any that is none."""
    from .. import regions

    found = [regions.parse(text) for text in options.region or ()]
    return found + (regions.read(options.regions) if options.regions else [])


def placed(
    session: Session,
    request: Request,
    settings: SampleSettings,
    options: RegionOptions,
    *,
    edited: int | None = None,
) -> SampleSettings:
    """`settings` as they are if they have regions; without any, with a place for each of several subjects. Who edits has to ask for them.

    edited: frames of the clip that is edited.

    Raises:
        UsageError: a region does not fit the clip.
    """
    if settings.regions:
        settings = check_fit(settings, request.source, edited)
        _tell_of_room(session, request, settings)
        return settings
    automatic = edited is None if options.auto_regions is None else options.auto_regions
    if automatic:
        settings = _in_a_row(session, request, settings)
    return check_fit(settings, request.source, edited)


def check_fit(settings: SampleSettings, source: str, edited: int | None = None) -> SampleSettings:
    """The same settings. Raises UsageError for a size that the base `source` cannot make, and for regions that do not fit it.

    edited: frames of the clip that is edited, which those of regions count; what is taken of it is made somewhat longer where it must be.
    """
    base = find_base(source)
    frames = settings.frames if edited is None else base.frames_for(settings.frames)
    base.check_size(settings.height, settings.width, frames)
    if settings.windows and base.own_size is None:
        raise UsageError(
            f"--windows: base {base.name} does not say what its own size is.", "Leave --windows out."
        )
    if settings.regions:
        from .. import regions

        cells = max(1, settings.width // base.stride), max(1, settings.height // base.stride)
        regions.check(settings.regions, frames=edited or settings.frames, cells=cells)
    return settings


def _tell_of_room(session: Session, request: Request, settings: SampleSettings) -> None:
    """Boxes that somebody chose stay in a frame of the base's own size, which is small for several subjects."""
    subjects = {c.name for c in request.concepts if c.kind == "subject"}
    boxes = len(subjects & {name for region in settings.regions for name in region.names})
    own = find_base(request.source).own_size
    if boxes > 1 and request.widen and settings.windows is None and own == (settings.height, settings.width):
        session.say(
            f"{boxes} subjects share a frame of {own[1]}x{own[0]}: --width {width_of(boxes, own[1])} --windows gives each as much room "
            "as one has alone."
        )


def _in_a_row(session: Session, request: Request, settings: SampleSettings) -> SampleSettings:
    from .. import regions

    nouns = {c.name: c.class_noun for c in request.concepts if c.kind == "subject"}
    apart = prompts.told_apart(request.prompt, nouns)
    if len(apart) < 2:
        return settings
    if len(apart) > regions.MOST:
        session.warn(
            f"{len(apart)} subjects are too many to stand side by side, and some may be left out: give each a --region."
        )
        return settings
    if again := [text for text in apart if len(nouns.keys() & prompts.named(text)) > 1]:
        session.warn(
            f"'{again[0]}' names several subjects, so no boxes side by side: name each once, or give each a --region."
        )
        return settings
    placed = in_a_row(settings, apart, find_base(request.source).own_size, widen=request.widen)
    session.say("Side by side, so that nobody is left out (--no-auto-regions leaves it to the base):")
    for region in placed.regions:
        session.say(f"  --region '{region}'")
    if placed.width > settings.width:
        session.say(
            f"  --width {placed.width}, so that each has as much room as one alone (--no-windows: {settings.width})"
        )
    return placed


def preview(
    options: RegionOptions, settings: SampleSettings, *, as_json: bool, edited: int | None = None
) -> None:
    """Draws the boxes into --preview-regions, and says so on stdout. `edited` as for `placed`.

    Raises:
        UsageError: there is no box, or the file cannot be written.
    """
    from .. import regions
    from ..outputs import check_output
    from ..region_preview import draw

    assert options.preview_regions is not None
    if options.preview_regions.suffix.lower() != ".png":
        raise UsageError(
            f"--preview-regions '{options.preview_regions}': not a .png file.",
            "Name a file such as boxes.png.",
        )
    if not settings.regions and options.auto_regions is False:
        raise UsageError(
            "There are no regions to draw: --no-auto-regions.", "Give --region, or leave it out."
        )
    if not settings.regions and edited is not None and not options.auto_regions:
        raise UsageError(
            "There are no regions to draw.", "Give --region, or --auto-regions for boxes side by side."
        )
    if not settings.regions:
        raise UsageError(
            "There are no regions to draw.",
            f"Give --region, or name two to {regions.MOST} subjects in the prompt, each once, or a motion that leads.",
        )
    check_output(options.preview_regions)
    frames = edited or settings.frames
    draw(settings.regions, (settings.width, settings.height), frames, options.preview_regions)
    if as_json:
        emit_json({"regions": [str(r) for r in settings.regions], "preview": options.preview_regions})
    else:
        emit(str(options.preview_regions))
