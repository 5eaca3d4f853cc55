"""The clock: what a text state says at a moment, read by every spatial cross-attention."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention
from test_adapters import trained

from ccvd_cli.engine.adapters import Placed, attached
from ccvd_cli.engine.attention import LayerTextAttention
from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.told import Atlas, Clock


def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=16, cross_attention_dim=12, heads=2, dim_head=8)


def ticking() -> Clock:
    torch.manual_seed(1)
    clock = Clock(12, features=32)
    torch.nn.init.normal_(clock.outwards.weight)
    return clock


def test_a_fresh_clock_says_nothing() -> None:
    text = torch.randn(2, 7, 12)
    told = Clock(12, features=32)(text, torch.arange(3).expand(2, -1))
    assert torch.equal(told, text[:, None].expand(-1, 3, -1, -1))


def test_a_moment_meets_every_word() -> None:
    """h + W_out (phi * (W_in h + b)), written out for one state."""
    clock, text = ticking(), torch.randn(2, 7, 12)
    moments = torch.tensor([[0, 5, 15], [3, 3, 8]])
    told = clock(text, moments)
    assert told.shape == (2, 3, 7, 12)
    angles = torch.arange(1, 9) * torch.pi * 8 / 16
    h, phi = text[1, 4], torch.cat([angles.sin(), angles.cos()]).tile(2)
    expected = h + clock.outwards.weight @ (phi * (clock.inwards.weight @ h + clock.inwards.bias))
    assert torch.allclose(told[1, 2, 4], expected, atol=1e-5)
    assert torch.equal(told[1, 0], told[1, 1])


def test_an_atlas_tells_every_frame_its_box() -> None:
    """h + W_out (phi * (W_in h + b)), written out for one state; a fresh one says nothing."""
    atlas, text = Atlas(12, features=32), torch.randn(2, 3, 7, 12)
    boxes = torch.tensor([[0.0, 0.2, 0.5, 1.0], [0.5, 0.2, 1.0, 1.0], [0.0, 0.2, 0.5, 1.0]]).expand(2, -1, -1)
    assert torch.equal(atlas(text, boxes), text)
    torch.nn.init.normal_(atlas.outwards.weight)
    told = atlas(text, boxes)
    angles = torch.tensor([[k * torch.pi * v for k in (1, 2, 3, 4)] for v in (0.75, 0.6, 0.5, 0.8)]).flatten()
    phi = torch.cat([angles.sin(), angles.cos()])
    expected = text[1, 1, 4] + atlas.outwards.weight @ (
        phi * (atlas.inwards.weight @ text[1, 1, 4] + atlas.inwards.bias)
    )
    assert torch.allclose(told[1, 1, 4], expected, atol=1e-4)
    same = text[:1, :1].expand(-1, 3, -1, -1)
    left, right, again = atlas(same, boxes[:1])[0]
    assert torch.equal(left, again) and not torch.allclose(left, right, atol=1e-2)


def test_every_frame_reads_its_own_text() -> None:
    attn, hidden, text = attention(), torch.randn(2 * 3, 5, 16), torch.randn(2, 4, 3, 7, 12)
    for plain in (False, True):
        layer = LayerTextAttention(2, plain)
        alone = [
            layer(attn, row[None], own[None])
            for row, own in zip(hidden, text[:, 2].flatten(0, 1), strict=True)
        ]
        assert torch.allclose(layer(attn, hidden, text), torch.cat(alone), atol=1e-5)


def test_frames_that_share_a_text_read_it_as_if_it_were_their_own() -> None:
    attn, hidden, text = attention(), torch.randn(2 * 3, 5, 16), torch.randn(2, 4, 7, 12)
    each = text[:, :, None].expand(-1, -1, 3, -1, -1)
    layer = LayerTextAttention(1)
    assert torch.allclose(layer(attn, hidden, text), layer(attn, hidden, each), atol=1e-5)


def test_what_a_moment_means_depends_on_the_word() -> None:
    """A sum would move both words alike, and no attention weight with them."""
    told = ticking()(torch.randn(2, 1, 12), torch.tensor([[0, 15]]).expand(2, -1))
    moved = told[:, 1] - told[:, 0]
    assert not torch.allclose(moved[0], moved[1], atol=1e-2)


def test_a_base_tells_each_prompt_at_its_own_places(mini_folder: Path) -> None:
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    text, (site,) = torch.randn(2, base.text_layers, 6, base.text_width), base.sites_of("moment")
    adapters = [trained(site.width, 4), trained(site.width, 4)]
    one, two = torch.zeros(2, 2, 6)
    one[0, 1] = one[1, 4] = 1
    two[0, 1] = two[0, 3] = 0.5

    before = base.tell(text, torch.arange(3)[None])
    with attached(base.denoiser, {site: Placed([(adapters[0], one)])}):
        first = base.tell(text, torch.arange(3)[None]) - before
    with attached(base.denoiser, {site: Placed([(adapters[0], one), (adapters[1], two)])}):
        both = base.tell(text, torch.arange(3)[None]) - before
    assert base.text_layers > 1 and torch.equal(first.abs().amax((1, 2, 4)) > 0, one > 0)
    assert torch.equal(both.abs().amax((1, 2, 4)) > 0, one + two > 0)
    second = adapters[1](before[0, 1, 2])[[1, 3]]  # at the first prompt, in layer 1 and frame 2
    assert torch.allclose((both - first)[0, 1, 2, [1, 3]], 0.5 * second, atol=1e-5)


def test_only_a_base_that_brings_one_has_a_clock(mini_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "silent"
    shutil.copytree(mini_folder, folder)
    shutil.rmtree(folder / "clock")
    told, silent = (open_base(str(f), device="cpu", dtype="float32") for f in (mini_folder, folder))
    assert told.tells_moments and not silent.tells_moments
    assert told.fingerprint != silent.fingerprint
    text, moments = silent.encode_text(["a dog"]), torch.arange(4)[None]
    assert silent.tell(text, moments) is text
    x, t = torch.randn(1, *silent.latent_shape(5, 32, 32)), torch.tensor([500])
    assert torch.allclose(silent.predict(x, t, text), told.predict(x, t, text), atol=1e-5)
    assert not torch.allclose(
        silent.predict(x, t, text), told.predict(x, t, told.tell(text, moments)), atol=1e-5
    )


def test_pictures_of_a_batch_are_told_their_own_moments(mini_folder: Path) -> None:
    base = open_base(str(mini_folder), device="cpu", dtype="float32")
    x = torch.randn(1, *base.latent_shape(1, 32, 32)).expand(2, -1, -1, -1, -1)
    text, t = base.encode_text(["a dog"]).expand(2, -1, -1, -1), torch.tensor([500, 500])
    with base.still():
        early, late = base.predict(x, t, base.tell(text, torch.tensor([[3], [12]])))
        swapped = base.predict(x, t, base.tell(text, torch.tensor([[12], [3]])))
    assert not torch.allclose(early, late, atol=1e-5)
    assert torch.allclose(swapped[1], early, atol=1e-5)
