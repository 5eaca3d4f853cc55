"""DreamVideo's bottleneck adapters, and attaching them to a frozen denoiser (arXiv 2312.04433, equations 3 and 5).

    A(h) = W_up GELU(W_down (h + W_cond e) + b_down) + b_up          h' = block(h) + A(h)

`h` is the block's un-normalised hidden state and `e` an image embedding (motion adapters only): it shifts what the adapter sees, not
what flows past it. W_up and b_up start at zero, so that a fresh adapter changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bases.contract import Site


class Bottleneck(nn.Module):
    """One adapter. h (R, N, C) -> (R, N, C); e (B, E) with R a multiple of B, each sample's rows adjacent."""

    def __init__(self, width: int, hidden: int, condition: int = 0) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        self.cond = nn.Linear(condition, width, bias=False) if condition else None
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        if self.cond is not None:
            nn.init.zeros_(self.cond.weight)

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        if self.cond is not None and e is not None:
            h = h + self.cond(e).repeat_interleave(h.shape[0] // e.shape[0], 0)[:, None]
        out: Tensor = self.up(F.gelu(self.down(h)))
        return out


class Wide(nn.Module):
    """Several bottlenecks of one site as one: down weights stacked, up weights scaled by their shares and stacked.

    strength * sum_j z_j A_j(h) exactly, however non-linear each A_j is. Appearance guidance needs no term of its own at inference:
    W_down W_cond e is constant for a prompt, so it is part of `bias`, (B, H) or (1, H).
    """

    down: Tensor
    bias: Tensor
    up: Tensor
    offset: Tensor
    strength: float = 1.0  # may change from step to step

    def __init__(self, parts: list[tuple[Bottleneck, float, Tensor | None]]) -> None:
        super().__init__()
        biases = []
        for adapter, _, e in parts:
            bias = adapter.down.bias[None]
            if adapter.cond is not None and e is not None:
                bias = bias + adapter.cond(e) @ adapter.down.weight.T
            biases.append(bias)
        rows = max(b.shape[0] for b in biases)
        self.register_buffer("down", torch.cat([a.down.weight for a, _, _ in parts]).detach())
        self.register_buffer("bias", torch.cat([b.expand(rows, -1) for b in biases], 1).detach())
        self.register_buffer("up", torch.cat([z * a.up.weight for a, z, _ in parts], 1).detach())
        self.register_buffer("offset", sum(z * a.up.bias for a, z, _ in parts).detach())  # type: ignore[union-attr]

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        inner = F.linear(h.to(self.down.dtype), self.down)
        bias = self.bias.repeat_interleave(h.shape[0] // self.bias.shape[0], 0)
        return F.linear(F.gelu(inner + bias[:, None]), self.up, self.offset) * self.strength


class Placed(nn.Module):
    """Adapters of text states, each at its own words: sum_j p_j A_j(h).

    h (R, T, D); each p_j (B, T) says how much it acts at each word of a prompt, R being a multiple of B and each prompt's rows adjacent.
    """

    def __init__(self, parts: Sequence[tuple[nn.Module, Tensor]]) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapter for adapter, _ in parts)
        self.places = [places for _, places in parts]

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        terms = [
            p.to(h).repeat_interleave(h.shape[0] // p.shape[0], 0)[..., None] * adapter(h, e)
            for adapter, p in zip(self.adapters, self.places, strict=True)
        ]
        return torch.stack(terms).sum(0)


class ByPart(nn.Module):
    """Adapters of one site, each for its part of a batch: h (R, N, C) is cut into as many, of equal size. None adds nothing to its own."""

    def __init__(self, parts: Sequence[nn.Module | None]) -> None:
        super().__init__()
        self.parts = list(parts)

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        rows = h.chunk(len(self.parts))
        return torch.cat(
            [
                torch.zeros_like(of) if one is None else one(of, e).to(of)
                for one, of in zip(self.parts, rows, strict=True)
            ]
        )


@contextmanager
def attached(
    denoiser: nn.Module, adapters: Mapping[Site, nn.Module], e: Tensor | None = None
) -> Iterator[None]:
    """Within it, each adapter adds its output beside its site; afterwards the denoiser is untouched, bit for bit.

    The base's own parameters and modules are never replaced: hooks catch the hidden state in front of the normalisation and add to what
    the site returns. `e` (B, E) guides adapters that take a condition.
    """
    handles = []

    def join(site: Site, adapter: nn.Module) -> None:
        caught: list[Tensor] = []

        def catch(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            caught[:] = [args[0]]

        def add(_: nn.Module, __: object, out: Tensor) -> Tensor:
            extra: Tensor = adapter(caught.pop(), e)
            return out + extra.to(out.dtype)

        handles.append(denoiser.get_submodule(site.norm).register_forward_pre_hook(catch))
        handles.append(denoiser.get_submodule(site.name).register_forward_hook(add))

    try:
        for site, adapter in adapters.items():
            join(site, adapter)
        yield
    finally:
        for handle in handles:
            handle.remove()
