"""`ccvd find-masks`: where a base sees a subject in its photos, as masks to look at, mend and learn within."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import check_file, check_sheet
from ..progress import progress
from ..session import Session
from . import masking
from .learning import noun_of
from .opening import find_base, open_base
from .options import LARGEST_SEED, BaseOptions, JsonOption, of_base
from .request import base_of
from .wiring import command

if TYPE_CHECKING:
    from ..engine.media import Loaded

DIM = 0.2  # how much is seen, on the sheet, of what is outside
ACROSS = 6  # photos in a row of the sheet


@dataclass(frozen=True)
class FindMasksOptions:
    """Whose masks, and where they go."""

    images: Annotated[
        Path, Option("--images", metavar="FOLDER", help="3 to 6 photos of it.", show_default=False)
    ]
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="A folder for the masks.", show_default=False)
    ]
    class_noun: Annotated[
        str, Option("--class-noun", metavar="NOUN", help="The word for it: dog.", show_default="thing")
    ] = ""
    sheet: Annotated[
        Path | None,
        Option(
            "--sheet",
            metavar="FILE",
            help="A PNG: the photos, dark outside of their masks.",
            show_default=False,
        ),
    ] = None
    seed: Annotated[
        int, Option("--seed", min=0, max=LARGEST_SEED, help="Of the noise that the base is shown.")
    ] = 0
    height: Annotated[
        int | None, of_base("--height", "Pixels to look at; learn at the same size.", "that of the base")
    ] = None
    width: Annotated[int | None, of_base("--width", "As --height.", "that of the base")] = None
    yes: Annotated[bool, Option("--yes", "-y", help="Write over masks that are there.")] = False
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    command(
        app,
        "find-masks",
        find_masks,
        examples=(
            "ccvd find-masks --images photos/ --class-noun dog --out masks/ --sheet found.png",
            "ccvd learn-subject --images photos/ --class-noun dog --masks masks/",
        ),
        panel="Concepts and clips",
    )


def find_masks(session: Session, options: FindMasksOptions, base: BaseOptions) -> None:
    """See where the base finds a subject in its photos, as `learn-subject --masks auto` does; masks can be mended and given to it."""
    noun = noun_of(options.class_noun)
    if options.sheet:
        check_sheet(options.sheet)
    with session.registry() as registry:
        source = base.base or base_of(registry.list()[-1:])
    from ..engine.masks import own_sizes, write_masks
    from ..engine.media import load_images
    from ..settings import RECIPES, learning_of
    from .overrides import override

    found = find_base(source)
    given = {"height": options.height, "width": options.width}
    sampling = override(learning_of(found.family, "subject"), given)
    size = sampling.height, sampling.width
    found.check_size(*size, 1)
    photos = load_images(options.images, size=size)
    files, sizes = _files(options, photos), own_sizes(photos.used, size)
    for path, reason in photos.skipped:
        session.warn(f"Skipped {path.name}: {reason}.")
    if masking.cut_out(options.images, sampling):
        session.warn("These photos are cut out already: by default they are learned within that.")
    opened = open_base(session, source, base.device, base.dtype)

    import torch

    from ..engine.contrast import seen_by
    from ..engine.lesson import WITHOUT_A_NOUN
    from ..engine.media_out import contact_sheet

    with progress(quiet=session.quiet) as show:
        asked = noun or WITHOUT_A_NOUN["subject"]
        seen = seen_by(opened, photos.tensors, asked, options.seed, partial(show, "masks"), outline=True)
    masks = [one[:1] for one in seen]
    if options.sheet:
        shown = (torch.stack(photos.tensors) + 1) / 2 * (DIM + (1 - DIM) * torch.stack(masks))
        rows = [(noun * (not i) or " ", row) for i, row in enumerate(shown.split(ACROSS))]
        contact_sheet(rows, options.sheet, frames_per_row=ACROSS)
    write_masks(masks, sizes, files)
    if options.json:
        shares = {str(path): round(float(mask.mean()), 3) for path, mask in zip(files, masks, strict=True)}
        emit_json({"masks": shares, "sheet": options.sheet})
        return
    for file in files:
        emit(str(file))
    if options.sheet:
        session.say(f"Sheet: {options.sheet}")
    line = ["ccvd", "learn-subject", "--images", str(options.images), "--masks", str(options.out)]
    line += ["--class-noun", noun] * bool(noun)
    line += [] if RECIPES[found.family]["subject"].find_masks else ["--keep-outside", "1"]
    for option, value in (("--base", base.base), *((f"--{key}", pixels) for key, pixels in given.items())):
        line += [] if value is None else [option, str(value)]
    session.say(f"Learn within them: {shlex.join(line)}")


def _files(options: FindMasksOptions, photos: Loaded) -> list[Path]:
    """One for each photo, named as it is. Raises UsageError."""
    stems = [path.stem for path in photos.used]
    if double := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UsageError(
            f"Two photos of '{options.images}' are called '{double}': their masks would be one.",
            "Rename one.",
        )
    files = [options.out / f"{stem}.png" for stem in stems]
    for file in files:
        check_file(file)
    out, folders = options.out.resolve(), {photo.parent.resolve() for photo in photos.used}
    if out in folders:
        raise UsageError(f"--out '{options.out}' holds the photos themselves.", "Name another folder.")
    if options.sheet and options.sheet.parent.resolve() in {out, *folders}:
        raise UsageError(f"--sheet '{options.sheet}' would be among masks or photos.", "Name another folder.")
    there = [file.name for file in files if file.exists()]
    if there and not options.yes:
        raise UsageError(
            f"'{options.out}' has {', '.join(there)} already.",
            "Name another --out, or write over it with --yes.",
        )
    return files
