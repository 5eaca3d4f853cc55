"""Paths and what is said of them, on clips whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ccvd_cli.measure.motion import likeness, paths, reach
from ccvd_cli.world import heldout
from ccvd_cli.world.render import COLOURS, Actor, Clip, render

MOTIONS = ("circling", "diving", "pulsing", "zigzagging")


def dynamic_degree(clip: Tensor) -> float:
    return reach(paths(clip))


def motion_fidelity(clip: Tensor, reference: Tensor) -> float:
    return likeness(paths(clip), paths(reference))


def clip(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).movedim(-1, -3).float() / 255


def drifting(right: float, down: float, frames: int = 8) -> Tensor:
    """A window that moves over a smooth random picture: everything in it goes the other way, by fractions of a side a frame."""
    noise = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    ground = torch.nn.functional.interpolate(noise, (192, 192), mode="bicubic")[0].clamp(0, 1)
    at = [(round(64 - f * down * 64), round(64 - f * right * 64)) for f in range(frames)]
    return torch.stack([ground[:, y : y + 64, x : x + 64] for y, x in at])


@pytest.mark.parametrize(("right", "down"), [(1 / 32, 0), (0, -1 / 32), (1 / 64, 1 / 32)])
def test_points_go_where_the_picture_goes(right: float, down: float) -> None:
    followed = paths(drifting(right, down))
    inner = followed[((followed > 0.3) & (followed < 0.7)).all((1, 2))]
    assert len(inner) > 5
    went = inner[:, -1] - inner[:, 0]
    assert np.abs(np.median(went, 0) - 7 * np.asarray([right, down])).max() < 0.02
    assert dynamic_degree(drifting(right, down)) == pytest.approx(7 * np.hypot(right, down), rel=0.2)


def test_a_frozen_picture_does_not_move() -> None:
    still = clip(render(Clip((Actor("dog", COLOURS["red"]),), "beach")))
    moving = clip(heldout.motion_clips("circling", 1))[0]
    assert dynamic_degree(still) == 0
    assert motion_fidelity(still, still) == 1 and motion_fidelity(still, moving) == 0
    assert dynamic_degree(moving) > 0.3


def test_a_motion_is_most_like_itself_whoever_performs_it() -> None:
    """Other actors, colours and scenes, and of other lengths."""
    learned = {name: clip(heldout.motion_clips(name, 2)) for name in MOTIONS}
    for name in MOTIONS:
        again = clip(heldout.motion_clips(name, 1, seed=5))[0]
        alike = {m: np.mean([motion_fidelity(again, x) for x in clips]) for m, clips in learned.items()}
        assert max(alike, key=lambda m: alike[m]) == name, alike
        assert motion_fidelity(learned[name][0], learned[name][0]) == pytest.approx(1, abs=1e-4)
    assert motion_fidelity(learned["diving"][0][::2], learned["diving"][1]) > 0.5


def test_who_rests_when_the_other_does_agrees_with_it() -> None:
    """Two clips that move at first and then rest: as alike as without the rest, and a clip is like itself."""
    going = drifting(1 / 32, 0)
    resting = torch.cat([going, going[-1:].expand(8, -1, -1, -1)])
    assert motion_fidelity(resting, resting) == pytest.approx(1, abs=1e-4)
    on = torch.cat([going, drifting(1 / 32, 0, 16)[8:]])
    assert motion_fidelity(resting, on) < 0.75


def test_likeness_has_no_order() -> None:
    one, two = (clip(heldout.motion_clips(name, 1))[0] for name in MOTIONS[:2])
    assert motion_fidelity(one, two) == pytest.approx(motion_fidelity(two, one))
    backwards = motion_fidelity(drifting(1 / 32, 0), drifting(-1 / 32, 0))
    assert backwards == pytest.approx(-1, abs=0.15)


def test_one_frame_is_no_clip() -> None:
    with pytest.raises(ValueError, match="one frame"):
        paths(torch.rand(1, 3, 32, 32))
