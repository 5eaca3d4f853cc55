"""Cross-attention maps: where in the picture each word is read, taken while a denoiser runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CcvdError
from .attention import attention_map
from .bases.contract import Base


@contextmanager
def watching(denoiser: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within it, every pass leaves the maps of these cross-attentions by name: softmax(QK^T), averaged over heads, (B * F, N, T).

    In the autograd graph. The pass itself stays what it was: hooks see what a layer is given and work out its map beside it, so that
    layers that are not watched cost nothing, and may go on with the fused kernel.
    """
    maps: dict[str, Tensor] = {}

    def watch(name: str) -> Any:
        def look(attn: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
            said = kwargs["encoder_hidden_states"] if len(args) < 2 else args[1]
            hidden, text = args[0], attn.processor.slice(said)
            maps[name] = attention_map(attn, hidden, text).float().reshape(*hidden.shape[:2], -1)

        return denoiser.get_submodule(name).register_forward_pre_hook(look, with_kwargs=True)

    handles = []
    try:
        for name in layers:
            handles.append(watch(name))
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def grid_of(count: int, height: int, width: int) -> tuple[int, int]:
    """(rows, columns) of `count` queries: latents of (height, width), both divided by the same number and rounded up.

    Raises:
        CcvdError: no number does.
    """
    for level in range(1, max(height, width) + 1):
        grid = -(-height // level), -(-width // level)
        if grid[0] * grid[1] == count:
            return grid
    raise CcvdError(f"{count} queries are no grid over latents of {height}x{width}")


@torch.no_grad()
def layers_at(base: Base, latents: Tensor, text: Tensor, level: int) -> list[str]:
    """The spatial cross-attentions whose queries are a grid of 1/level of the latents' sides.

    Where there is none, those of the next finer grid, or of the finest that there is. It runs the base once, on latents
    (1, C, 1, h, w) and text (1, L, T, D): only a pass shows how finely a layer looks.
    """
    counts: dict[str, int] = {}

    def count(site: str) -> Any:
        module = base.denoiser.get_submodule(site)
        return module.register_forward_pre_hook(lambda _, args: counts.update({site: args[0].shape[1]}))

    handles = [count(site.name) for site in base.sites_of("spatial")]
    try:
        with base.still():
            moment, time = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
            base.predict(latents, time.to(base.device), base.tell(text, moment))
    finally:
        for handle in handles:
            handle.remove()
    height, width = latents.shape[-2:]
    rows = {name: grid_of(n, height, width)[0] for name, n in counts.items()}
    wanted = -(-height // level)
    chosen = min((r for r in rows.values() if r >= wanted), default=max(rows.values()))
    return [name for name, r in rows.items() if r == chosen]


def on_grid(masks: Tensor, count: int) -> Tensor:
    """Masks (N, h, w) of the latents as shares of each of `count` cells, (N, count)."""
    grid = grid_of(count, *masks.shape[1:])
    return F.interpolate(masks[:, None], size=grid, mode="area").flatten(1)
