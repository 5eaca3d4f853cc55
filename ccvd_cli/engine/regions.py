"""Controllable conditional synthesis: who is where (CCVD; after CIDM, arXiv 2410.17594, section 3.4).

A picture is spoken to by several voices: the prompt, and each region with a prompt, text states and adapters of its own. In every
cross-attention, queries inside a box attend to its region's text states, and its adapters act there; the average where boxes overlap:

    out(p) = sum_k m_k(p) Attention(q(p), c_k) / sum_k m_k(p)  inside,      Attention(q(p), c)  outside.

Besides, each region's prompt is asked for a noise estimate of its own, which guides its box:

    E_k = uncond + g omega_k (cond_k - uncond),          a_k = mean attention from the box to the region's concepts in its own estimate,
    E* = alpha E + (1 - alpha) sum_k omega_k m_k E_k / sum_k omega_k m_k  inside,      E  outside,
    omega_k = (1 / a_k) / mean(1 / a), clamped to [0.5, 2]: what is easily neglected weighs more.

Where a region is all there is, as in a window of its own (windows.py), the prompt's estimate is E_k already, and none other is asked for.

There the region is heard in the whole frame (CIDM); or in its box alone, while pixels elsewhere hear the empty prompt. The latter is for a base
that has learned to draw what it hears in boxes: told the same everywhere, it draws one large actor of which a box has a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..regions import Region
from .adapters import Wide
from .attention import LayerTextAttention, attention_map, listening
from .attention_maps import grid_of
from .bases.contract import Base, Site, SiteKind
from .windows import Estimate

ALPHA = 0.1
NEGLECT = 0.5, 2.0
# Rows of a batch: without a prompt, the prompt's, and from here on each region's own.
EMPTY, PROMPT, FIRST = 0, 1, 2


def boxes_of(regions: Sequence[Region], frames: int) -> Tensor:
    """(K, F, 4)."""
    return torch.tensor([[r.box_at(f) for f in range(frames)] for r in regions])


def in_latents(boxes: Tensor, frames: int) -> Tensor:
    """Boxes (K, F, 4) of a clip in as many frames of latents: where these hold several, as all but the first then do, their mean."""
    if boxes.shape[1] == frames:
        return boxes
    later = boxes[:, 1:].unflatten(1, (frames - 1, -1)).mean(2)
    return torch.cat([boxes[:, :1], later], 1)


class Layout:
    """Which voice is heard where: voice 0 is the prompt's, voice k that of box k. Computed once for every resolution of the denoiser."""

    def __init__(self, boxes: Tensor, height: int, width: int, device: torch.device) -> None:
        """boxes (K, F, 4), an empty one where a region is not heard; height and width of the latents that they lie in."""
        self.boxes, self.height, self.width, self.device = boxes, height, width, device
        self.voices, self.frames = 1 + len(boxes), boxes.shape[1]
        self._shares: dict[int, Tensor] = {}
        self._inside: dict[int, Tensor] = {}

    def shares(self, cells: int) -> Tensor:
        """(V, F, cells), summing to 1 over the voices: the grid has the latents' proportions, row by row."""
        if cells not in self._shares:
            masks = self.masks(*grid_of(cells, self.height, self.width)).flatten(2)
            covered = masks.sum(0, keepdim=True)
            shares = torch.cat([(covered == 0).float(), masks / covered.clamp(min=1)])
            self._shares[cells] = shares.to(self.device)
        return self._shares[cells]

    def inside(self, cells: int) -> Tensor:
        """(K, F, cells), true inside the boxes."""
        if cells not in self._inside:
            self._inside[cells] = self.shares(cells)[1:] > 0
        return self._inside[cells]

    def masks(self, height: int, width: int) -> Tensor:
        """(K, F, height, width), 1 inside the boxes."""
        return covered(self.boxes, height, width).float()


def covered(boxes: Tensor, height: int, width: int) -> Tensor:
    """The cells that lie in boxes (..., 4) whole, (..., height, width), true or false; where there are none, the one in a box's middle.

    In an empty box, of no width or no height, there is no cell.
    """

    def span(low: Tensor, high: Tensor, count: int) -> Tensor:
        first, last = (low * count - 1e-5).ceil(), (high * count + 1e-5).floor()
        middle = ((low + high) / 2 * count).floor().clamp(max=count - 1)
        none = last <= first
        first, last = torch.where(none, middle, first), torch.where(none, middle + 1, last)
        cells = torch.arange(count, device=low.device)
        return (cells >= first[..., None]) & (cells < last[..., None]) & (high > low)[..., None]

    x0, y0, x1, y1 = boxes.unbind(-1)
    return span(y0, y1, height)[..., :, None] & span(x0, x1, width)[..., None, :]


@dataclass
class Voices:
    """Everything that is said, and where.

    text: what the regions say, (K, L, T, D), or (K, L, F, T, D) where frames are told their moments. concepts: (K, T), where in it their
    concepts stand. adapters: by voice, the prompt's first. elsewhere: what a region's own estimate hears outside of its box, (1, L, T, D),
    or (1, L, F, T, D); None: the region. bare: what acts on the empty prompt's row instead of `adapters`, if that is something else.

    In a window that is all a region's own, though it is led in it, that stands in the place of the prompt.
    """

    layout: Layout
    text: Tensor
    concepts: Tensor
    adapters: list[dict[Site, Wide]]
    attend: bool = True  # region attention
    guided: bool = True  # each region's own noise estimate
    elsewhere: Tensor | None = None
    bare: list[dict[Site, Wide]] | None = None
    attention: list[Tensor] = field(default_factory=list)  # of one denoising step: (K,) of every layer

    @property
    def alone(self) -> bool:
        """Whether a region is heard everywhere, and nothing else is."""
        cells = self.layout.height * self.layout.width
        return self.layout.voices == 2 and bool((self.layout.shares(cells)[1] == 1).all())

    @property
    def rows(self) -> int:
        return FIRST + (self.layout.voices - 1 if self.guided else 0)

    def by_frame(self, h: Tensor) -> Tensor:
        """Of all rows of a batch, (R * F, N, C) or (R, F * N, C) -> (R, F, N, C); a view."""
        return h.view(self.rows, self.layout.frames, -1, h.shape[-1])

    def own_row(self, voice: int) -> int | None:
        """The row of a batch that is a region's own estimate; the prompt has none."""
        return FIRST + voice - 1 if voice and self.guided else None

    def region_weights(self) -> Tensor:
        """omega, (K,); forgets the attention that it is computed from."""
        wanting = 1 / torch.stack(self.attention).mean(0).clamp(min=1e-6)
        self.attention.clear()
        return (wanting / wanting.mean()).clamp(*NEGLECT)


class Turn:
    """Whose turn it is: the voices of the window that is being denoised, of which there may be one."""

    def __init__(self, voices: Voices) -> None:
        self.voices = voices

    def given(self, voices: Voices, estimate: Estimate) -> Estimate:
        """The estimate, while it is these voices' turn."""

        def in_turn(latents: Tensor, t: Tensor) -> Tensor:
            self.voices = voices
            return estimate(latents, t)

        return in_turn


class RegionalAdapter(nn.Module):
    """The adapters of one site, each where its voice is heard. h: R clips, in rows of frames, of cells, or whole (see `Site`)."""

    def __init__(self, turn: Turn, site: Site) -> None:
        super().__init__()
        self.turn, self.site = turn, site

    def forward(self, h: Tensor, e: Tensor | None = None) -> Tensor:
        voices = self.turn.voices
        # (R, F, N, C), or of cells (R, N, F, C)
        parts = h.unflatten(0, (voices.rows, -1)) if self.site.by_cell else voices.by_frame(h)
        out = torch.zeros_like(parts)
        for voice, adapters in enumerate(voices.adapters):
            wide = adapters.get(self.site)
            together = slice(EMPTY, FIRST)
            if voices.bare is not None:
                together = slice(PROMPT, FIRST)
                if (bare := voices.bare[voice].get(self.site)) is not None:
                    out[:PROMPT] += self._share(voice, parts.shape) * _each(bare, parts[:PROMPT])
            if wide is None:
                continue
            out[together] += self._share(voice, parts.shape) * _each(wide, parts[together])
            own = voices.own_row(voice)
            if own is not None:
                acts = _each(wide, parts[own : own + 1])[0]
                everywhere = voices.elsewhere is None
                out[own] += acts if everywhere else self._inside(voice, parts.shape) * acts
        return out.reshape(h.shape)

    def _share(self, voice: int, shape: torch.Size) -> Tensor:
        return self._laid_out(self.turn.voices.layout.shares(self._cells(shape))[voice])

    def _inside(self, voice: int, shape: torch.Size) -> Tensor:
        return self._laid_out(self.turn.voices.layout.inside(self._cells(shape))[voice - 1])

    def _cells(self, shape: torch.Size) -> int:
        return shape[1] if self.site.by_cell else shape[2]

    def _laid_out(self, weights: Tensor) -> Tensor:
        """(F, N) as parts are: (F, N, 1), or (N, F, 1)."""
        return (weights.T if self.site.by_cell else weights)[..., None]


def _each(wide: Wide, rows: Tensor) -> Tensor:
    """A wide adapter on (R, X, Y, C)."""
    out: Tensor = wide(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
    return out


class RegionAttention:
    """A layer's cross-attention in which the prompt's row listens to the regions inside their boxes, and theirs perhaps only there."""

    def __init__(self, plain: LayerTextAttention, turn: Turn) -> None:
        self.plain, self.turn = plain, turn

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *more: Any,
        **named: Any,
    ) -> Tensor:
        out = self.plain(attn, hidden_states, encoder_hidden_states, *more, **named)
        voices = self.turn.voices
        count = voices.layout.voices - 1
        parts, rows = voices.by_frame(hidden_states), voices.by_frame(out)
        shares = voices.layout.shares(parts.shape[2])[..., None]  # (V, F, N, 1)
        inside = voices.layout.inside(parts.shape[2])  # (K, F, N)
        if voices.attend and count:
            asked = parts[PROMPT].repeat(count, 1, 1)
            heard = self.plain(attn, asked, voices.text).unflatten(0, (count, -1))
            rows[PROMPT] = shares[0] * rows[PROMPT] + (shares[1:] * heard).sum(0)
        if voices.guided and voices.elsewhere is not None:
            text = voices.elsewhere.expand(count, *voices.elsewhere.shape[1:])
            heard = self.plain(attn, parts[FIRST:].flatten(0, 1), text).unflatten(0, (count, -1))
            rows[FIRST:] = torch.where(inside[..., None], rows[FIRST:], heard)
        if voices.guided:
            maps = attention_map(attn, parts[FIRST:].flatten(0, 1), self.plain.slice(voices.text))
            maps = maps.reshape(count, -1, maps.shape[-1])  # (K, F * N, T)
            heard = (maps * voices.concepts[:, None]).sum(-1) / voices.concepts.sum(1, keepdim=True)
            here = inside.flatten(1)
            voices.attention.append((heard * here).sum(1) / here.sum(1))
        return out


class RegionGuidance:
    """Classifier-free guidance, and inside the boxes mostly that of the regions' own estimates.

    `added`: only what it adds to the answer to the empty prompt.
    """

    def __init__(self, voices: Voices, scale: float, *, added: bool = False) -> None:
        self.voices, self.scale, self.copies = voices, scale, voices.rows
        self.added = added

    def __call__(self, answers: Tensor) -> Tensor:
        """Answers (R, C, F, h, w) -> (1, C, F, h, w)."""
        guided = self._guided(answers)
        return (guided - answers[EMPTY] if self.added else guided)[None]

    def _guided(self, answers: Tensor) -> Tensor:
        empty, prompted = answers[EMPTY], answers[PROMPT]
        whole = empty + self.scale * (prompted - empty)
        if not self.voices.guided:
            return whole
        omega = self.voices.region_weights().view(-1, 1, 1, 1, 1)
        each = empty + self.scale * omega * (answers[FIRST:] - empty)  # (K, C, F, h, w)
        height, width = whole.shape[-2:]
        masks = self.voices.layout.inside(height * width).unflatten(-1, (height, width))[:, None]
        weights = omega * masks
        inside = (weights * each).sum(0) / weights.sum(0).clamp(min=1e-6)
        return torch.where(masks.any(0), ALPHA * whole + (1 - ALPHA) * inside, whole)


@contextmanager
def spoken(
    base: Base, turn: Turn, adapters: Sequence[dict[Site, Wide]]
) -> Iterator[dict[Site, RegionalAdapter]]:
    """Within it, every cross-attention listens to the voices whose turn it is. Yields what to attach where any of `adapters` act."""
    layers = [base.denoiser.get_submodule(s.name) for s in base.sites_of("spatial")]
    kinds: tuple[SiteKind, ...] = ("spatial", "temporal")
    sites = [s for s in base.sites_of(*kinds) if any(s in a for a in adapters)]
    with listening(layers, lambda plain: RegionAttention(plain, turn)):
        yield {site: RegionalAdapter(turn, site) for site in sites}
