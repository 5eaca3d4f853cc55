"""Attention processors: text states per layer for the spatial cross-attentions, plain attention for small CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Clock:
    """Tells every frame when it is, through its text states.

    A family that was trained so adds sinusoid(f) to all text states of frame f (arXiv 1706.03762, section 3.5). `at` holds the frames'
    positions: None for 0, 1, 2, ...; a tensor (F,) for a part of a clip, or (B * F,) row by row. A single picture has no moment unless
    `at` gives it one.
    """

    def __init__(self, width: int, device: torch.device, length: int = 128) -> None:
        position = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
        self.table = torch.stack([position.sin(), position.cos()], -1).flatten(1).to(device)
        self.at: Tensor | None = None

    def states(self, rows: int, frames: int) -> Tensor | None:
        """What is added for each of `rows` frames (rows, D), sample by sample; None: nothing."""
        if self.at is None and frames == 1:
            return None
        at = torch.arange(frames) if self.at is None else self.at
        return self.table[at.to(self.table.device)].repeat(rows // len(at), 1)


class LayerTextAttention:
    """Cross-attention of one layer to its own slice of the text states.

    `encoder_hidden_states` is (B, T, D), or (B, L, T, D) of which layer `layer` takes its slice. Queries are (B * F, N, C): all
    frames of a sample read the same text, so the frames are folded into the query axis and the text is projected once per sample.
    """

    def __init__(self, layer: int, plain: bool = False, clock: Clock | None = None) -> None:
        self.layer, self.plain, self.clock = layer, plain, clock

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        if encoder_hidden_states is None:
            raise ValueError("a text-conditioned attention was called without text states")
        text = encoder_hidden_states
        if text.ndim == 4:
            text = text[:, self.layer]
        rows, tokens, _width = hidden_states.shape
        batch = text.shape[0]

        def split(x: Tensor) -> Tensor:
            return x.reshape(batch, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2)

        q, k, v = split(attn.to_q(hidden_states)), split(attn.to_k(text)), split(attn.to_v(text))
        out = _attend(q, k, v, attn.scale, plain=self.plain and text.shape[1] <= _SHORT)
        out = out.transpose(1, 2).reshape(rows, tokens, -1)
        moments = self.clock.states(rows, rows // batch) if self.clock else None
        if moments is not None:
            # The same vector on all keys changes no attention weight, and weights sum to one: what it adds to the values is added once.
            out = out + attn.to_v(moments.to(text.dtype))[:, None]
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


class PlainSelfAttention:
    """softmax(QK^T)V written out: for the short rows of a small base it is faster on CPUs than the fused kernel."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        rows, tokens, _width = hidden_states.shape

        def split(x: Tensor) -> Tensor:
            return x.reshape(rows, tokens, attn.heads, -1).transpose(1, 2)

        q, k, v = (
            split(attn.to_q(hidden_states)),
            split(attn.to_k(hidden_states)),
            split(attn.to_v(hidden_states)),
        )
        out = _attend(q, k, v, attn.scale, plain=tokens <= _SHORT)
        out = out.transpose(1, 2).reshape(rows, tokens, -1)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor


_SHORT = 256  # longer rows would need a matrix of their square


def _attend(q: Tensor, k: Tensor, v: Tensor, scale: float, *, plain: bool) -> Tensor:
    """softmax(QK^T)V over (rows, heads, tokens, width), written out or fused."""
    if plain:
        return ((q * scale) @ k.transpose(-1, -2)).softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def cross_attention_names(denoiser: Any) -> list[str]:
    """Names of the spatial cross-attentions, in the order that numbers the text layers.

    Temporal blocks have an `attn2` too, but theirs is a second self-attention: they sit under `temp_attentions`, `motion_modules` or
    `transformer_in` and are left out.
    """
    return [
        name
        for name, _ in denoiser.named_modules()
        if name.endswith(".attn2") and ".attentions." in f".{name}"
    ]


def install_processors(denoiser: Any, device: torch.device, clock: Clock | None = None) -> int:
    """Give every spatial cross-attention its layer's text; on CPUs make all self-attention plain. Returns the number of layers."""
    names = cross_attention_names(denoiser)
    for layer, name in enumerate(names):
        denoiser.get_submodule(name).set_processor(LayerTextAttention(layer, device.type == "cpu", clock))
    if device.type == "cpu":
        for name, module in denoiser.named_modules():
            if name.endswith((".attn1", ".attn2")) and name not in names:
                module.set_processor(PlainSelfAttention())
    return len(names)
