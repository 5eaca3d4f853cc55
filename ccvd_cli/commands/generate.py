"""`ccvd generate`: a prompt that names concepts -> clips, each with a sidecar that makes it again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from .. import prompts
from ..clips import default_path, default_scale, numbered, sidecar_path
from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import check_output
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import BaseOptions, ClipOptions, DType, SampleOptions
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..settings import SampleSettings
    from ..sidecar import Sidecar

_RANDOM_SEEDS = 2**31


@dataclass(frozen=True)
class Given:
    """What the command line says."""

    clips: ClipOptions
    sampling: SampleOptions
    base: BaseOptions


@dataclass(frozen=True)
class Request:
    """What is to be generated: all of it checked, nothing loaded."""

    prompt: str
    concepts: list[ConceptView]
    source: str
    fingerprint: str | None  # of the base that it must be, if anything says so
    settings: SampleSettings  # its seed is the first clip's
    device: str | None
    dtype: DType | None
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
            "ccvd generate --from surf.mp4.json --out again.mp4",
        ),
        panel="Concepts and clips",
    )


def generate(
    session: Session,
    clips: ClipOptions,
    sampling: SampleOptions,
    base: BaseOptions,
    prompt: Annotated[
        str | None, Argument(help="What to show; <V1> stands for the concept V1.", show_default=False)
    ] = None,
    sidecar: Annotated[
        Path | None,
        Option("--from", metavar="SIDECAR", help="Make the clip of this .json again.", show_default=False),
    ] = None,
) -> None:
    """Generate clips of what a prompt describes. Without a concept in it, the base alone answers."""
    given = Given(clips, sampling, base)
    with session.registry() as registry:
        if sidecar is None:
            request = _from_prompt(registry, prompt, given)
        elif prompt is None:
            request = _from_sidecar(session, registry, sidecar, given)
        else:
            raise UsageError(
                "Both a prompt and --from were given.", "The sidecar holds the prompt: give one."
            )
        opened = open_base(session, request.source, request.device, request.dtype)
        _check_base(opened, request)
        learners = _learners(request.concepts, opened)
        made = []
        for path, settings in request.clips():
            told, files = _make(session, request, opened, learners, path, settings)
            _record(session, registry, request, opened, settings, path)
            made.append({**told.model_dump(), "files": files, "sidecar": sidecar_path(path)})
            if not clips.json:
                for file in files:
                    emit(str(file))
    if clips.json:
        emit_json(made)


# --- before a base is loaded -------------------------------------------------------------------------


def _from_prompt(registry: Registry, prompt: str | None, given: Given) -> Request:
    from ..settings import SAMPLING

    if prompt is None:
        raise UsageError("There is no prompt.", 'Say what to show, such as "a <V1> dog surfing".')
    concepts = registry.find(prompts.named(prompt))
    fingerprint = _common_base(concepts)
    source = given.base.base or (_source(concepts[0].base, concepts[0].base_location) if concepts else "mini")
    seed = random.randrange(_RANDOM_SEEDS) if given.clips.seed is None else given.clips.seed
    settings = _settings(SAMPLING[find_base(source).family], given.sampling, seed)
    return Request(
        prompt,
        concepts,
        source,
        fingerprint,
        settings,
        given.base.device,
        given.base.dtype,
        given.clips.scale or default_scale(settings),
        _paths(prompt, settings, given.clips),
    )


def _from_sidecar(session: Session, registry: Registry, path: Path, given: Given) -> Request:
    """As it was made; options that are given win over what the sidecar says."""
    from .. import sidecar

    told = sidecar.read(path)
    concepts = sidecar.concepts_now(told, registry)
    now = sidecar.current_versions()
    for package, version in told.versions.items():
        if now.get(package, version) != version:
            session.say(f"Made with {package} {version}, here is {now[package]}: frames may differ a little.")
    source = given.base.base or _source(told.base.name, told.base.location)
    find_base(source)
    settings = _settings(told.sample_settings, given.sampling, given.clips.seed)
    return Request(
        told.prompt,
        concepts,
        source,
        told.base.fingerprint,
        settings,
        given.base.device or told.device,
        given.base.dtype or DType(told.dtype),
        given.clips.scale or told.scale,
        _paths(told.prompt, settings, given.clips),
    )


def _settings(defaults: SampleSettings, options: SampleOptions, seed: int | None) -> SampleSettings:
    from .overrides import override

    return override(defaults, {**asdict(options), "seed": seed})


def _paths(prompt: str, settings: SampleSettings, clips: ClipOptions) -> list[Path]:
    paths = numbered(clips.out or default_path(prompt, settings.seed), clips.count)
    check_output(paths[0])
    return paths


def _common_base(concepts: Sequence[ConceptView]) -> str | None:
    """The fingerprint of the base that all of them were learned on. Raises UsageError if it is not one."""
    fingerprints = {concept.base_fingerprint for concept in concepts}
    if len(fingerprints) > 1:
        listed = ", ".join(f"{concept.name} on {concept.base}" for concept in concepts)
        raise UsageError(
            f"The concepts of one prompt share a base; these do not: {listed}.",
            "Learn them on one base, or name those of one base only.",
        )
    return next(iter(fingerprints), None)


def _source(name: str, location: str) -> str:
    """Where a base was last seen; the embedded one goes by its name, since its package may have moved."""
    from ..engine.bases import EMBEDDED

    moved = name == "mini" and not Path(location).is_dir()
    return "mini" if moved or Path(location) == EMBEDDED else location


# --- with a base -------------------------------------------------------------------------------------


def _check_base(base: Base, request: Request) -> None:
    """Raises UsageError if it is not the base of the concepts, or of the sidecar."""
    if request.fingerprint in (None, base.fingerprint):
        return
    names = ", ".join(concept.name for concept in request.concepts)
    raise UsageError(
        f"Base '{request.source}' is not the one of {names or 'this clip'}: its weights differ.",
        "Give that one with --base" + (f", or learn {names} again." if names else "."),
    )


def _learners(concepts: Sequence[ConceptView], base: Base) -> list[Learner]:
    from ..engine.concept import Learner

    for concept in concepts:
        concept.verify()
    return [Learner.load(concept, base) for concept in concepts]


def _make(
    session: Session,
    request: Request,
    base: Base,
    learners: Sequence[Learner],
    path: Path,
    settings: SampleSettings,
) -> tuple[Sidecar, list[Path]]:
    """One clip: its frames, the files they go to, and the sidecar."""
    from .. import sidecar
    from ..engine import media, sample

    session.say(f"Generating {path.name} with seed {settings.seed}.")
    with progress(quiet=session.quiet) as report:
        frames = sample.generate(
            base, request.prompt, learners, settings, lambda step, total: report("sampling", step, total)
        )
    files = media.write_clip(frames, path, settings.fps, scale=request.scale)
    told = sidecar.describe(
        request.prompt,
        settings,
        request.concepts,
        base,
        device=str(base.device),
        dtype=str(base.dtype).removeprefix("torch."),
        scale=request.scale,
        files=files,
    )
    sidecar.write(told, path)
    return told, files


def _record(
    session: Session, registry: Registry, request: Request, base: Base, settings: SampleSettings, path: Path
) -> None:
    """The clip is made and its sidecar says all; that it cannot be recorded too is only a remark."""
    from ccvd_registry import RegistryError

    try:
        registry.record_generation(
            prompt=request.prompt,
            seed=settings.seed,
            settings=settings.model_dump(exclude={"seed"}),
            concepts=request.concepts,
            base=base,
            output=path.absolute(),
        )
    except RegistryError as error:
        session.say(f"Not recorded: {error.message}.")
