"""Attention processors: text states per layer for the spatial cross-attentions, plain attention for small CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class LayerTextAttention:
    """Cross-attention of one layer to its own slice of the text states.

    Queries are (B * F, N, C), or (B, F * N, C). `encoder_hidden_states` is (B, T, D); or (B, L, T, D), of which layer `layer` takes its
    slice; or (B, L, F, T, D), where every frame reads its own. Where all frames of a sample read the same text, they are folded into the
    query axis and the text is projected once per sample. `attention_mask` (B, N, T): true where a query may read a token.
    """

    def __init__(self, layer: int, plain: bool = False) -> None:
        self.layer, self.plain = layer, plain

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *_: object,
        **__: object,
    ) -> Tensor:
        if encoder_hidden_states is None:
            raise ValueError("a text-conditioned attention was called without text states")
        text = self.slice(encoder_hidden_states)
        rows, tokens, _width = hidden_states.shape
        q, k = _queries_and_keys(attn, hidden_states, text)
        v = _by_head(attn.to_v(text), len(text), attn.heads)
        mask = None if attention_mask is None else attention_mask[:, None]
        plain = self.plain and text.shape[1] <= _SHORT
        out = _attend(q, k, v, q.shape[-1] ** -0.5, plain=plain, mask=mask)
        out = out.transpose(1, 2).reshape(rows, tokens, -1)
        return attn.to_out[1](attn.to_out[0](out)) / getattr(attn, "rescale_output_factor", 1.0)

    def slice(self, text: Tensor) -> Tensor:
        """What this layer reads of text states: (B, T, D), or (B * F, T, D) where every frame reads its own."""
        if text.ndim >= 4:
            text = text[:, self.layer]
        return text.flatten(0, 1) if text.ndim == 4 else text


def attention_map(attn: Any, hidden_states: Tensor, text: Tensor) -> Tensor:
    """softmax(QK^T), the mean over heads: queries of rows (R, N, C) folded as in `LayerTextAttention`, text (B, T, D) -> (B, R * N / B, T)."""
    q, k = _queries_and_keys(attn, hidden_states, text)
    q, k = q * q.shape[-1] ** -0.5, k.transpose(-1, -2)
    if len(text) * attn.heads * q.shape[2] * k.shape[-1] <= _LARGE or torch.is_grad_enabled():
        return (q @ k).softmax(-1).mean(1)
    total = (q[:, 0] @ k[:, 0]).softmax(-1)
    for head in range(1, attn.heads):
        total += (q[:, head] @ k[:, head]).softmax(-1)
    return total / attn.heads


def _queries_and_keys(attn: Any, hidden_states: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """By head, (B, heads, R * N / B, d) and (B, heads, T, d); normed over all heads where the family does so."""
    q, k = attn.to_q(hidden_states), attn.to_k(text)
    if getattr(attn, "norm_q", None) is not None:
        q, k = attn.norm_q(q), attn.norm_k(k)
    return _by_head(q, len(text), attn.heads), _by_head(k, len(text), attn.heads)


def _by_head(x: Tensor, batch: int, heads: int) -> Tensor:
    return x.reshape(batch, -1, heads, x.shape[-1] // heads).transpose(1, 2)


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
_LARGE = 2**27  # numbers: maps of more are made head by head


def _attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, plain: bool, mask: Tensor | None = None
) -> Tensor:
    """softmax(QK^T)V over (rows, heads, tokens, width), written out or fused; a mask is true where a query may read."""
    if plain:
        scores = (q * scale) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


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


def install_processors(denoiser: Any, device: torch.device) -> int:
    """Give every spatial cross-attention its layer's text; on CPUs make all self-attention plain. Returns the number of layers."""
    names = cross_attention_names(denoiser)
    for layer, name in enumerate(names):
        denoiser.get_submodule(name).set_processor(LayerTextAttention(layer, device.type == "cpu"))
    if device.type == "cpu":
        for name, module in denoiser.named_modules():
            if name.endswith((".attn1", ".attn2")) and name not in names:
                module.set_processor(PlainSelfAttention())
    return len(names)


@contextmanager
def listening(layers: Sequence[Any], otherwise: Callable[[Any], Any]) -> Iterator[None]:
    """Within it, every layer's processor is what `otherwise` makes of it."""
    plain = [layer.processor for layer in layers]
    try:
        for layer, processor in zip(layers, plain, strict=True):
            layer.set_processor(otherwise(processor))
        yield
    finally:
        for layer, processor in zip(layers, plain, strict=True):
            layer.set_processor(processor)
