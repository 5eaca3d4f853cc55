"""A concept in a file of its own, to be taken to another machine or given away (no torch here).

It is one safetensors file. `adapter/..`, `embedding/..` and `prototype/..` are the tensors of the registry's three, and a card in its header
says what the concept is and how it was learned. The names and digests of its photos go along; the photos do not, nor where the base lies.

A file that comes from elsewhere is believed in nothing: what cannot be of a concept is refused before any of it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from unicodedata import category

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, ValidationError

from .choices import Kind
from .errors import UNREADABLE, CcvdError, UsageError, first_of, shorten
from .leading import LONGEST
from .outputs import whole
from .prompts import NAME, is_noun
from .settings import Recipe, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from ccvd_registry import ConceptView

SUFFIX = ".safetensors"
_CARD = "ccvd"  # its key in the header
# Far above what any concept has, and little enough to look at.
_LARGEST, _HEADER, _TENSORS, _LOSSES = 4_000_000_000, 50_000_000, 10_000, 1_000_000

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"


def _plain(text: str) -> str:
    if not is_noun(text):
        raise ValueError("it has what cannot be shown")
    return text


def _noun(text: str) -> str:
    if not is_noun(text) or text != " ".join(text.split()):
        raise ValueError("it is no noun")
    return text


def _file_name(text: str) -> str:
    if set("/\\") & set(text) or any(category(c) == "Cc" for c in text):
        raise ValueError("it is no file's name")
    return text


def _of_these_days(when: datetime) -> datetime:
    if not 2000 <= when.year < 9999:
        raise ValueError("it is in no year of these")
    return when.astimezone(timezone.utc)


def _countable(recipe: Recipe) -> Recipe:
    if not 0 <= recipe.seed < 2**63:
        raise ValueError("its seed is none")
    return recipe


Name = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
FileName = Annotated[str, StringConstraints(max_length=255), AfterValidator(_file_name)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CardBase(Settings):
    name: Annotated[str, StringConstraints(max_length=255), AfterValidator(_plain)]
    fingerprint: Digest


class CardFile(Settings):
    file: FileName
    sha256: Digest
    mask: FileName | None = None
    mask_sha256: Digest | None = None


class CardHow(Settings):
    height: int | None = Field(default=None, ge=1, le=100_000)
    width: int | None = Field(default=None, ge=1, le=100_000)
    beside: tuple[Name, ...] = Field(default=(), max_length=1000)


class Card(Settings):
    """What a concept is, and how it was learned."""

    format: Literal[1]
    name: Name
    kind: Kind
    class_noun: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_noun)]
    base: CardBase
    recipe: Annotated[Recipe, AfterValidator(_countable)]
    how: CardHow
    data: tuple[CardFile, ...] = Field(max_length=100_000)
    loss_curve: tuple[float, ...] = Field(max_length=_LOSSES)
    started: Annotated[AwareDatetime, AfterValidator(_of_these_days)]

    def as_stored(self) -> dict[str, Any]:
        """Its fields as the registry keeps them, but for its name and base."""
        return {
            "kind": self.kind,
            "class_noun": self.class_noun,
            "seed": self.recipe.seed,
            "recipe": self.recipe.model_dump(mode="json"),
            "how": self.how.model_dump(mode="json", exclude_defaults=True),
            "data": [file.model_dump(exclude_none=True) for file in self.data],
            "loss_curve": list(self.loss_curve),
            "started": self.started,
        }


def card_of(concept: ConceptView) -> Card:
    """Raises CcvdError for one that this version does not know how to tell."""
    base = {"name": concept.base, "fingerprint": concept.base_fingerprint}
    same = "name", "kind", "class_noun", "recipe", "how", "data", "loss_curve", "started"
    try:
        told = {key: getattr(concept, key) for key in same}
        return Card.model_validate({"format": 1, "base": base, **told})
    except ValidationError as error:
        raise CcvdError(
            f"Concept {concept.name} cannot be exported: {shorten(first_of(error))}.",
            "If another version of ccvd learned it, export it with that.",
        ) from error


def write(concepts: Sequence[ConceptView], paths: Sequence[Path]) -> None:
    """Registered concepts -> a file for each, all of them or none.

    Raises:
        BlobMissing, BlobCorrupt: the tensors of one are not what was stored.
        CcvdError: this version cannot tell how one was learned, or a file cannot be written.
    """
    from safetensors.numpy import load_file, save

    cards = [card_of(concept) for concept in concepts]
    for concept in concepts:
        concept.verify()
    with whole(*paths) as unfinished:
        for concept, card, file in zip(concepts, cards, unfinished, strict=True):
            parts = {
                "adapter": concept.adapter_path,
                "embedding": concept.embedding_path,
                "prototype": concept.prototype_path,
            }
            tensors = {
                f"{part}/{key}": t for part, path in parts.items() for key, t in load_file(path).items()
            }
            file.write_bytes(save(tensors, {_CARD: card.model_dump_json(exclude_none=True)}))


def read(path: Path) -> tuple[Card, dict[str, bytes]]:
    """The card of a file, and its three parts as the bytes of safetensors files of their own: adapter, embedding, prototype.

    Whether these fit a base is not known yet.

    Raises:
        UsageError: it is no file that `write` has written.
    """
    from safetensors import safe_open
    from safetensors.numpy import save

    with _readable(path):
        _measured(path)
        with safe_open(path, "np") as file:
            card = _card((file.metadata() or {}).get(_CARD), path)
            names = list(file.keys())
            if len(names) > _TENSORS:
                raise _refused(path, f"it has {len(names):,} tensors")
            # Asked before they are read: numpy does not know all types.
            if odd := next((name for name in names if file.get_slice(name).get_dtype() != "F16"), None):
                raise _refused(path, f"its tensor {odd!a} is not of half precision")
            tensors = {name: file.get_tensor(name) for name in names}
    parts = _parted(tensors, path)
    _check_parts(parts, card, path)
    return card, {part: save(of) for part, of in parts.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise UsageError(
            f"Cannot read '{path}': {error.strerror or error}.", "Name a file that ccvd export wrote."
        ) from error
    except (SafetensorError, *UNREADABLE) as error:
        raise _refused(path, str(error) or type(error).__name__) from error


def _measured(path: Path) -> None:
    """Before anybody reads it whole. Raises UsageError, or OSError."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        size = file.seek(0, 2)
    if header > _HEADER or size > _LARGEST:
        raise _refused(path, f"it has {size:,} bytes, and {header:,} of a header")


def _card(text: str | None, path: Path) -> Card:
    if text is None:
        raise _refused(path, "it has no card")
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        raise _refused(path, first_of(error)) from error


def _parted(tensors: Tensors, path: Path) -> dict[str, Tensors]:
    import numpy as np

    parts: dict[str, Tensors] = {"adapter": {}, "embedding": {}, "prototype": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        if part not in parts or not key:
            raise _refused(path, f"its tensor {name!a} is of no concept")
        if not np.isfinite(tensor).all():
            raise _refused(path, f"its tensor {name!a} has what is not a number")
        parts[part][key] = tensor
    return parts


def _check_parts(parts: dict[str, Tensors], card: Card, path: Path) -> None:
    """What the registry keeps beside adapters, which the base knows. Raises UsageError."""
    path_of_clips = {"path"} & parts["embedding"].keys() if card.kind == "motion" else set()
    for part, needed in (
        ("embedding", {"tokens"} | path_of_clips),
        ("prototype", {"text", "image", "image_mean"}),
    ):
        if missing := sorted(needed - parts[part].keys()):
            raise _refused(path, f"its tensor '{part}/{missing[0]}' is missing")
        if odd := sorted(parts[part].keys() - needed):
            raise _refused(path, f"its tensor {f'{part}/{odd[0]}'!a} is of no {card.kind}")
    image, mean = parts["prototype"]["image"], parts["prototype"]["image_mean"]
    if image.ndim != 2 or not len(image) or mean.shape != image.shape[1:]:
        raise _refused(path, f"its image prototypes are {image.shape} and {mean.shape}")
    if path_of_clips and len(parts["embedding"]["path"]) > LONGEST:
        raise _refused(path, f"its path is longer than {LONGEST} frames")


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(f"'{path}' is no concept: {shorten(why)}.", "Name a file that ccvd export wrote.")
