"""Where an actor goes, on rendered truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccvd_cli.measure.exact import TRUSTED
from ccvd_cli.measure.trajectory import followed, own_error, path_error, rest_error, travels
from ccvd_cli.world.motions import HELDOUT_MOTIONS, MOTIONS, trajectory
from ccvd_cli.world.render import COLOURS, Actor, Clip, render

DOG = Actor("dog", COLOURS["red"])


def drawn(motion: str, frames: int = 16) -> torch.Tensor:
    clip = render(Clip((DOG,), "beach", motion, seed=3), frames)
    return torch.from_numpy(clip).movedim(-1, 1).float() / 255


TURNING = {"spinning", "somersaulting", "tumbling"}  # about a centre that is not that of what is seen


@pytest.mark.parametrize("motion", [*MOTIONS, *HELDOUT_MOTIONS])
def test_truth_takes_its_own_path(motion: str) -> None:
    error, path = own_error(motion, 16, lambda frames: frames), trajectory(motion, 16)
    assert (error < 1 - TRUSTED) == (motion not in TURNING)
    reach = np.hypot(path.dx - path.dx.mean(), path.dy - path.dy.mean()).mean()
    assert error < 0.6 * reach or reach < 0.03  # else nobody who stands would do worse


def test_another_path_is_farther_off() -> None:
    for motion, other in (("falling", "rising"), ("circling", "zigzagging"), ("jumping", "standing still")):
        assert path_error(drawn(motion), motion) < 0.04
        assert path_error(drawn(motion), other) > 0.07


def test_a_path_is_asked_for_only_where_a_frozen_picture_would_be_far_from_it() -> None:
    assert not any(travels(m) for m in ("standing still", "spinning", "growing", "pulsing", "rocking"))
    for motion in filter(travels, (*MOTIONS, *HELDOUT_MOTIONS)):
        frozen = drawn("standing still")
        assert path_error(frozen, motion) == pytest.approx(rest_error(motion, 16), abs=0.005)
        assert rest_error(motion, 16) > 0.03


def test_what_rests_goes_nowhere() -> None:
    still = drawn("standing still")
    flicker = still + 0.02 * torch.randn(still.shape, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(followed(flicker), np.zeros((16, 2)))
    assert path_error(still[:1], "rising") == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 24), st.integers(-2, 2))
def test_a_moving_square_is_followed_wherever_it_starts(frames: int, shift: int) -> None:
    clip = torch.zeros(frames, 3, 64, 64)
    for k in range(frames):
        clip[k, :, 20:26, 8 + 2 * k + shift : 14 + 2 * k + shift] = 1
    path = followed(clip)
    assert np.allclose(path.mean(0), 0, atol=1e-9) and np.allclose(path[:, 1], 0, atol=1e-6)
    if frames > 8:  # it has left every place for most of the time
        assert np.allclose(np.diff(path[:, 0]), 2 / 64, atol=1e-6)
