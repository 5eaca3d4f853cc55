"""Where in photos a subject ends: masks of whole cells made to follow its outline, by the colours that it has in all of them.

GrabCut (Rother et al., SIGGRAPH 2004): colours inside and outside are mixtures of five Gaussians each, and the cut runs where it costs least,

    E(mask) = sum over pixels of -log p(colour | inside or outside) + 50 sum over neighbours that are parted of exp(-beta |difference|^2).

As in cosegmentation (Rother et al., CVPR 2006), the inside is one for all photos: a hat that one of the masks missed is in another. The outside
is each photo's own: its place. So what is seen grows by what a subject wears, and loses what is around it. What neither mixture knows, as a
thing nearby of a colour of its own, is taken for the subject's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mask: TypeAlias = npt.NDArray[np.bool_]  # (H, W)
Pixels: TypeAlias = npt.NDArray[np.uint8]  # (H, W, 3)
Mixture: TypeAlias = npt.NDArray[np.float64]  # OpenCV's, (1, 65)

ROUNDS = 2
# Of a photo's shorter side: what is nearer to the subject may be its own or not; and how far from what is seen a cut may reach.
NEAR, REACH = 1 / 8, 1 / 4
NO_BOX = 0, 0, 0, 0  # labels are given instead
RIM = 1 / 64  # what is kept around the cut, since an outline is soft
TRUSTED = 0.4  # a cut that holds less of what is seen took the subject for its place


class Outline(NamedTuple):
    """Where the subject is, and what is near it: beyond that there is the place alone."""

    mask: Mask
    near: Mask


def outlined(photos: Sequence[Tensor], seen: Sequence[Mask]) -> list[Outline | None]:
    """Of photos (3, H, W) in [-1, 1] in each of which something was `seen`; None for one whose colours do not tell it from its place."""
    images = [_pixels(photo) for photo in photos]
    cuts, told = list(seen), [False] * len(images)
    for _ in range(ROUNDS):
        inside = _mixture(np.concatenate(images), np.concatenate(cuts))
        for k, (image, now) in enumerate(zip(images, tuple(cuts), strict=True)):
            outside = _mixture(image, ~grown(now, NEAR))
            if inside is None or outside is None:
                continue
            cut = _cut(image, now, grown(seen[k], REACH), inside, outside)
            if (cut & seen[k]).sum() >= TRUSTED * seen[k].sum():
                cuts[k], told[k] = cut, True
    found = [grown(cut, RIM) for cut in cuts]
    return [Outline(m, grown(m, NEAR)) if sure else None for m, sure in zip(found, told, strict=True)]


def grown(mask: Mask, share: float) -> Mask:
    """By a share of the shorter side, in all directions."""
    import cv2

    side = 2 * round(share * min(mask.shape)) + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8))) > 0


def _pixels(photo: Tensor) -> Pixels:
    pixels = (photo.float() + 1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def _mixture(image: Pixels, where: Mask) -> Mixture | None:
    """Of the colours there; None if that is nowhere, or everywhere."""
    import cv2

    if where.all() or not where.any():
        return None
    cv2.setRNGSeed(0)  # it starts from clusters that are found by chance
    labels = np.where(where, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    other, mixture = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(image, labels, NO_BOX, other, mixture, 0, cv2.GC_INIT_WITH_MASK)
    return mixture


def _cut(image: Pixels, now: Mask, reach: Mask, inside: Mixture, outside: Mixture) -> Mask:
    """Within reach of what is seen, by mixtures that stay as they are."""
    import cv2

    labels = np.select([now, reach], [cv2.GC_PR_FGD, cv2.GC_PR_BGD], cv2.GC_BGD).astype(np.uint8)
    # It writes to what it is given.
    cv2.grabCut(image, labels, NO_BOX, outside.copy(), inside.copy(), 1, cv2.GC_EVAL_FREEZE_MODEL)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
