"""The clock: a sinusoid on every text state, added where it is cheapest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention

from ccvd_cli.engine.attention import Clock, LayerTextAttention
from ccvd_cli.engine.bases import open_base


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8)


def test_it_equals_adding_the_moment_to_every_text_state() -> None:
    attn, clock = attention(), Clock(12, torch.device("cpu"))
    hidden, text = torch.randn(2 * 3, 5, 16), torch.randn(2, 7, 12)
    told = text.repeat_interleave(3, 0) + clock.table[torch.arange(3)].repeat(2, 1)[:, None]
    expected = LayerTextAttention(0)(attn, hidden, told)
    for plain in (False, True):
        seen = LayerTextAttention(0, plain, clock)(attn, hidden, text)
        assert torch.allclose(seen, expected, atol=1e-5)


def test_a_picture_has_no_moment_unless_it_is_given_one() -> None:
    attn, clock = attention(), Clock(12, torch.device("cpu"))
    hidden, text = torch.randn(2, 5, 16), torch.randn(2, 7, 12)
    plain = LayerTextAttention(0)(attn, hidden, text)
    assert torch.equal(LayerTextAttention(0, clock=clock)(attn, hidden, text), plain)
    clock.at = torch.tensor([4, 9])
    told = LayerTextAttention(0, clock=clock)(attn, hidden, text)
    assert torch.allclose(
        told, LayerTextAttention(0)(attn, hidden, text + clock.table[[4, 9]][:, None]), atol=1e-5
    )


def test_only_a_base_that_says_so_has_a_clock(mini_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ticking"
    shutil.copytree(mini_folder, folder)
    (folder / "model_index.json").write_text(json.dumps({"frame_clock": "sinusoidal"}))
    silent, ticking = (open_base(str(f), device="cpu", dtype="float32") for f in (mini_folder, folder))
    x, t = torch.randn(1, *silent.latent_shape(4, 32, 32)), torch.tensor([500])
    text = silent.encode_text(["a dog"])
    assert not torch.allclose(silent.predict(x, t, text), ticking.predict(x, t, text), atol=1e-5)
