"""What every command that makes clips asks first: which concepts, which base, and what is recorded afterwards."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..choices import DType
from ..errors import UsageError
from ..paths import as_text
from ..session import Session
from .opening import find_base, open_base
from .options import BaseOptions, RegionOptions

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..settings import SampleSettings
    from ..sidecar import Sidecar, SidecarShare

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
    widen: bool = True  # the frame may be as wide as several subjects need: no width was asked for
    closed: bool = False  # nobody joins who is not among the concepts


# --- before a base is loaded -------------------------------------------------------------------------


def begin(
    registry: Registry,
    prompt: str,
    regions: RegionOptions,
    sampling: Any,
    base: BaseOptions,
    seed: int | None,
) -> Request:
    """What a prompt and the prompts of given regions ask for, by a bundle of `sampling` options. Raises UsageError."""
    from ..settings import sampling_of
    from .placing import given_regions

    given = given_regions(regions)
    concepts = find_concepts(registry, prompt, [region.prompt for region in given])
    source = base.base or base_of(concepts)
    seed = a_seed(seed)
    defaults = sampling_of(find_base(source).family, concepts=bool(concepts))
    settings = sample_settings(defaults, sampling, seed)
    return Request(
        prompt=prompt,
        concepts=concepts,
        source=source,
        fingerprint=common_base(concepts),
        settings=settings.model_copy(update={"regions": tuple(given)}),
        device=base.device,
        dtype=base.dtype,
        widen=sampling.width is None,
    )


def a_seed(given: int | None) -> int:
    """At random, if none is given."""
    return random.randrange(_RANDOM_SEEDS) if given is None else given


def find_concepts(registry: Registry, prompt: str, more: Sequence[str] = ()) -> list[ConceptView]:
    """The concepts that a prompt and those of regions name. Raises UsageError for an unknown one, or one in the place of another kind."""
    asked = [prompt, *more]
    concepts = registry.find(dict.fromkeys(name for text in asked for name in prompts.named(text)))
    for text in asked:
        prompts.check_kinds(text, {concept.name: concept.kind for concept in concepts})
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
    """Where a base was last seen; the embedded one goes by its name, since its package may have moved, and so does one of the hub that is
    not in the cache any more.
    """
    from ..engine.bases import EMBEDDED

    moved = (name == "mini" or "/" in name) and not Path(location).is_dir()
    return name if moved or Path(location) == EMBEDDED else location


def sample_settings(defaults: SampleSettings, options: Any, seed: int | None) -> SampleSettings:
    """`defaults` with what was given: `options` is a bundle of sampling options. Raises UsageError."""
    from .overrides import option_of, override

    settings = override(defaults, {**asdict(options), "seed": seed})
    for field in ("relevance_threshold", "top_k"):
        if getattr(options, field) is not None and not settings.selective:
            raise UsageError(
                f"{option_of(field)} {getattr(options, field)}: with --aggregation {settings.aggregation} relevance chooses nobody.",
                "Leave it out, or ask for --aggregation relevance.",
            )
    return settings


# --- with a base -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Opened:
    """A base, and who takes part: those that are named, and those that join them."""

    base: Base
    concepts: list[ConceptView]
    learners: list[Learner]
    shares: list[SidecarShare]


def open_base_of(session: Session, request: Request) -> Base:
    """The base that a request asks for. Raises UsageError if it is not that of its concepts, or of its sidecar."""
    if request.fingerprint not in (None, find_base(request.source).fingerprint):
        names = ", ".join(concept.name for concept in request.concepts)
        raise UsageError(
            f"Base '{request.source}' is not the one of {names or 'this clip'}: its weights differ.",
            "Give that one with --base" + (f", or learn {names} again." if names else "."),
        )
    return open_base(session, request.source, request.device, request.dtype)


def load(session: Session, registry: Registry, request: Request, base: Base | None = None) -> Opened:
    """The base, unless it is open already, and the concepts, as they were stored.

    Raises:
        UsageError: it is not the base of the concepts, or of the sidecar.
        CcvdError, RegistryError: something cannot be loaded, or is not what was stored.
    """
    from ..engine.concept import Learner

    base = base or open_base_of(session, request)
    concepts = [*request.concepts, *_uninvited(registry, base, request)]
    for concept in concepts:
        concept.verify()
    learners = [Learner.load(concept, base) for concept in concepts]
    return Opened(base, concepts, learners, _shares(base, request, learners))


def _uninvited(registry: Registry, base: Base, request: Request) -> list[ConceptView]:
    """Concepts that the prompt does not name and that take part all the same. Only their prototypes are read to know."""
    from ..engine.aggregate import Candidate, weigh
    from ..engine.concept import stored_prototypes, stored_tokens

    settings = request.settings
    if request.closed or not settings.open_to_others:
        return []
    known = {concept.name: concept for concept in registry.list(base=base.fingerprint)}
    named = {concept.name for concept in request.concepts}
    said = [request.prompt, *(region.prompt for region in settings.regions)]
    states = base.encode_text(said, [stored_tokens(c, base) for c in request.concepts])
    among = [Candidate(c.name, c.kind, stored_prototypes(c)) for c in known.values()]
    shares = weigh(base, said, states, among, settings)
    return [known[share.name] for share in shares if share.name not in named]


def _shares(base: Base, request: Request, learners: Sequence[Learner]) -> list[SidecarShare]:
    from ..engine.compose import taking_part
    from ..engine.content import Asked
    from ..engine.path_following import led
    from ..sidecar import SidecarShare

    asked = led(base, Asked([request.prompt], learners, request.settings))
    rows = taking_part(base, request.prompt, asked.learners, asked.settings)
    if not request.settings.regions:  # a prompt that is led is heard as a region
        rows = list(dict(rows).items())
    return [
        SidecarShare(prompt=row, concept=s.name, weight=round(s.mean, 4), why=s.why)
        for row, shares in rows
        for s in shares
    ]


def explain(opened: Opened) -> None:
    """How much each concept takes part in the prompt and in each region, the mean over layers; on stderr, since it was asked for."""
    kinds = {concept.name: concept.kind for concept in opened.concepts}
    lines = [
        f"{s.concept} ({kinds[s.concept]}): weight {s.weight:.2f}, {s.why}, in '{s.prompt}'"
        for s in opened.shares
    ]
    print("\n".join(lines or ["No concept takes part: the base alone answers."]), file=sys.stderr, flush=True)


def record(
    session: Session,
    registry: Registry,
    about: Sidecar,
    concepts: Sequence[ConceptView],
    base: Base,
    path: Path,
) -> None:
    """The clip is made and its sidecar says all; that it cannot be recorded too is only a remark."""
    from ccvd_registry import RegistryError

    try:
        registry.record_generation(
            prompt=about.prompt,
            seed=about.seed,
            settings=about.settings | ({"edit": about.edit.model_dump()} if about.edit else {}),
            concepts=concepts,
            base=base,
            output=as_text(path.absolute()),
        )
    except RegistryError as error:
        session.warn(f"Not recorded: {error.message}.")
