"""Where words are read: maps that the pass itself would have used, at the layers that look as finely as asked."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import nn

from ccvd_cli.engine.attention import LayerTextAttention
from ccvd_cli.engine.attention_maps import grid_of, layers_at, on_grid, watching
from ccvd_cli.engine.bases.contract import Base, TokenVectors
from ccvd_cli.errors import CcvdError

TEXTS = {"one for all": (2, 7, 12), "per layer": (2, 4, 7, 12), "per layer and frame": (2, 4, 3, 7, 12)}


def one_layer(heads: int) -> nn.Module:
    attn = Attention(query_dim=16, cross_attention_dim=12, heads=heads, dim_head=8)
    attn.set_processor(LayerTextAttention(2))
    return nn.ModuleDict({"attn": attn})


@pytest.mark.parametrize("shape", TEXTS.values(), ids=TEXTS.keys())
def test_a_map_is_what_the_layer_mixes_values_by(shape: tuple[int, ...]) -> None:
    denoiser, hidden, text = one_layer(heads=1), torch.randn(6, 5, 16), torch.randn(shape)
    attn = denoiser["attn"]
    plain = attn(hidden, encoder_hidden_states=text)
    with watching(denoiser, ["attn"]) as maps:
        assert torch.equal(attn(hidden, encoder_hidden_states=text), plain)
    own = text[:, 2] if text.ndim > 3 else text
    own = own.flatten(0, 1) if own.ndim == 4 else own.repeat_interleave(3, 0)
    assert maps["attn"].shape == (6, 5, 7)
    assert torch.allclose(attn.to_out[0](maps["attn"] @ attn.to_v(own)), plain, atol=1e-5)


def test_several_heads_are_averaged() -> None:
    denoiser = one_layer(heads=4)
    with watching(denoiser, ["attn"]) as maps:
        denoiser["attn"](torch.randn(2, 5, 16), encoder_hidden_states=torch.randn(2, 7, 12))
    assert torch.allclose(maps["attn"].sum(-1), torch.ones(2, 5))


def test_nothing_is_watched_afterwards_or_elsewhere(base: Base) -> None:
    names = [site.name for site in base.sites_of("spatial")]
    latents, text = torch.randn(1, *base.latent_shape(1, 32, 32)), base.encode_text(["a dog"])
    with base.still():
        with watching(base.denoiser, names[:1]) as maps:
            base.predict(latents, torch.tensor([300]), text)
        assert list(maps) == names[:1]
        maps.clear()
        base.predict(latents, torch.tensor([300]), text)
    assert maps == {}


def test_a_token_learns_through_its_map(base: Base) -> None:
    names = [site.name for site in base.sites_of("spatial")]
    vectors = base.noun_vector("dog").expand(base.text_layers, -1).clone().requires_grad_()
    text = base.encode_text(["a <V1> dog"], [TokenVectors("<V1>", vectors)])
    place = base.places(["a <V1> dog"], "<V1>").named[0]
    at = 1 if base.family == "wan" else 2  # behind CLIP's start token
    assert place.tolist() == [i == at for i in range(len(place))]
    latents = torch.randn(1, *base.latent_shape(1, 32, 32))
    with base.still(), watching(base.denoiser, names[:1]) as maps:
        base.predict(latents, torch.tensor([300]), text)
    maps[names[0]][..., place].sum().backward()
    assert vectors.grad is not None
    moved = vectors.grad.abs().sum(1) > 0
    assert moved.tolist() == [name == names[0] for name in names]


def test_layers_are_chosen_by_how_finely_they_look(unet: Base) -> None:
    """The tiny U-Net3D looks at 16x16 latents in grids of 16, 8, 4 and 2; the tiny motion model at 8x8 in one of 4."""
    latents, text = torch.randn(1, *unet.latent_shape(1, 32, 32)), unet.encode_text([""])

    def looks(level: int) -> set[int]:
        names = layers_at(unet, latents, text, level)
        with unet.still(), watching(unet.denoiser, names) as maps:
            unet.predict(latents, torch.tensor([300]), text)
        assert list(maps) == names
        return {seen.shape[1] for seen in maps.values()}

    if unet.family == "mini":
        assert [looks(level) for level in (1, 2, 4)] == [{16}, {16}, {16}]
    else:
        assert [looks(level) for level in (1, 2, 3, 4, 5, 8, 99)] == [
            *({256}, {64}, {64}, {16}, {16}, {4}, {4}),
        ]


def test_grids_of_odd_and_oblong_latents() -> None:
    assert grid_of(15, 9, 5) == (5, 3)
    assert grid_of(45, 9, 5) == (9, 5)
    assert grid_of(1, 64, 64) == (1, 1)
    with pytest.raises(CcvdError, match="7 queries"):
        grid_of(7, 8, 8)


def test_a_coarse_cell_has_the_share_that_is_covered() -> None:
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :1] = 1
    assert on_grid(mask, 4).tolist() == [[0.5, 0, 0, 0]]
    assert torch.equal(on_grid(mask, 16), mask.flatten(1))
