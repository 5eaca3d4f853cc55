"""`ccvd edit`: a clip and a prompt that names concepts -> the clip made anew, with a sidecar."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..clips import default_path, sidecar_path
from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import LARGEST, check_file, check_output, clip_files, written_size
from ..paths import as_text
from ..progress import progress
from ..session import Session
from . import placing
from .options import BaseOptions, EditOptions, OutOptions, PictureOptions, RegionOptions
from .request import (
    Opened,
    Request,
    begin,
    explain,
    load,
    record,
)
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..engine.media import Film
    from ..settings import EditSettings
    from ..sidecar import Sidecar


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    video: Path
    prompt: str
    how: EditOptions
    out: OutOptions
    sampling: PictureOptions
    regions: RegionOptions
    base: BaseOptions


@dataclass(frozen=True, kw_only=True)
class Edit(Request):
    """A clip to be made anew."""

    video: Path
    film: Film
    how: EditSettings
    path: Path


def register(app: typer.Typer) -> None:
    command(
        app,
        "edit",
        edit,
        examples=(
            'ccvd edit --video walk.mp4 "a <V1> dog on the beach" --out beach.mp4',
            'ccvd edit --video walk.mp4 "a dog in <V7> style" --strength 0.4 --seed 7',
            'ccvd edit --video walk.mp4 "a cat walking" --method ddim --source-prompt "a dog walking"',
        ),
        panel="Concepts and clips",
    )


def edit(
    session: Session,
    video: Annotated[
        Path, Option("--video", metavar="FILE", help="The clip: any that FFmpeg reads.", show_default=False)
    ],
    prompt: Annotated[
        str, Argument(help="What to show; <V1> stands for the concept V1.", show_default=False)
    ],
    how: EditOptions,
    out: OutOptions,
    sampling: PictureOptions,
    regions: RegionOptions,
    base: BaseOptions,
) -> None:
    """Make a clip anew under a prompt.

    The new clip takes as long as the old one, with its size and, as .mp4, its frame rate, but without sound. Frames are squeezed to what
    the base makes, and stretched again.

    Of a clip with more frames than --frames, so many are taken at equal distances, and each new one is held until the next.
    """
    with session.registry() as registry:
        request = _prepare(session, registry, Given(video, prompt, how, out, sampling, regions, base))
        if regions.preview_regions:
            placing.preview(regions, request.settings, as_json=out.json, edited=request.film.count)
            return
        opened = load(session, registry, request)
        if regions.explain:
            explain(opened)
        about, files = _make(session, request, opened)
        record(session, registry, about, opened.concepts, opened.base, request.path)
    if out.json:
        shown = about.model_dump(exclude_none=True)
        emit_json({**shown, "files": files, "sidecar": sidecar_path(request.path)})
    else:
        for file in files:
            emit(str(file))


def _prepare(session: Session, registry: Registry, given: Given) -> Edit:
    """Everything that can be wrong with a request, before a model is loaded. Raises UsageError."""
    from ..engine import media

    prompt, video = given.prompt, given.video
    asked = begin(registry, prompt, given.regions, given.sampling, given.base, given.out.seed)
    wanted, settings = _how(given.how, given.sampling), asked.settings
    if settings.frames < 2:
        raise UsageError(f"--frames {settings.frames}: a clip has two frames or more.")
    path = given.out.out or default_path(prompt, settings.seed)
    check_output(path)
    check_file(sidecar_path(path))
    if path.exists() and video.exists() and path.samefile(video):
        raise UsageError(f"--out '{path}' is the clip itself.", "Choose another --out.")
    film = media.load_film(video, size=(settings.height, settings.width), most=settings.frames)
    if max(film.size) > LARGEST:
        height, width = film.size
        raise UsageError(
            f"'{video}' has {width}x{height} pixels: no clip of more than {LARGEST} a side can be written.",
            "Make it smaller.",
        )
    changed: dict[str, Any] = {"frames": len(film.frames), "path_strength": 0.0}  # it goes where it went
    if wanted.method == "ddim":
        changed["scheduler"] = "ddim"
    settings = settings.model_copy(update=changed)
    settings = placing.placed(
        session, replace(asked, widen=False), settings, given.regions, edited=film.count
    )
    return Edit(
        **{**vars(asked), "settings": settings},
        video=video,
        film=film,
        how=wanted,
        path=path,
    )


def _how(options: EditOptions, sampling: PictureOptions) -> EditSettings:
    from ..prompts import named
    from ..settings import EditSettings
    from .overrides import override

    how = override(EditSettings(), asdict(options))
    if how.source_prompt and how.method != "ddim":
        raise UsageError("--source-prompt is for --method ddim.", "Noise is added whatever the clip shows.")
    if how.source_prompt and named(how.source_prompt):
        raise UsageError(
            f"--source-prompt '{how.source_prompt}': the base alone reads the clip, without concepts.",
            "Say in ordinary words what it shows, or nothing.",
        )
    if how.method == "ddim" and sampling.scheduler not in (None, "ddim"):
        raise UsageError(
            f"--method ddim goes back by ddim, not by --scheduler {sampling.scheduler}.",
            "Leave it out.",
        )
    return how


def _make(session: Session, request: Edit, opened: Opened) -> tuple[Sidecar, list[Path]]:
    """The clip: its frames, the files they go to, and the sidecar."""
    from .. import sidecar
    from ..engine.edit import edit
    from ..engine.media_out import write_clip

    film, settings = request.film, request.settings
    base, (height, width) = opened.base, written_size(request.path, film.size)
    session.say(_plan(request))
    with progress(quiet=session.quiet) as report:
        at = settings.model_copy(update={"regions": tuple(r.at(film.taken) for r in settings.regions)})
        frames = edit(base, film.frames, request.prompt, opened.learners, at, request.how, report)
    held, fps = _timed(request)
    files = clip_files(request.path, len(frames))
    about = sidecar.describe(
        request.prompt,
        settings,
        opened.concepts,
        base,
        scale=1,
        files=files,
        shares=opened.shares,
        edit=sidecar.SidecarEdit(
            **request.how.model_dump(),
            video=as_text(Path(request.video.name)),
            sha256=film.digest,
            fps=fps,
            height=height,
            width=width,
            taken=() if held or len(film.taken) == film.count else film.taken,
        ),
    )
    with sidecar.beside(about, request.path):
        write_clip(frames, request.path, fps, size=film.size, held=held)
    return about, files


def _timed(request: Edit) -> tuple[list[int] | None, float]:
    """For how many frames each new one is held, and how many are shown a second.

    Pictures have no time; GIF and WebP count in hundredths or thousandths of a second, so that many short frames would not add up to the same.
    """
    film = request.film
    if request.path.suffix.lower() == ".mp4":
        return film.held, film.fps
    return None, len(film.frames) / film.seconds


def _plan(request: Edit) -> str:
    """What will be done to the clip, in one line."""
    film, settings = request.film, request.settings
    count, (height, width) = len(film.frames), written_size(request.path, film.size)
    _, fps = _timed(request)
    taken = f"all {count} frames" if count == film.count else f"{count} of its {film.count} frames"
    return (
        f"Editing {request.video.name} with seed {settings.seed}: {taken} at {settings.width}x{settings.height}; "
        f"written at {width}x{height} and {fps:.4g} frames per second, to take {film.seconds:.2f} s as before."
    )
