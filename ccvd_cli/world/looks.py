"""What an actor looks like, where words end: "a my dog" is one that looks like itself.

While the base is trained, the word OWN is read as a vector that says colours, texture and accessory exactly. A concept's token, which takes
that word's place, is then looked for among vectors that the base knows how to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .colour import oklab
from .render import DARKER, TEXTURES, Actor, Clip
from .shapes import ACCESSORIES, Array

OWN = "my"
LOOK = 18 + len(TEXTURES) + len(ACCESSORIES)
_MOST = 3  # actors of a clip
_NOISE = 0.1  # of the vectors' spread: room for vectors that are found by descent


def own(actor: Actor) -> str:
    """'a my dog'."""
    return f"a {OWN} {actor.noun}"


def look(actor: Actor) -> Array:
    """(LOOK,): its two colours and its accessory's, in RGB and OKLab, its texture and its accessory."""
    second = actor.second or tuple(DARKER * c for c in actor.colour)
    worn = actor.accessory_colour if actor.accessory else (0.5,) * 3
    colours = np.asarray([actor.colour, second, worn])
    kinds = [actor.texture == t for t in TEXTURES] + [actor.accessory == a for a in ACCESSORIES]
    return np.concatenate([2 * colours.ravel() - 1, oklab(colours).ravel(), kinds]).astype(np.float32)


def looks(clips: list[Clip]) -> Array:
    """What the actors of clips look like, (N, 3, LOOK); zeros behind the last."""
    seen = np.zeros((len(clips), _MOST, LOOK), np.float32)
    for row, clip in zip(seen, clips, strict=True):
        for k, actor in enumerate(clip.actors):
            row[k] = look(actor)
    return seen


class WordReader(nn.Sequential):
    """Numbers -> the vector of a word, as large as those of `table` (V, D)."""

    def __init__(self, numbers: int, table: Tensor) -> None:
        width = table.shape[1]
        last = nn.Linear(width, width)
        super().__init__(nn.Linear(numbers, width), nn.GELU(), last)
        with torch.no_grad():
            last.weight *= float(table.std() / self(torch.rand(64, numbers) * 2 - 1).std())

    @contextmanager
    def told(self, encoder: Any, mine: Tensor, seen: Tensor, generator: torch.Generator) -> Iterator[None]:
        """Within it, the text `encoder` reads the n-th of a row's words `mine` (B, T) as the n-th of its rows `seen` (B, K, numbers)."""
        vectors = self(seen.to(mine.device)).float()
        noise = torch.randn(vectors.shape, generator=generator).to(mine.device)
        vectors = vectors + _NOISE * vectors.detach().std() * noise
        which = (mine.cumsum(1) - 1).clamp(0, seen.shape[1] - 1)
        told = vectors.gather(1, which[..., None].expand(-1, -1, vectors.shape[-1]))

        def place(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            return torch.where(mine[..., None], told.to(out.dtype), out)

        handle = encoder.get_input_embeddings().register_forward_hook(place)
        try:
            yield
        finally:
            handle.remove()
