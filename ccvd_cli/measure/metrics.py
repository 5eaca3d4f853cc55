"""The field's metrics, of embeddings that any encoder may have made (DreamVideo, arXiv 2312.04433, section 4.1).

Rows are embeddings of frames, references or prompts, of any length: only their directions count. Scores are cosines, in [-1, 1].
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def text_alignment(frames: Tensor, text: Tensor) -> float:
    """CLIP-T: the mean cosine of frames (F, E) with the prompt (E,), in which class nouns stand for concepts."""
    return image_alignment(frames, text[None])


def image_alignment(frames: Tensor, references: Tensor) -> float:
    """CLIP-I, DINO-I: the mean cosine over all pairs of frames (F, E) and references (R, E).

    Raises:
        ValueError: no frame or no reference.
    """
    if not len(frames) or not len(references):
        raise ValueError(f"{len(frames)} frames and {len(references)} references: one of each is needed")
    return float(_directions(frames).mean(0) @ _directions(references).mean(0))


def temporal_consistency(frames: Tensor) -> float:
    """T-Cons: the mean cosine of consecutive frames (F, E). A frozen picture has 1, so it never stands alone.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError("one frame has no next one")
    directions = _directions(frames)
    return float((directions[1:] * directions[:-1]).sum(-1).mean())


def _directions(rows: Tensor) -> Tensor:
    return F.normalize(rows.double(), dim=-1)


__all__ = ["image_alignment", "temporal_consistency", "text_alignment"]
