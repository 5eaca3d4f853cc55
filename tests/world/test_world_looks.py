"""Actors that are told what they look like, and where they stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from ccvd_cli.world.captions import TOGETHER, Mix, random_clip, row, spots, tells_place, where
from ccvd_cli.world.looks import LOOK, OWN, look, looks
from ccvd_cli.world.motions import MOTIONS
from ccvd_cli.world.render import Actor, Clip, Spot, boxes, render
from ccvd_cli.world.word_reader import WordReader

RED = Actor("dog", (0.9, 0.1, 0.1), (0.1, 0.2, 0.9), "striped", "hat", (0.9, 0.9, 0.2))


class Encoder(torch.nn.Module):
    """As much of a text encoder as there is to hook."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 6)

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.table(ids)
        return out


def test_whatever_can_be_seen_of_an_actor_is_in_its_look() -> None:
    others = [
        replace(RED, colour=(0.1, 0.9, 0.1)),
        replace(RED, second=(0.5, 0.5, 0.5)),
        replace(RED, texture="spotted"),
        replace(RED, accessory="crown"),
        replace(RED, accessory_colour=(0.1, 0.1, 0.1)),
    ]
    assert look(RED).shape == (LOOK,)
    assert not any(np.array_equal(look(RED), look(other)) for other in others)
    assert np.array_equal(look(RED), look(replace(RED, noun="cat")))  # the noun is said in words
    bare = replace(RED, accessory=None)
    assert np.array_equal(look(bare), look(replace(bare, accessory_colour=(0.3, 0.3, 0.3))))


def test_each_own_word_is_read_as_the_look_of_its_actor() -> None:
    torch.manual_seed(0)
    encoder, generator = Encoder(), torch.Generator().manual_seed(0)
    reader = WordReader(LOOK, encoder.table.weight)
    clips = [Clip((RED, replace(RED, texture="plain")), "beach"), Clip((RED,), "beach")]
    seen = torch.from_numpy(looks(clips))
    assert seen.shape == (2, 3, LOOK) and not seen[0, 2].any() and not seen[1, 1].any()
    ids = torch.tensor([[1, 7, 2, 7], [7, 3, 7, 1]])
    mine = (ids == 7) & torch.tensor([[True], [False]])
    plain = encoder(ids)
    with reader.told(encoder, mine, seen, generator):
        told = encoder(ids)
    assert torch.equal(encoder(ids), plain)
    assert torch.equal(told[1], plain[1])  # of this one nothing is known
    assert torch.equal(told[0, [0, 2]], plain[0, [0, 2]])
    expected = reader(seen[0, :2]).detach()
    assert torch.allclose(told[0, [1, 3]], expected, atol=6 * 0.1 * float(expected.std()))
    assert torch.allclose(expected.std(), encoder.table.weight.std(), rtol=0.8)
    told.sum().backward()
    assert all(p.grad is not None for p in reader.parameters())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_neighbours_stand_apart_and_inside(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(200):
        found = spots(rng, count, "standing still")
        if found is None:
            assert count < 3
            continue
        assert len(found) == count
        edges = boxes(Clip((RED,) * count, "beach", spots=found), 1)[:, 0]
        # An actor is 1.9 sizes wide, its box a little more.
        assert all(0.95 * spot.size - 1e-6 < spot.x < 1 - 0.95 * spot.size + 1e-6 for spot in found)
        assert all(a[2] < b[0] + 0.05 for a, b in pairwise(edges))
    assert len(row(rng, 3)) == 3


def test_an_actor_is_drawn_where_its_spot_is() -> None:
    spot = Spot(0.25, 0.6, 0.15)
    with_, without = (
        render(Clip((actor,), "beach", seed=1, spots=(at,)), 1)[0].astype(int)
        for actor, at in ((RED, spot), (RED, Spot(5.0, 5.0, 0.15)))
    )
    rows, columns = np.nonzero(np.abs(with_ - without).sum(-1) > 30)
    x0, y0, x1, y1 = boxes(Clip((RED,), "beach", seed=1, spots=(spot,)), 1)[0, 0] * 64
    assert x0 - 2 < columns.min() and columns.max() < x1 + 2
    assert y0 - 6 < rows.min() and rows.max() < y1 + 2  # its hat stands out
    assert abs(columns.mean() / 64 - 0.25) < 0.05


def test_small_actors_take_small_steps() -> None:
    def reach(size: float) -> float:
        edges = boxes(Clip((RED,), "beach", "moving left", spots=(Spot(0.5, 0.5, size),)))[0]
        return float(np.ptp(edges[:, 0]))

    assert reach(0.12) < 0.7 * reach(0.23)


def test_captions_say_own_and_where() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_clip(rng, Mix(strangers=True)) for _ in range(600)]
    own = [(clip, caption) for clip, caption in drawn if f"a {OWN} " in caption]
    assert 0.5 < len(own) / len(drawn) < 0.7
    for clip, caption in own:
        assert caption.count(f"a {OWN} ") == len(clip.actors)
    assert {len(clip.actors) for clip, _ in drawn} == {1, 2, 3}
    placed = [(clip, caption) for clip, caption in drawn if "on the left" in caption]
    assert placed
    for clip, _ in placed:
        assert clip.motion in TOGETHER and clip.spots is not None and clip.spots[0].x < 0.4
    assert (where(Spot(0.2, 0.5, 0.2)), where(Spot(0.5, 0.5, 0.2)), where(Spot(0.8, 0.5, 0.2))) == (
        "on the left",
        "",
        "on the right",
    )


def test_a_caption_tells_the_place_of_most_single_actors() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_clip(rng, Mix(together=0)) for _ in range(900)]
    telling = [(clip, caption) for clip, caption in drawn if tells_place(clip, caption)]
    for clip, caption in telling:
        rest = replace(clip, motion="standing still")
        x0, y0, x1, y1 = boxes(rest, 1)[0, 0]
        side = "left" if (x0 + x1) / 2 < 0.39 else "right" if (x0 + x1) / 2 > 0.61 else ""
        assert side == "" or f"on the {side}" in caption
        assert 0.45 < (y0 + y1) / 2 < 0.67
    counts = Counter(clip.motion for clip, _ in telling)
    assert set(counts) == set(MOTIONS) and min(counts.values()) > 0.5 * max(counts.values())
    assert any(not tells_place(clip, caption) for clip, caption in drawn)
