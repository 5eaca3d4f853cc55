"""A learner: all that is kept of a task, as named tensors. Omega_u = {layer-specific tokens, adapters, prototypes}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from ..choices import Kind
from ..errors import CcvdError
from ..leading import LONGEST
from .adapters import Bottleneck
from .bases.contract import Base, Site, TokenVectors


class Stored(Protocol):
    """What a learner needs to know of a registered concept."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def class_noun(self) -> str: ...
    @property
    def adapter_path(self) -> Path: ...
    @property
    def embedding_path(self) -> Path: ...
    @property
    def prototype_path(self) -> Path: ...


@dataclass
class Learner:
    """One concept.

    tokens: (L, D) input vectors; adapters: by site name; text_prototypes: (L, D) text states of the token alone;
    image_prototypes: (N, E) image embeddings of the training material, the first being the guide at inference. path: (F, 4), of a motion that
    leads somewhere: where, as boxes (path_finding.py).
    """

    name: str
    kind: Kind
    class_noun: str
    tokens: Tensor
    adapters: dict[str, Bottleneck]
    text_prototypes: Tensor
    image_prototypes: Tensor
    path: Tensor | None = None
    loss_curve: list[float] = field(default_factory=list)

    @property
    def placeholder(self) -> str:
        return f"<{self.name}>"

    def token_vectors(self) -> TokenVectors:
        return TokenVectors(self.placeholder, self.tokens)

    @property
    def parameters(self) -> int:
        return self.tokens.numel() + sum(p.numel() for a in self.adapters.values() for p in a.parameters())

    def adapter_bytes(self) -> bytes:
        tensors = {f"{s}/{k}": v for s, a in self.adapters.items() for k, v in a.state_dict().items()}
        return _bytes(tensors)

    def embedding_bytes(self) -> bytes:
        return _bytes({"tokens": self.tokens} | ({} if self.path is None else {"path": self.path}))

    def prototype_bytes(self) -> bytes:
        mean = self.image_prototypes.mean(0)
        return _bytes({"text": self.text_prototypes, "image": self.image_prototypes, "image_mean": mean})

    @classmethod
    def load(cls, stored: Stored, base: Base) -> Learner:
        """Read a registered concept onto a base.

        Raises:
            CcvdError: its tensors do not fit the base.
        """
        sites = {s.name: s for s in base.sites}
        with readable(stored):
            prototypes = load_file(stored.prototype_path)
            text, image = prototypes["text"].float(), prototypes["image"].float()
            _check(stored, base, "text prototypes", text, (base.text_layers, base.text_width))
            _check(stored, base, "image prototypes", image, (*image.shape[:1], base.image_width))
            learner = cls(
                stored.name,
                stored.kind,  # type: ignore[arg-type]
                stored.class_noun,
                stored_tokens(stored, base).vectors,
                read_adapters(load_file(stored.adapter_path), sites, base.image_width),
                text,
                image,
                stored_path(stored),
            )
        return learner.to(base.device)

    def to(self, device: torch.device) -> Learner:
        """Itself, moved there; what is needed on the CPU stays where it is."""
        self.tokens = self.tokens.to(device)
        self.image_prototypes = self.image_prototypes.to(device)
        for adapter in self.adapters.values():
            adapter.to(device)
        return self


def stored_tokens(stored: Stored, base: Base) -> TokenVectors:
    """A registered concept's tokens. Raises CcvdError if they do not fit the base."""
    with readable(stored):
        tokens = load_file(stored.embedding_path)["tokens"].float()
    _check(stored, base, "tokens", tokens, (base.text_layers, base.token_width))
    return TokenVectors(f"<{stored.name}>", tokens.to(base.device))


def stored_path(stored: Stored) -> Tensor | None:
    """A registered motion's path, if it has one. Raises CcvdError if it is none."""
    with readable(stored), safe_open(stored.embedding_path, "pt") as file:
        if "path" not in file.keys():  # noqa: SIM118  (it is no dictionary)
            return None
        path: Tensor = file.get_tensor("path").float()
    boxes = path.ndim == 2 and path.shape[1] == 4 and 1 < len(path) <= LONGEST
    if not boxes or not bool(((path >= 0) & (path <= 1)).all() and (path[:, 2:] > 0).all()):
        raise CcvdError(
            f"concept {stored.name} has a path {tuple(path.shape)} that is not of boxes within the frame",
            f"learn {stored.name} again",
        )
    return path


def _check(stored: Stored, base: Base, what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raises CcvdError for a tensor that does not fit the base."""
    if tensor.shape != shape:
        raise CcvdError(
            f"concept {stored.name} has {what} {tuple(tensor.shape)}, base {base.name} takes {shape}",
            "it was learned on another base",
        )


def stored_prototypes(stored: Stored) -> Tensor:
    """A registered concept's text prototypes, (L, D); nothing else of it is read. Raises CcvdError."""
    with readable(stored), safe_open(stored.prototype_path, "pt") as file:
        prototypes: Tensor = file.get_tensor("text")
        return prototypes.float()


@contextmanager
def readable(stored: Stored) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, KeyError, OSError, RuntimeError) as error:
        raise CcvdError(
            f"concept {stored.name} cannot be read: {error}", f"learn {stored.name} again"
        ) from error


def _bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Raises CcvdError if training has led them out of range: once stored, such a concept would spoil what is learned and made later."""
    # Half precision: an adapter's weights stay far inside its range, and a collection of them is half as large.
    halves = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in tensors.items()}
    for key, half in halves.items():
        if not half.isfinite().all():
            raise CcvdError(f"training has diverged: {key} is out of range", "try a smaller --lr")
    return save(halves)


def read_adapters(
    tensors: Mapping[str, Tensor], sites: Mapping[str, Site], image_width: int
) -> dict[str, Bottleneck]:
    """Frozen adapters by site name, from tensors called `site/parameter`. Raises KeyError or RuntimeError for what is none on this base."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        site, _, name = key.rpartition("/")
        grouped.setdefault(site, {})[name] = value.float()
    adapters = {}
    for site, state in grouped.items():
        width = sites[site].width
        hidden = state["down.bias"].numel()
        if state["down.weight"].shape != (hidden, width):  # before room is made for what is only claimed
            raise KeyError(f"{site}/down.weight {tuple(state['down.weight'].shape)}")
        adapter = Bottleneck(width, hidden, image_width if "cond.weight" in state else 0)
        adapter.load_state_dict(state)
        adapters[site] = adapter.requires_grad_(False)
    return adapters


def fresh_adapters(sites: Sequence[Site], share: float, condition: int = 0) -> dict[Site, Bottleneck]:
    """Untrained adapters that change nothing; `share`: hidden width over the site's width."""
    return {s: Bottleneck(s.width, max(1, int(s.width * share)), condition) for s in sites}
