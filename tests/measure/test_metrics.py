"""The metrics, against computations that share nothing with them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ccvd_cli.estimates import Rate, estimate, rate, widened
from ccvd_cli.measure.evaluate import inside
from ccvd_cli.measure.forgetting import forgetting
from ccvd_cli.measure.metrics import (
    image_alignment,
    temporal_consistency,
    text_alignment,
)

rows = arrays(
    np.float64, st.tuples(st.integers(2, 5), st.just(4)), elements=st.floats(0.1, 10) | st.floats(-10, -0.1)
)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


@given(rows, rows)
def test_alignment_is_the_mean_over_all_pairs(frames: np.ndarray, others: np.ndarray) -> None:
    pairs = [cosine(a, b) for a in frames for b in others]
    found = image_alignment(torch.from_numpy(frames), torch.from_numpy(others))
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)
    told = [cosine(a, others[0]) for a in frames]
    found = text_alignment(torch.from_numpy(frames), torch.from_numpy(others[0]))
    assert found == pytest.approx(sum(told) / len(told), abs=1e-9)


@given(rows, st.floats(0.1, 10))
def test_consistency_is_of_neighbours_and_lengths_do_not_count(frames: np.ndarray, scale: float) -> None:
    steps = [cosine(a, b) for a, b in pairwise(frames)]
    found = temporal_consistency(torch.from_numpy(frames * scale))
    assert found == pytest.approx(sum(steps) / len(steps), abs=1e-9)


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 frames and 2 references"):
        image_alignment(torch.zeros(0, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="no next"):
        temporal_consistency(torch.ones(1, 4))


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0.3, 0.1, (300, count))
    held = [(e := estimate(list(x), resamples=400)).low <= 0.3 <= e.high for x in samples]
    assert 0.9 <= np.mean(held) <= 0.98


def test_few_values_say_little() -> None:
    wide = estimate([0.93, 0.99], bounds=(-1, 1))
    assert wide.low < 0.6 and wide.high == 1
    assert estimate([0.5]).low == estimate([0.5]).high == 0.5
    assert estimate([]).count == 0 and math.isnan(estimate([]).mean)


def test_forgetting_counts_from_the_first_and_from_the_best() -> None:
    lost = forgetting({"a": [0.8, 0.9, 0.5], "b": [0.6, 0.7], "last": [0.1]})
    assert lost.since_first == pytest.approx((0.3 - 0.1) / 2)
    assert lost.since_best == pytest.approx((0.4 + 0.0) / 2)
    assert math.isnan(forgetting({"only": [0.4]}).since_best)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_rate_and_a_mean_over_groups_agree_and_never_have_no_width(right: list[bool]) -> None:
    found = rate([float(x) for x in right])
    assert found.low <= found.mean <= found.high and found.high - found.low > 0.1 / len(right)
    assert (found.low, found.high) == Rate(sum(right), len(right)).interval
    whole = widened(estimate([found.mean]), len(right))
    assert (whole.low, whole.high) == pytest.approx((found.low, found.high))
    wide = widened(estimate([0.0, 1.0]), len(right))
    assert (wide.low, wide.high) == (0, 1)  # of two concepts that differ


def test_a_box_is_seen_alone_and_square() -> None:
    clip = torch.zeros(2, 3, 64, 64)
    clip[..., 32:] = 1  # white on the right
    left, right = inside(clip, (0.0, 0.1, 0.5, 1.0)), inside(clip, (0.5, 0.1, 1.0, 1.0))
    assert left.shape == right.shape == (2, 3, 58, 58)
    assert left.max() == 0 and right.min() == 1
    assert inside(clip, (0.25, 0.5, 0.75, 0.75)).shape[-2:] == (32, 32)
    assert inside(clip, None) is clip
