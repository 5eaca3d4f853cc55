"""Concept-specific attribute retention: what a new adapter learns stays out of the way of all earlier ones.

The concept orthogonal loss of CCVD (after CIDM, arXiv 2410.17594, equation 5) is

    L = L_diffusion + lambda sum_{j<u} sum_l |<R_j,l , R_u,l>|,

R_j,l being the subspace that concept j writes to in layer l. Ours is W_up, (C, H): its columns span all that an adapter can add.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CcvdError
from ..settings import OrthogonalForm
from .adapters import Bottleneck
from .bases.contract import Site
from .concept import Stored

_UP = "/up.weight"


class Earlier:
    """The subspaces of earlier concepts, accumulated once: a step costs the same after one concept as after a thousand.

    `mean-abs`: sum_j mean |R_j^T R_u|. Kept are the columns of all R_j / H_j side by side, S (C, n), while n <= C; beyond that a square B
    with B B^T = S S^T takes their place. B^T R_u vanishes exactly where every R_j^T R_u does, and has the same sum of squares.
    `abs-trace`: |tr(sum_j R_j^T R_u)| / (C H), the paper's inner product, its sum over concepts taken inside; of adapters of another
    hidden width it takes the columns that both have.
    """

    def __init__(self, form: OrthogonalForm = "mean-abs") -> None:
        self.form, self.count = form, 0
        self._kept: dict[str, Tensor] = {}

    def add(self, subspaces: Mapping[str, Tensor]) -> None:
        """Takes in one earlier concept: W_up (C, H) by site name."""
        self.count += 1
        join = _stacked if self.form == "mean-abs" else _summed
        for site, up in subspaces.items():
            self._kept[site] = join(self._kept.get(site), up.float())

    def to(self, device: torch.device) -> Earlier:
        self._kept = {site: kept.to(device) for site, kept in self._kept.items()}
        return self

    def overlap(self, adapters: Mapping[Site, Bottleneck]) -> Tensor:
        """sum_l |<R, R_u,l>| of the adapters that are being learned, a scalar; 0 where no earlier concept has an adapter."""
        shared = [(self._kept[s.name], a.up.weight) for s, a in adapters.items() if s.name in self._kept]
        terms = [self._inner(kept, up.float()) for kept, up in shared]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def _inner(self, kept: Tensor, up: Tensor) -> Tensor:
        if self.form == "mean-abs":
            return (kept.T @ up).abs().sum() / up.shape[1]
        both = min(kept.shape[1], up.shape[1])
        return (kept[:, :both] * up[:, :both]).sum().abs() / up.numel()


def _stacked(kept: Tensor | None, up: Tensor) -> Tensor:
    columns = up / up.shape[1]
    if kept is not None:
        columns = torch.cat([kept, columns], 1)
    if columns.shape[1] > columns.shape[0]:
        columns = torch.linalg.qr(columns.T, mode="r").R.T
    return columns


def _summed(kept: Tensor | None, up: Tensor) -> Tensor:
    if kept is None:
        return up
    wide, narrow = (kept, up) if kept.shape[1] >= up.shape[1] else (up, kept)
    return torch.cat([wide[:, : narrow.shape[1]] + narrow, wide[:, narrow.shape[1] :]], 1)


def stored_subspaces(concept: Stored) -> dict[str, Tensor]:
    """W_up (C, H) by site name, of a registered concept; nothing else of it is read.

    Raises:
        CcvdError: its file is not what was stored.
    """
    try:
        with safe_open(concept.adapter_path, "pt") as file:
            names = [k for k in file.keys() if k.endswith(_UP)]  # noqa: SIM118  not a mapping
            return {k.removesuffix(_UP): file.get_tensor(k) for k in names}
    except (SafetensorError, OSError) as error:
        raise CcvdError(
            f"concept {concept.name} cannot be read: {error}",
            f"remove {concept.name}, or give --orthogonal 0",
        ) from error
