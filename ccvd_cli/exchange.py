"""A concept in a file of its own, to be taken to another machine or given away (no torch here).

It is one safetensors file. `adapter/..`, `embedding/..` and `prototype/..` are the tensors of the registry's three, and a card in its header
says what the concept is and how it was learned. The names of its photos go along; the photos do not, nor where the base lies.

A file that comes from elsewhere is believed in nothing: what is not as `write` has it is refused before any of it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, ValidationError

from .choices import Family, Kind
from .errors import UNREADABLE, CcvdError, UsageError
from .outputs import whole
from .prompts import is_noun
from .settings import Recipe, Settings

if TYPE_CHECKING:
    import numpy as np

    from ccvd_registry import ConceptView

SUFFIX = ".safetensors"
_CARD = "ccvd"  # its key in the header
_LONGEST = 1_000_000  # characters of a card
_PARTS: dict[
    str, tuple[set[str], set[str]]
] = {  # tensors that there must be, and that there may be; of adapters the base knows
    "embedding": ({"tokens"}, {"path"}),
    "prototype": ({"text", "image", "image_mean"}, set()),
}

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


def _plain(text: str) -> str:
    if not is_noun(text):
        raise ValueError("not plain text")
    return text


Word = Annotated[str, StringConstraints(max_length=255), AfterValidator(_plain)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CardBase(Settings):
    name: Word
    family: Family
    fingerprint: Word


class CardFile(Settings):
    file: Word
    sha256: Digest
    mask: Word | None = None
    mask_sha256: Digest | None = None


class Card(Settings):
    """What a concept is, and how it was learned. `started` is aware."""

    format: Literal[1] = 1
    name: Word
    kind: Kind
    class_noun: Word
    base: CardBase
    seed: int
    recipe: Recipe
    how: dict[Word, bool | int | tuple[Word, ...]] = Field(max_length=20)
    data: tuple[CardFile, ...] = Field(max_length=1000)
    loss_curve: tuple[float, ...] = Field(max_length=100_000)
    started: AwareDatetime


def card_of(concept: ConceptView) -> Card:
    """Raises CcvdError for one whose recipe this version does not know."""
    base = {
        "name": concept.base,
        "family": concept.base_family,
        "fingerprint": concept.base_fingerprint,
    }
    same = "name", "kind", "class_noun", "seed", "recipe", "how", "data", "loss_curve", "started"
    try:
        return Card.model_validate({"base": base, **{key: getattr(concept, key) for key in same}})
    except ValidationError as error:
        raise CcvdError(
            f"Concept {concept.name} cannot be exported: {_first(error)}.",
            "Use the version of ccvd that it was learned with.",
        ) from error


def write(concept: ConceptView, path: Path) -> None:
    """A registered concept -> one file, whole or not at all.

    Raises:
        BlobMissing, BlobCorrupt: its tensors are not what was stored.
        CcvdError: this version does not know its recipe, or the file cannot be written.
    """
    from safetensors.numpy import load_file, save

    concept.verify()
    parts = {
        "adapter": concept.adapter_path,
        "embedding": concept.embedding_path,
        "prototype": concept.prototype_path,
    }
    tensors = {f"{part}/{key}": t for part, file in parts.items() for key, t in load_file(file).items()}
    card = card_of(concept).model_dump_json(exclude_none=True)
    with whole(path) as (unfinished,):
        unfinished.write_bytes(save(tensors, {_CARD: card}))


def read(path: Path) -> tuple[Card, dict[str, bytes]]:
    """The card of a file, and its three parts as the bytes of safetensors files of their own: adapter, embedding, prototype.

    Whether they fit a base is not known yet.

    Raises:
        UsageError: it is no file that `write` has written.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save

    if not path.is_file():
        raise UsageError(f"There is no file '{path}'.", "Name one that ccvd export wrote.")
    try:
        with safe_open(path, "np") as file:
            card = _card((file.metadata() or {}).get(_CARD), path)
            names = list(file.keys())
            # Asked before they are read: numpy does not know all types.
            if odd := next((name for name in names if file.get_slice(name).get_dtype() != "F16"), None):
                raise _refused(path, f"its tensor '{odd}' is not of half precision")
            tensors = {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise UsageError(
            f"Cannot read '{path}': {error.strerror or error}.", "Name a file that ccvd export wrote."
        ) from error
    except (SafetensorError, *UNREADABLE) as error:
        raise _refused(path, str(error) or type(error).__name__) from error
    return card, {part: save(of) for part, of in _parted(tensors, path).items()}


def _card(text: str | None, path: Path) -> Card:
    if text is None:
        raise _refused(path, "it has no card")
    if len(text) > _LONGEST:
        raise _refused(path, f"its card has {len(text):,} characters")
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise _refused(path, _first(error)) from error


def _parted(tensors: Mapping[str, Any], path: Path) -> dict[str, Tensors]:
    import numpy as np

    parts: dict[str, Tensors] = {"adapter": {}, "embedding": {}, "prototype": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        if part not in parts or not key:
            raise _refused(path, f"its tensor '{name}' is of no concept")
        if not np.isfinite(tensor).all():
            raise _refused(path, f"its tensor '{name}' has what is not a number")
        parts[part][key] = tensor
    for part, (needed, allowed) in _PARTS.items():
        if odd := sorted(needed - parts[part].keys() or parts[part].keys() - needed - allowed):
            missing = odd[0] in needed
            raise _refused(
                path, f"its tensor '{part}/{odd[0]}' {'is missing' if missing else 'is of no concept'}"
            )
    return parts


def _first(error: ValidationError) -> str:
    """What is wrong with the first field that is wrong."""
    found = error.errors()[0]
    where = ".".join(str(step) for step in found["loc"])
    return f"{where}: {found['msg']}" if where else str(found["msg"])


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"'{path}' is no concept: {why}.", "Name a file that ccvd export wrote.")
