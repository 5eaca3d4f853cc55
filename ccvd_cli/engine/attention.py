"""Attention processors: text states per layer for the spatial cross-attentions, plain attention for small CPUs."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Clock(nn.Module):
    """Tells every frame when it is, through its text states:

        h_f = h + W_out (phi(f) * (W_in h + b)),    phi(f) = sin, cos(k pi f / 16) for k = 1 .. 8.

    It takes the product: "moving left" and "moving right" differ in what a moment means. A vector that is merely added to all text
    states of a frame adds the same to every key, which changes no attention weight, so words and moments would never meet.
    """

    HARMONICS, HALF_TURN = 8, 16

    def __init__(self, width: int, features: int = 192) -> None:
        super().__init__()
        self.inwards = nn.Linear(width, features)
        self.outwards = nn.Linear(features, width, bias=False)
        nn.init.zeros_(self.outwards.weight)
        self.told = nn.Identity()  # a site: what is attached beside it says what else a moment means

    def waves(self, moments: Tensor) -> Tensor:
        """phi at moments (...) -> (..., features), every wave in as many features."""
        k = torch.arange(1, self.HARMONICS + 1, device=moments.device)
        angle = moments[..., None] * k * (math.pi / self.HALF_TURN)
        phi = torch.cat([angle.sin(), angle.cos()], -1)
        return phi.tile((self.inwards.out_features // phi.shape[-1],))

    def forward(self, text: Tensor, moments: Tensor) -> Tensor:
        """Text states (N, T, D) at moments (N, F) -> those of every frame, (N, F, T, D)."""
        frames = moments.shape[1]
        phi = self.waves(moments).to(text.dtype).flatten(0, 1)[:, None]
        change = self.outwards(phi * self.inwards(text).repeat_interleave(frames, 0))
        told: Tensor = self.told(text.repeat_interleave(frames, 0) + change)
        return told.unflatten(0, moments.shape)


class Atlas(nn.Module):
    """Tells a region's text states where its box is, as a `Clock` tells when:

    h' = h + W_out (phi(box) * (W_in h + b)),    phi(box) = sin, cos(k pi v) for k = 1 .. 4, v in the centre's x, y, width, height.
    """

    HARMONICS = 4

    def __init__(self, width: int, features: int = 192) -> None:
        super().__init__()
        self.inwards = nn.Linear(width, features)
        self.outwards = nn.Linear(features, width, bias=False)
        nn.init.zeros_(self.outwards.weight)

    def waves(self, boxes: Tensor) -> Tensor:
        """phi of boxes (..., 4) as x0, y0, x1, y1 -> (..., features)."""
        low, high = boxes.split(2, -1)
        k = torch.arange(1, self.HARMONICS + 1, device=boxes.device)
        angle = (torch.cat([(low + high) / 2, high - low], -1)[..., None] * k * math.pi).flatten(-2)
        phi = torch.cat([angle.sin(), angle.cos()], -1)
        return phi.tile((self.inwards.out_features // phi.shape[-1],))

    def forward(self, text: Tensor, boxes: Tensor) -> Tensor:
        """Text states (..., T, D) of boxes (..., 4) -> the same shape."""
        phi = self.waves(boxes).to(text.dtype)[..., None, :]
        told: Tensor = text + self.outwards(phi * self.inwards(text))
        return told


class LayerTextAttention:
    """Cross-attention of one layer to its own slice of the text states.

    Queries are (B * F, N, C). `encoder_hidden_states` is (B, T, D); or (B, L, T, D), of which layer `layer` takes its slice; or
    (B, L, F, T, D), where every frame reads its own. Where all frames of a sample read the same text, they are folded into the query axis
    and the text is projected once per sample.
    """

    def __init__(self, layer: int, plain: bool = False) -> None:
        self.layer, self.plain = layer, plain

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
        text = self.slice(encoder_hidden_states)
        rows, tokens, _width = hidden_states.shape
        batch = len(text)

        def split(x: Tensor) -> Tensor:
            return x.reshape(batch, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2)

        q, k, v = split(attn.to_q(hidden_states)), split(attn.to_k(text)), split(attn.to_v(text))
        out = _attend(q, k, v, attn.scale, plain=self.plain and text.shape[1] <= _SHORT)
        out = out.transpose(1, 2).reshape(rows, tokens, -1)
        return attn.to_out[1](attn.to_out[0](out)) / attn.rescale_output_factor

    def slice(self, text: Tensor) -> Tensor:
        """What this layer reads of text states: (B, T, D), or (B * F, T, D) where every frame reads its own."""
        if text.ndim >= 4:
            text = text[:, self.layer]
        return text.flatten(0, 1) if text.ndim == 4 else text


def attention_map(attn: Any, hidden_states: Tensor, text: Tensor) -> Tensor:
    """softmax(QK^T), the mean over heads: queries of rows (R, N, C) folded as in `LayerTextAttention`, text (B, T, D) -> (B, R * N / B, T)."""
    batch = len(text)

    def split(x: Tensor) -> Tensor:
        return x.reshape(batch, -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2)

    q, k = split(attn.to_q(hidden_states)), split(attn.to_k(text))
    return ((q * attn.scale) @ k.transpose(-1, -2)).softmax(-1).mean(1)


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
