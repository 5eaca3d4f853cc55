"""A word that is read as numbers: what the text encoder sees in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NOISE = 0.1  # of the vectors' spread: room for vectors that are found by descent


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
