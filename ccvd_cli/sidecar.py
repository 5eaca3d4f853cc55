"""The JSON beside every clip: all that it takes to make the same frames again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from . import __version__
from .choices import Family
from .clips import frame_of, sidecar_path
from .errors import UsageError, first_of
from .outputs import whole
from .paths import as_text
from .prompts import named
from .settings import EditSettings, SampleSettings, Settings

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from .engine.bases.contract import Base

_RECORDED = ("torch", "diffusers", "transformers")


class SidecarBase(Settings):
    name: str
    family: Family
    fingerprint: str
    location: str


class SidecarConcept(Settings):
    """A concept as it was: the digests of its three parts."""

    name: str
    kind: str
    class_noun: str
    digests: dict[str, str]


class SidecarShare(Settings):
    """How much a concept took part in a prompt, the clip's or a region's, and why."""

    prompt: str
    concept: str
    weight: float
    why: Literal["named", "relevant"]


class SidecarEdit(EditSettings):
    """What a clip was made anew from: the file's name and sha256 (hex). `fps`, `height` and `width` are those of what was written.

    Frames of regions count the old clip's frames. `taken` are those that the new ones stand for, where there are fewer of these.
    """

    video: str
    sha256: str
    fps: float
    height: int
    width: int
    taken: tuple[int, ...] = ()


class Sidecar(Settings):
    """How a clip was made. `settings` are a `SampleSettings` without the seed; `scale` is the file's.

    `edit` is None for a clip from nothing; else `settings` have no fps, and `scale` is 1.
    """

    format: Literal[1, 2] = 2
    prompt: str
    seed: int = Field(ge=0, le=2**33)  # that of the last of many clips may be above what can be asked for
    settings: dict[str, Any]
    concepts: list[SidecarConcept]
    shares: tuple[SidecarShare, ...] = ()
    base: SidecarBase
    device: str
    dtype: Literal["float32", "bfloat16", "float16"]
    scale: int = Field(ge=1, le=32)
    files: list[str]
    created: datetime
    versions: dict[str, str]
    edit: SidecarEdit | None = None

    @property
    def sample_settings(self) -> SampleSettings:
        alike = {"aggregation": "mean"} if self.format == 1 else {}  # format 1 knew no other way
        return SampleSettings(**{**alike, **self.settings}, seed=self.seed)


def describe(
    prompt: str,
    settings: SampleSettings,
    concepts: Sequence[ConceptView],
    base: Base,
    *,
    scale: int,
    files: Sequence[Path],
    shares: Sequence[SidecarShare] = (),
    edit: SidecarEdit | None = None,
) -> Sidecar:
    """The sidecar of a clip that goes to `files`."""
    return Sidecar(
        prompt=prompt,
        seed=settings.seed,
        settings=settings.model_dump(exclude={"seed", "fps"} if edit else {"seed"}),
        concepts=[
            SidecarConcept(name=c.name, kind=c.kind, class_noun=c.class_noun, digests=c.digests)
            for c in concepts
        ],
        shares=tuple(shares),
        base=SidecarBase(
            name=base.name, family=base.family, fingerprint=base.fingerprint, location=str(base.location)
        ),
        device=str(base.device),
        dtype=str(base.dtype).removeprefix("torch."),  # type: ignore[arg-type]  # one of those that can be asked for
        scale=scale,
        files=[as_text(Path(file.name)) for file in files],
        created=datetime.now(timezone.utc),
        versions=current_versions(),
        edit=edit,
    )


@contextmanager
def beside(sidecar: Sidecar, clip: Path) -> Iterator[Path]:
    """Within it `clip` itself is written: its sidecar is ready by then, and takes the place of an older clip's right behind it.

    If that fails, both stay as they were. Frames of an earlier clip of that name, which had more of them, are gone at the end.

    Raises:
        CcvdError: the file system refuses.
    """
    path, surplus = sidecar_path(clip), set[str]()
    with suppress(UsageError):
        surplus = set(read(path).files) - set(sidecar.files)
    with whole(path) as (part,):
        part.write_text(sidecar.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
        yield path
    for name in surplus:
        if frame_of(clip, name):  # whoever wrote that sidecar
            clip.with_name(name).unlink(missing_ok=True)


def read(path: Path) -> Sidecar:
    """Reads a sidecar; a clip's own path will do for it.

    Raises:
        UsageError: there is none, or it is not what `write` wrote.
    """
    if path.suffix.lower() != ".json":
        path = sidecar_path(path)
    try:
        sidecar = Sidecar.model_validate_json(path.read_bytes())
        sidecar.sample_settings  # noqa: B018  its values are checked too
    except OSError as error:
        raise UsageError(
            f"Cannot read '{path}': {error.strerror}.", "Give the .json beside a clip."
        ) from error
    except (ValidationError, TypeError) as error:
        raise UsageError(
            f"'{path}' is not a clip's sidecar: {_reason(error)}.", "Give the .json beside a clip."
        ) from error
    said = [sidecar.prompt, *(region.prompt for region in sidecar.sample_settings.regions)]
    known = {concept.name for concept in sidecar.concepts}
    if unknown := [name for text in said for name in named(text) if name not in known]:
        raise UsageError(
            f"'{path}' is not a clip's sidecar: its prompt names {unknown[0]}, and its concepts do not.",
            "Give the .json beside a clip.",
        )
    return sidecar


def concepts_now(sidecar: Sidecar, registry: Registry) -> list[ConceptView]:
    """The concepts of a sidecar, just as they were.

    Raises:
        UsageError: one is gone, or has been learned anew since.
    """
    known = {concept.name: concept for concept in registry.list()}
    again = "Restore the registry it was made with (--home), or generate from the prompt."
    for concept in sidecar.concepts:
        if concept.name not in known:
            raise UsageError(f"Concept '{concept.name}' of this sidecar is not in the registry.", again)
        if known[concept.name].digests != concept.digests:
            raise UsageError(
                f"Concept '{concept.name}' is not the one of this sidecar: it has changed.", again
            )
    return [known[concept.name] for concept in sidecar.concepts]


def current_versions() -> dict[str, str]:
    """Of ccvd, Python and what computes. Read from the packages' metadata: nothing is imported."""
    versions = {"ccvd": __version__, "python": python_version()}
    for package in _RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a source tree on the path
            continue
    return versions


def _reason(error: Exception) -> str:
    return first_of(error) if isinstance(error, ValidationError) else str(error)
