"""Motions that have no name, and the word that stands for them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.world.captions import Mix, random_clip
from ccvd_cli.world.motions import HELDOUT_MOTIONS, is_way, trajectory, way
from ccvd_cli.world.render import FRAMES, Clip, boxes
from ccvd_cli.world.ways import MOMENTS, PERFORMING, WAY, features, is_heldout_path, random_way, ways

SEEDS = st.integers(0, 2**31 - 1)


@given(SEEDS)
def test_a_way_goes_somewhere_and_stays_where_it_can_be_seen(seed: int) -> None:
    path = trajectory(way(seed), FRAMES)
    assert np.ptp(features(path), axis=0).max() > 0
    assert np.abs(path.dx).max() <= 0.26 and np.abs(path.dy).max() <= 0.22
    assert (path.scale > 0.5).all() and (path.scale < 1.7).all() and (path.stretch > 0.05).all()
    assert set(np.unique(path.facing)) <= {-1.0, 1.0}
    again = trajectory(way(seed), FRAMES)
    assert all(np.array_equal(value, vars(again)[name]) for name, value in vars(path).items())


def test_no_way_is_a_held_out_motion() -> None:
    assert all(is_heldout_path(trajectory(name, FRAMES)) for name in HELDOUT_MOTIONS)
    rng = np.random.default_rng(0)
    assert not any(is_heldout_path(trajectory(random_way(rng), FRAMES)) for _ in range(50))


@given(SEEDS, SEEDS)
def test_where_ways_lead_is_told(one: int, other: int) -> None:
    clips = [Clip((), "beach", name) for name in (way(one), way(other), "jumping")]
    first, second, named = ways(clips)
    assert first.shape == (1, WAY) and not named.any() and np.abs(first).max() < 4
    for told, seed in ((first, one), (second, other)):
        poses = features(trajectory(way(seed), FRAMES))[MOMENTS]
        assert np.allclose(told.reshape(poses.shape), 4 * poses)


def test_captions_say_that_somebody_performs_one() -> None:
    rng = np.random.default_rng(1)
    for k in range(60):
        clip, caption = random_clip(rng, Mix(strangers=k % 2, ways=1))
        assert is_way(clip.motion) and len(clip.actors) == 1 and caption.count(PERFORMING) == 1
        assert caption.count("performing") == 1 and np.isfinite(boxes(clip)).all()
