"""`ccvd generate`: a prompt that names concepts -> clips, each with a sidecar that makes it again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ..clips import default_path, default_scale, numbered, sidecar_path
from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import check_file, check_output, clip_files
from ..progress import progress
from ..row import without_row
from ..session import Session
from . import placing
from .opening import find_base
from .options import BaseOptions, ClipOptions, PictureOptions, RegionOptions, SampleOptions
from .request import (
    Opened,
    Request,
    begin,
    explain,
    last_seen,
    load,
    record,
    sample_settings,
)
from .stored_paths import leading, led
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..settings import SampleSettings
    from ..sidecar import Sidecar, SidecarEdit


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    clips: ClipOptions
    sampling: SampleOptions
    base: BaseOptions
    regions: RegionOptions


@dataclass(frozen=True, kw_only=True)
class Clips(Request):
    """So many clips, each with the next seed."""

    scale: int
    paths: list[Path]

    def clips(self) -> Iterator[tuple[Path, SampleSettings]]:
        for i, path in enumerate(self.paths):
            yield path, self.settings.model_copy(update={"seed": self.settings.seed + i})


def register(app: typer.Typer) -> None:
    command(
        app,
        "generate",
        generate,
        examples=(
            'ccvd generate "a <V1> dog surfing" --out surf.mp4',
            'ccvd generate "a <V1> dog performing <V3> on the beach" --seed 7 --count 4',
            'ccvd generate "a <V1> dog and a <V2> cat in the snow" --region "a <V1> dog @ 0,0.2,0.5,1" '
            '--region "a <V2> cat @ 0.5,0.2,1,1"',
            'ccvd generate "a <V1> dog on the moon" --region "a <V1> dog @ 0: 0,0.4,0.5,1 ; 15: 0.5,0.4,1,1" '
            "--preview-regions boxes.png",
            "ccvd generate --from surf.mp4.json --out again.mp4",
        ),
        panel="Concepts and clips",
    )


def generate(
    session: Session,
    clips: ClipOptions,
    sampling: SampleOptions,
    base: BaseOptions,
    regions: RegionOptions,
    prompt: Annotated[
        str | None, Argument(help="What to show; <V1> stands for the concept V1.", show_default=False)
    ] = None,
    sidecar: Annotated[
        Path | None,
        Option("--from", metavar="SIDECAR", help="Make the clip of this .json again.", show_default=False),
    ] = None,
) -> None:
    """Generate clips of what a prompt describes. Without a concept in it, the base alone answers."""
    given = Given(clips, sampling, base, regions)
    with session.registry() as registry:
        if sidecar is None:
            request = _from_prompt(session, registry, prompt, given)
        elif prompt is None:
            request = _from_sidecar(session, registry, sidecar, given)
        else:
            raise UsageError(
                "Both a prompt and --from were given.", "The sidecar holds the prompt: give one."
            )
        if regions.preview_regions:
            shown = led(request.prompt, request.concepts, request.settings)
            placing.preview(regions, shown, as_json=clips.json)
            return
        opened = load(session, registry, request)
        if regions.explain:
            explain(opened)
        _tell_who_leads(session, request, opened)
        made = []
        for path, settings in request.clips():
            about, files = _make(session, request, opened, path, settings)
            record(session, registry, about, opened.concepts, opened.base, path)
            made.append(
                {**about.model_dump(exclude_none=True), "files": files, "sidecar": sidecar_path(path)}
            )
            if not clips.json:
                for file in files:
                    emit(str(file))
    if clips.json:
        emit_json(made)


# --- before a base is loaded -------------------------------------------------------------------------


def _from_prompt(session: Session, registry: Registry, prompt: str | None, given: Given) -> Clips:
    if prompt is None:
        raise UsageError("There is no prompt.", 'Say what to show, such as "a <V1> dog surfing".')
    asked = begin(registry, prompt, given.regions, given.sampling, given.base, given.clips.seed)
    settings = placing.placed(session, asked, asked.settings, given.regions)
    return Clips(
        **{**vars(asked), "settings": settings},
        scale=given.clips.scale or default_scale(settings),
        paths=_paths(prompt, settings, given.clips),
    )


def _edited(about: Sidecar, edit: SidecarEdit) -> list[str]:
    """The arguments of `ccvd edit` that make the clip of a sidecar again, without what is usual."""
    from ..settings import sampling_of
    from .overrides import option_of

    made, usual = about.sample_settings, sampling_of(about.base.family, concepts=bool(about.concepts))
    words = ["--video", edit.video, about.prompt, "--seed", str(about.seed)]
    words += ["--strength", f"{edit.strength:g}", "--method", edit.method]
    words += ["--source-prompt", edit.source_prompt] if edit.source_prompt else []
    for field in (f.name for f in fields(PictureOptions)):
        value, option = getattr(made, field), option_of(field)
        if isinstance(value, bool):
            words += [option if value else option.replace("--", "--no-", 1)] * (
                value != getattr(usual, field)
            )
        elif value != getattr(usual, field) and (field, edit.method) != ("scheduler", "ddim"):
            words += [option, str(value)]
    words += [word for region in made.regions for word in ("--region", str(region))]
    source = last_seen(about.base.name, about.base.location)
    words += ["--base", source] if source != "mini" else []
    return [*words, "--device", about.device, "--dtype", about.dtype]


def _from_sidecar(session: Session, registry: Registry, path: Path, given: Given) -> Clips:
    """As it was made; options that are given win over what the sidecar says."""
    from .. import sidecar

    about = sidecar.read(path)
    if about.edit:
        raise UsageError(
            f"'{path}' is of a clip that `ccvd edit` made from {about.edit.video}, which it does not hold.",
            f"Again: `{session.command('edit', *_edited(about, about.edit))}`",
        )
    concepts = sidecar.concepts_now(about, registry)
    now = sidecar.current_versions()
    for package, version in about.versions.items():
        if now.get(package, version) != version:
            session.warn(
                f"Made with {package} {version}, here is {now[package]}: frames may differ a little."
            )
    source = given.base.base or last_seen(about.base.name, about.base.location)
    asked = given.sampling
    settings = sample_settings(about.sample_settings, asked, given.clips.seed)
    if given.regions.region or given.regions.regions or given.regions.auto_regions:
        raise UsageError("Both regions and --from were given.", "The sidecar holds the regions: give one.")
    if given.regions.auto_regions is False:
        own = find_base(source).own_size
        settings = without_row(settings, own, narrow=asked.width is None and asked.windows is None)
    placing.check_fit(settings, source)
    return Clips(
        prompt=about.prompt,
        concepts=concepts,
        source=source,
        fingerprint=about.base.fingerprint,
        settings=settings,
        device=given.base.device or about.device,
        dtype=given.base.dtype or about.dtype,
        scale=given.clips.scale or about.scale,
        closed=(asked.aggregation, asked.relevance_threshold, asked.top_k) == (None, None, None),
        paths=_paths(about.prompt, settings, given.clips),
    )


def _paths(prompt: str, settings: SampleSettings, clips: ClipOptions) -> list[Path]:
    paths = numbered(clips.out or default_path(prompt, settings.seed), clips.count)
    for path in paths:
        check_output(path)
        check_file(sidecar_path(path))
    return paths


# --- with a base -------------------------------------------------------------------------------------


def _tell_who_leads(session: Session, request: Clips, opened: Opened) -> None:
    for name in dict.fromkeys(leading(request.prompt, opened.concepts, request.settings)):
        session.say(
            f"{name} leads along the path of its clips (--path-strength 0: its words alone say where)."
        )


def _make(
    session: Session,
    request: Clips,
    opened: Opened,
    path: Path,
    settings: SampleSettings,
) -> tuple[Sidecar, list[Path]]:
    """One clip: its frames, the files they go to, and the sidecar."""
    from .. import sidecar
    from ..engine import compose
    from ..engine.media_out import write_clip

    session.say(f"Generating {path.name} with seed {settings.seed}.")
    with progress(quiet=session.quiet) as report:
        frames = compose.generate(
            opened.base,
            request.prompt,
            opened.learners,
            settings,
            lambda step, total: report("sampling", step, total),
        )
    files = clip_files(path, len(frames))
    about = sidecar.describe(
        request.prompt,
        settings,
        opened.concepts,
        opened.base,
        scale=request.scale,
        files=files,
        shares=opened.shares,
    )
    with sidecar.beside(about, path):
        write_clip(frames, path, settings.fps, scale=request.scale)
    return about, files
