"""Concept-specific attribute retention: what a new adapter learns stays out of the way of all earlier ones.

The concept orthogonal loss of CCVD (after CIDM, arXiv 2410.17594, equation 5) is

    L = L_diffusion + lambda sum_{j<u} sum_l |<R_j,l , R_u,l>|,

R_j,l being the subspace that concept j writes to in layer l. Ours is W_up, (C, H): its columns span all that an adapter can add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from safetensors import safe_open
from torch import Tensor

from ..choices import OrthogonalForm
from ..errors import CcvdError
from .adapters import Bottleneck
from .bases.contract import Site
from .concept import Stored, readable

_UP = "/up.weight"


class Earlier:
    """The subspaces of earlier concepts, accumulated once: a step costs the same after one concept as after a thousand.

    `mean-abs`: the mean over j of mean |R_j^T R_u|; ours is a mean there too, since their sum drowns the diffusion loss when there are many.
    Kept are the columns of all R_j / H_j side by side, S (C, n), while n <= C. Beyond that S S^T is, with a square root B, and each column r of
    R_u is held against all of S at once: the overlaps of many columns spread like a Gaussian's values, whose mean size is sqrt(2 / pi) of
    their root mean square, so sum_i |s_i^T r| is about sqrt(2 n / pi) |B^T r|. It vanishes exactly where every R_j^T r does.
    `abs-trace`: |tr(sum_j R_j^T R_u)| / (C H), the paper's inner product, its sum over concepts taken inside; of adapters of another
    hidden width it takes the columns that both have.
    """

    def __init__(self, form: OrthogonalForm = "mean-abs") -> None:
        self.form, self.count = form, 0
        self._summed: dict[str, Tensor] = {}  # abs-trace: sum_j R_j; mean-abs: S S^T
        self._columns: dict[str, list[Tensor]] = {}  # mean-abs: S, as long as it is the smaller one
        self._number: dict[str, int] = {}  # of its columns, n
        self._adapters: dict[str, int] = {}  # earlier ones that the site has
        self._kept: dict[str, Tensor] = {}

    def add(self, subspaces: Mapping[str, Tensor]) -> None:
        """Takes in one earlier concept: W_up (C, H) by site name. Summed up on the CPU: not every device has `eigh`."""
        self.count += 1
        self._kept.clear()
        for site, there in subspaces.items():
            up = there.detach().cpu().float()
            if self.form == "abs-trace":
                self._summed[site] = _padded_sum(self._summed.get(site), up)
                continue
            columns = up / up.shape[1]
            self._adapters[site] = self._adapters.get(site, 0) + 1
            self._summed[site] = self._summed.get(site, 0) + columns @ columns.T
            self._number[site] = self._number.get(site, 0) + columns.shape[1]
            few = self._number[site] <= len(columns)
            self._columns[site] = [*self._columns.get(site, []), columns] if few else []

    def kept(self, site: str) -> Tensor:
        """What the site's new adapter is held against: sum_j R_j (C, H); or over the number of adapters S (C, n), or B sqrt(2 n / pi) (C, C)."""
        if site not in self._kept:
            summed = self._summed[site]
            if self.form == "abs-trace":
                self._kept[site] = summed
            elif self._columns[site]:
                self._kept[site] = torch.cat(self._columns[site], 1) / self._adapters[site]
            else:
                values, vectors = torch.linalg.eigh(summed)
                usual = (2 * self._number[site] / math.pi) ** 0.5
                self._kept[site] = vectors * values.clamp(min=0).sqrt() * usual / self._adapters[site]
        return self._kept[site]

    def all_kept(self) -> dict[str, Tensor]:
        """`kept`, by site."""
        return {site: self.kept(site) for site in self._summed}

    def to(self, device: torch.device) -> Earlier:
        """Works out what is kept, there."""
        self._kept = {site: kept.to(device) for site, kept in self.all_kept().items()}
        return self

    def overlap(self, adapters: Mapping[Site, Bottleneck]) -> Tensor:
        """sum_l |<R, R_u,l>| of the adapters that are being learned, a scalar; 0 where no earlier concept has an adapter."""
        shared = [
            (s.name, self.kept(s.name), a.up.weight) for s, a in adapters.items() if s.name in self._summed
        ]
        terms = [self._inner(site, kept, up.float()) for site, kept, up in shared]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def _inner(self, site: str, kept: Tensor, up: Tensor) -> Tensor:
        if self.form == "mean-abs":
            found = kept.T @ up
            return (found.abs().sum() if self._columns[site] else found.norm(dim=0).sum()) / up.shape[1]
        both = min(kept.shape[1], up.shape[1])
        return (kept[:, :both] * up[:, :both]).sum().abs() / up.numel()


def _padded_sum(summed: Tensor | None, up: Tensor) -> Tensor:
    """The narrower of two matrices (C, H) is taken to have columns of zeros behind its own."""
    if summed is None:
        return up
    wide, narrow = (summed, up) if summed.shape[1] >= up.shape[1] else (up, summed)
    return torch.cat([wide[:, : narrow.shape[1]] + narrow, wide[:, narrow.shape[1] :]], 1)


def stored_subspaces(concept: Stored, sites: Iterable[Site]) -> dict[str, Tensor]:
    """W_up (C, H) by the name of its site, of a registered concept; nothing else of it is read.

    Raises:
        CcvdError: its file is not what was stored, or not of a base with these `sites`.
    """
    widths = {site.name: site.width for site in sites}
    with readable(concept), safe_open(concept.adapter_path, "pt") as file:
        names = [k for k in file.keys() if k.endswith(_UP)]  # noqa: SIM118  not a mapping
        found = {k.removesuffix(_UP): file.get_tensor(k) for k in names}
    for site, up in found.items():
        if up.ndim != 2 or up.shape[0] != widths.get(site):
            there = f"is {widths[site]} wide" if site in widths else "has no such layer"
            raise CcvdError(
                f"concept {concept.name} has {tuple(up.shape)} at {site}, where the base {there}",
                "it was learned on another base",
            )
    return found
