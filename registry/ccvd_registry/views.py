"""What goes into a registry and what comes out: plain dataclasses, detached from any session."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypedDict

from .blobs import BlobStore

KINDS = ("subject", "motion", "style")


class BaseLike(Protocol):
    """A base model as the registry sees it; an engine's own base object will do."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def location(self) -> str | Path: ...


@dataclass(frozen=True)
class BaseFacts:
    """A base model: `fingerprint` tells its weights apart, `location` is where they were last seen."""

    name: str
    family: str
    fingerprint: str
    location: str


class _File(TypedDict):
    file: str
    sha256: str


class DataFile(_File, total=False):
    """One training file: its name, and the SHA-256 of its bytes. The file itself is not kept.

    Of a photo with a mask, `mask` is the file that showed where the subject is, of `mask_sha256`, or "alpha": the photo itself did.
    """

    mask: str
    mask_sha256: str


@dataclass(frozen=True, kw_only=True)
class NewConcept:
    """A freshly learned concept. `adapter`, `embedding` and `prototype` are the bytes of safetensors files.

    `sites` counts the places of the base where the adapter sits, `parameters` its numbers; `recipe`, and `how` it was learned
    besides, are anything JSON can say. Raises ValueError for an unknown kind or a naive `started`.
    """

    name: str
    kind: str
    class_noun: str
    base: BaseLike
    seed: int
    recipe: dict[str, Any]
    data: list[DataFile]
    loss_curve: list[float]
    adapter: bytes = field(repr=False)
    embedding: bytes = field(repr=False)
    prototype: bytes = field(repr=False)
    sites: int
    parameters: int
    started: datetime
    how: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, not one of {', '.join(KINDS)}")
        if self.started.tzinfo is None:
            raise ValueError(f"started ({self.started}) has no time zone")


@dataclass(frozen=True, kw_only=True)
class ConceptView:
    """A stored concept. `task` is its place in the order of learning, `bytes` the size of its three files.

    Dates are aware, in UTC. The paths raise BlobMissing if the file is gone.
    """

    name: str
    kind: str
    class_noun: str
    base: str
    base_family: str
    base_fingerprint: str
    base_location: str
    task: int
    bytes: int
    created: datetime
    started: datetime
    adapter_digest: str
    embedding_digest: str
    prototype_digest: str
    sites: int
    parameters: int
    seed: int
    recipe: dict[str, Any]
    how: dict[str, Any]
    data: list[DataFile]
    loss_curve: list[float]
    blobs: BlobStore = field(repr=False, compare=False)

    @property
    def adapter_path(self) -> Path:
        return self.blobs.path(self.adapter_digest)

    @property
    def embedding_path(self) -> Path:
        return self.blobs.path(self.embedding_digest)

    @property
    def prototype_path(self) -> Path:
        return self.blobs.path(self.prototype_digest)

    @property
    def digests(self) -> dict[str, str]:
        """The digests by part, as a sidecar or a generation records them."""
        return {
            "adapter": self.adapter_digest,
            "embedding": self.embedding_digest,
            "prototype": self.prototype_digest,
        }

    def verify(self) -> None:
        """Reads the three files whole. Raises BlobMissing, or BlobCorrupt if one was tampered with."""
        for digest in self.digests.values():
            self.blobs.verify(digest)


@dataclass(frozen=True, kw_only=True)
class GenerationView:
    """A generated clip. `concepts` holds names, each with the digests of its three parts at that time."""

    id: int
    created: datetime
    prompt: str
    seed: int
    settings: dict[str, Any]
    concepts: list[dict[str, str]]
    base: str
    output: str


@dataclass(frozen=True, kw_only=True)
class EvaluationView:
    """What an evaluation found of `concept` when `after` tasks had been learned.

    `how` says what was asked and who judged: only evaluations that share it can be compared. `scores` is by metric, as it was stored.
    """

    concept: str
    created: datetime
    after: int
    how: dict[str, Any]
    scores: dict[str, Any]
