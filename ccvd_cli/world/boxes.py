"""Actors told one by one, each in a box: what teaches the base to listen to regions.

A large base has seen enough crowds to draw whoever a part of the frame is told of into that part. A small one has to be shown: in some of
its batches every actor has a box with a prompt of its own, and inside it cross-attention hears that prompt alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.attention import LayerTextAttention, cross_attention_names, listening
from ..engine.regions import covered
from .captions import described, sentence
from .looks import own
from .render import FRAMES, Clip, boxes
from .shapes import Array

MOST = 3  # actors of a clip


def told_alone(clip: Clip, k: int, rng: np.random.Generator) -> str:
    """A prompt for the box of a clip's k-th actor. It need not say what the clip's own prompt says of motion and place."""
    actor = clip.actors[k]
    who = own(actor) if rng.random() < 0.5 else described(actor, colours=rng.random() < 0.8)
    motion = clip.motion if clip.motion != "standing still" and rng.random() < 0.6 else ""
    return sentence(who, motion, clip.scene if rng.random() < 0.4 else "")


def loose_boxes(clip: Clip, rng: np.random.Generator) -> Array:
    """A box around every actor, (K, F, 4) as x0, y0, x1, y1, with room at random, at most until halfway to the neighbours.

    Most stand still and hold the whole path; one in five follows the actor.
    """
    tight = boxes(clip).clip(0, 1)
    if rng.random() < 0.8:
        low, high = tight[..., :2].min(1, keepdims=True), tight[..., 2:].max(1, keepdims=True)
        tight = np.broadcast_to(np.concatenate([low, high], -1), tight.shape)
    limits = np.broadcast_to(np.asarray([0, 0, 1, 1], np.float32), tight.shape).copy()
    order = np.argsort(tight[:, :, [0, 2]].mean((1, 2)))
    for left, right in pairwise(order):
        end, start = tight[left, :, 2], tight[right, :, 0]
        limits[left, :, 2] = np.maximum(end, (end + start) / 2)
        limits[right, :, 0] = np.minimum(start, (end + start) / 2)
    room = np.where(rng.random((len(tight), 1, 4)) < 0.3, 1, rng.uniform(0, 0.6, (len(tight), 1, 4)))
    return (tight + room * (limits - tight)).astype(np.float32)


def centres_in(boxes: Tensor, size: int) -> Tensor:
    """The cells whose centres lie in boxes (..., 4): (..., size, size), true or false."""
    centres = (torch.arange(size) + 0.5) / size
    x0, y0, x1, y1 = boxes[..., None].unbind(-2)
    across, down = (x0 < centres) & (centres < x1), (y0 < centres) & (centres < y1)
    return down[..., :, None] & across[..., None, :]


def all_boxes(clips: Sequence[Clip], boxes_of: Callable[[Clip], Array]) -> Tensor:
    """(N, MOST, F, 4); boxes of nobody are empty."""
    found = np.zeros((len(clips), MOST, FRAMES, 4), np.float32)
    for row, clip in zip(found, clips, strict=True):
        row[: len(clip.actors)] = boxes_of(clip)
    return torch.from_numpy(found)


def all_prompts(clips: Sequence[Clip], rng: np.random.Generator) -> list[str]:
    """MOST prompts a clip, one after the other; "" for nobody."""
    return [told_alone(clip, k, rng) if k < len(clip.actors) else "" for clip in clips for k in range(MOST)]


class Heard:
    """Cross-attention to several texts one after the other, of which a query hears those of `where` alone; where boxes overlap, both at once."""

    def __init__(self, plain: LayerTextAttention, where: dict[int, Tensor]) -> None:
        """where: cells of a layer -> (rows, cells, tokens), true where a query hears a token."""
        self.plain, self.where = plain, where

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> Tensor:
        mask = self.where[hidden_states.shape[1]]
        return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask=mask)


def hearing_boxes(
    denoiser: nn.Module, where: Tensor, present: Tensor, tokens: int, sizes: Sequence[int]
) -> AbstractContextManager[None]:
    """Within it, cross-attention reads (rows, V * tokens, D): the prompt's states, and behind them those of each box.

    where: boxes (rows, V - 1, 4); present: which of them there are, (rows, V - 1). sizes: of the denoiser's square grids.
    """
    masks: dict[int, Tensor] = {}
    for size in sizes:
        inside = covered(where, size, size).flatten(2) & present[..., None]  # (rows, V - 1, cells)
        voices = torch.cat([~inside.any(1, keepdim=True), inside], 1)
        masks[size * size] = voices.transpose(1, 2).repeat_interleave(tokens, -1)
    layers = [denoiser.get_submodule(name) for name in cross_attention_names(denoiser)]
    return listening(layers, lambda plain: Heard(plain, masks))
