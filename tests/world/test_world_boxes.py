"""Actors in boxes with prompts of their own: what a base is shown so that it listens to regions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention

from ccvd_cli.engine.attention import LayerTextAttention, install_processors
from ccvd_cli.engine.regions import covered
from ccvd_cli.world.boxes import (
    MOST,
    Heard,
    all_boxes,
    all_prompts,
    centres_in,
    hearing_boxes,
    loose_boxes,
    told_alone,
)
from ccvd_cli.world.captions import Mix, random_clip
from ccvd_cli.world.corpus import undrawn
from ccvd_cli.world.looks import OWN
from ccvd_cli.world.models import image_unet, video_unet
from ccvd_cli.world.render import FRAMES, Clip, boxes


def clips(count: int, *, together: float, seed: int = 0) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [random_clip(rng, Mix(together=together, strangers=True))[0] for _ in range(count)]


def test_masks_follow_what_moves() -> None:
    alone = [c for c, _ in undrawn(250, 0) if len(c.actors) == 1]
    masks = centres_in(all_boxes(alone, boxes), 16).any(1).numpy()
    columns = (masks.sum(2) * np.arange(16)).sum(-1) / masks.sum((2, 3))
    for clip, column in zip(alone, columns, strict=True):
        gone = column[-1] - column[0]
        wanted = {"moving left": -1, "moving right": 1}.get(clip.motion, 0)
        assert np.sign(gone) * (abs(gone) > 4) == wanted


def test_a_box_holds_its_actor_and_leaves_room_to_its_neighbours() -> None:
    rng, still = np.random.default_rng(0), 0
    for clip in clips(60, together=0.7):
        tight, loose = boxes(clip).clip(0, 1), loose_boxes(clip, rng)
        assert loose.shape == (len(clip.actors), FRAMES, 4)
        assert (loose[..., :2] <= tight[..., :2] + 1e-5).all() and (
            loose[..., 2:] >= tight[..., 2:] - 1e-5
        ).all()
        assert (loose >= -1e-5).all() and (loose <= 1 + 1e-5).all()
        still += bool((loose == loose[:, :1]).all())
        order = np.argsort(tight[:, :, [0, 2]].mean((1, 2)))
        for left, right in pairwise(order):
            shared = loose[left, :, 2] - loose[right, :, 0]
            path = tight[left, :, 2].max() - tight[right, :, 0].min()
            assert (shared <= max(0.0, path) + 1e-5).all()
    assert still > 40


def test_prompts_of_boxes_tell_of_one_actor_each() -> None:
    rng, several = np.random.default_rng(1), clips(40, together=1.0)
    said = [told_alone(clip, k, rng) for clip in several for k in range(len(clip.actors))]
    nouns = [actor.noun for clip in several for actor in clip.actors]
    assert all(noun in text and " and " not in text for noun, text in zip(nouns, said, strict=True))
    assert any(f"a {OWN} " in text for text in said) and any(f"a {OWN} " not in text for text in said)
    padded = all_prompts(several, rng)
    assert len(padded) == MOST * len(several)
    counts = [sum(map(bool, padded[i : i + MOST])) for i in range(0, len(padded), MOST)]
    assert counts == [len(clip.actors) for clip in several]
    placed = all_boxes(several, lambda clip: loose_boxes(clip, rng))
    assert placed.shape == (len(several), MOST, FRAMES, 4)
    assert (placed.flatten(2).any(-1).sum(1) == torch.tensor(counts)).all()


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=8, cross_attention_dim=12, heads=2, dim_head=4)


@pytest.mark.parametrize("plain", [False, True])
def test_cells_hear_the_text_of_their_box_alone(attention: Attention, plain: bool) -> None:
    """Inside a box the same as plain attention to its text, outside the same as to the prompt's."""
    size, tokens = 4, 5
    where = torch.tensor([[[0, 0, 0.5, 1], [0.5, 0.5, 1, 1]]])
    inside = covered(where, size, size).flatten(2)[0]  # (2, cells)
    hidden, text = torch.randn(1, size * size, 8), torch.randn(1, 3, tokens, 12)
    voices = torch.cat([~inside.any(0, keepdim=True), inside])
    where_heard = {size * size: voices.T.repeat_interleave(tokens, -1)[None]}
    told = Heard(LayerTextAttention(0, plain), where_heard)(attention, hidden, text.flatten(1, 2))
    for voice, cells in enumerate(voices):
        alone = LayerTextAttention(0)(attention, hidden, text[:, voice])
        assert cells.any() and torch.allclose(told[0, cells], alone[0, cells], atol=1e-5)


def test_the_denoiser_hears_boxes_only_meanwhile() -> None:
    torch.manual_seed(0)
    unet = video_unet(image_unet()).eval()
    install_processors(unet, torch.device("cpu"))
    before = dict(unet.attn_processors)
    x, t, text = torch.randn(1, 6, 1, 16, 16), torch.tensor([500]), torch.randn(1, 2, 24, 192)
    where, tokens = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]), text.shape[2]

    def seen(said: torch.Tensor, present: bool) -> torch.Tensor:
        with torch.no_grad(), hearing_boxes(unet, where, torch.tensor([[present]]), tokens, (16, 8, 4)):
            out: torch.Tensor = unet(x, t, said.flatten(1, 2)).sample
        return out

    other = torch.cat([text[:, :1], torch.randn_like(text[:, 1:])], 1)
    with torch.no_grad():
        plain = unet(x, t, text[:, 0]).sample
    assert torch.allclose(seen(text, False), plain, atol=1e-5)
    assert not torch.allclose(seen(text, True), seen(other, True), atol=1e-4)
    assert {k: id(v) for k, v in unet.attn_processors.items()} == {k: id(v) for k, v in before.items()}
