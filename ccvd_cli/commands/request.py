"""What every command that makes clips asks first: which concepts, which base, and what is recorded afterwards."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..errors import UsageError
from ..session import Session
from .opening import open_base
from .options import DType

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..settings import SampleSettings

_RANDOM_SEEDS = 2**31


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be made: all of it checked, nothing loaded."""

    prompt: str
    concepts: list[ConceptView]
    source: str
    fingerprint: str | None  # of the base that it must be, if anything says so
    settings: SampleSettings  # its seed is the first clip's
    device: str | None
    dtype: DType | None


# --- before a base is loaded -------------------------------------------------------------------------


def find_concepts(registry: Registry, prompt: str) -> list[ConceptView]:
    """The concepts that a prompt names. Raises UsageError for an unknown one, or one in the place of another kind."""
    concepts = registry.find(prompts.named(prompt))
    prompts.check_kinds(prompt, {concept.name: concept.kind for concept in concepts})
    return concepts


def common_base(concepts: Sequence[ConceptView]) -> str | None:
    """The fingerprint of the base that all of them were learned on. Raises UsageError if it is not one."""
    fingerprints = {concept.base_fingerprint for concept in concepts}
    if len(fingerprints) > 1:
        listed = ", ".join(f"{concept.name} on {concept.base}" for concept in concepts)
        raise UsageError(
            f"The concepts of one prompt share a base; these do not: {listed}.",
            "Learn them on one base, or name those of one base only.",
        )
    return next(iter(fingerprints), None)


def base_of(concepts: Sequence[ConceptView]) -> str:
    """Where the base of these concepts was last seen; without any, the embedded one."""
    return last_seen(concepts[0].base, concepts[0].base_location) if concepts else "mini"


def last_seen(name: str, location: str) -> str:
    """Where a base was last seen; the embedded one goes by its name, since its package may have moved."""
    from ..engine.bases import EMBEDDED

    moved = name == "mini" and not Path(location).is_dir()
    return "mini" if moved or Path(location) == EMBEDDED else location


def sample_settings(defaults: SampleSettings, options: Any, seed: int | None) -> SampleSettings:
    """`defaults` with what was given: `options` is a bundle of sampling options. Raises UsageError."""
    from .overrides import override

    return override(defaults, {**asdict(options), "seed": seed})


def seed_or_random(seed: int | None) -> int:
    return random.randrange(_RANDOM_SEEDS) if seed is None else seed


# --- with a base -------------------------------------------------------------------------------------


def load(session: Session, request: Request) -> tuple[Base, list[Learner]]:
    """The base and the concepts, as they were stored.

    Raises:
        UsageError: it is not the base of the concepts, or of the sidecar.
        CcvdError, RegistryError: something cannot be loaded, or is not what was stored.
    """
    from ..engine.concept import Learner

    base = open_base(session, request.source, request.device, request.dtype)
    if request.fingerprint not in (None, base.fingerprint):
        names = ", ".join(concept.name for concept in request.concepts)
        raise UsageError(
            f"Base '{request.source}' is not the one of {names or 'this clip'}: its weights differ.",
            "Give that one with --base" + (f", or learn {names} again." if names else "."),
        )
    for concept in request.concepts:
        concept.verify()
    return base, [Learner.load(concept, base) for concept in request.concepts]


def record(
    session: Session,
    registry: Registry,
    request: Request,
    base: Base,
    seed: int,
    settings: Mapping[str, Any],
    path: Path,
) -> None:
    """The clip is made and its sidecar says all; that it cannot be recorded too is only a remark."""
    from ccvd_registry import RegistryError

    try:
        registry.record_generation(
            prompt=request.prompt,
            seed=seed,
            settings=dict(settings),
            concepts=request.concepts,
            base=base,
            output=path.absolute(),
        )
    except RegistryError as error:
        session.say(f"Not recorded: {error.message}.")
