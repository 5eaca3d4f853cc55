"""The clock: what a text state says at a moment, read by every spatial cross-attention."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention

from ccvd_cli.engine.attention import Clock, LayerTextAttention
from ccvd_cli.engine.bases import open_base


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8)


def ticking() -> Clock:
    torch.manual_seed(1)
    clock = Clock(12, features=32)
    torch.nn.init.normal_(clock.outwards.weight)
    return clock


def test_a_fresh_clock_says_nothing() -> None:
    attn, hidden, text = attention(), torch.randn(2 * 3, 5, 16), torch.randn(2, 7, 12)
    plain = LayerTextAttention(0)(attn, hidden, text)
    assert torch.allclose(
        LayerTextAttention(0, clock=Clock(12, features=32))(attn, hidden, text), plain, atol=1e-6
    )


def test_every_frame_reads_the_text_of_its_moment() -> None:
    attn, clock = attention(), ticking()
    hidden, text = torch.randn(2 * 3, 5, 16), torch.randn(2, 7, 12)
    rows = text.repeat_interleave(3, 0)
    phi = clock.waves(torch.arange(3)).repeat(2, 1)[:, None]
    told = rows + (phi * (rows @ clock.inwards.weight.T + clock.inwards.bias)) @ clock.outwards.weight.T
    expected = LayerTextAttention(0)(attn, hidden, told)
    for plain in (False, True):
        seen = LayerTextAttention(0, plain, clock)(attn, hidden, text)
        assert torch.allclose(seen, expected, atol=1e-5)


def test_what_a_moment_means_depends_on_the_word() -> None:
    clock, words = ticking(), torch.randn(2, 1, 12)
    clock.at = torch.tensor([0, 15])
    first, last = clock(words, 2).unflatten(0, (2, 2)).unbind(1)
    assert not torch.allclose((first - last)[0], (first - last)[1], atol=1e-2)


def test_a_picture_has_no_moment_unless_it_is_given_one() -> None:
    clock, text = ticking(), torch.randn(2, 7, 12)
    assert torch.equal(clock(text, 1), text)
    clock.at = torch.tensor([4, 9])
    told = clock(text, 1)
    clock.at = torch.tensor([4])
    assert torch.allclose(told[0], clock(text[:1], 1)[0], atol=1e-6)
    assert not torch.allclose(told, text, atol=1e-2)


def test_only_a_base_that_brings_one_has_a_clock(mini_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "silent"
    shutil.copytree(mini_folder, folder)
    shutil.rmtree(folder / "clock")
    told, silent = (open_base(str(f), device="cpu", dtype="float32") for f in (mini_folder, folder))
    assert told.tells_moments and not silent.tells_moments
    assert told.fingerprint != silent.fingerprint
    x, t = torch.randn(1, *silent.latent_shape(4, 32, 32)), torch.tensor([500])
    text = silent.encode_text(["a dog"])
    assert not torch.allclose(silent.predict(x, t, text), told.predict(x, t, text), atol=1e-5)


def test_pictures_of_a_batch_are_told_their_own_moments(mini_folder: Path) -> None:
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    x = torch.randn(1, *base.latent_shape(1, 32, 32)).expand(2, -1, -1, -1, -1)
    text, t = base.encode_text(["a dog"]).expand(2, -1, -1, -1), torch.tensor([500, 500])
    with base.still(torch.tensor([3, 12])):
        early, late = base.predict(x, t, text)
    assert not torch.allclose(early, late, atol=1e-5)
    with base.still(torch.tensor([12, 3])):
        assert torch.allclose(base.predict(x, t, text)[1], early, atol=1e-5)
    with base.still():
        timeless = base.predict(x, t, text)
    assert torch.allclose(timeless[0], timeless[1], atol=1e-5)
