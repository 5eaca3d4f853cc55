"""The weight of subjects over the steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.schedule import weights


def test_phases_end_where_they_say() -> None:
    assert weights("0.4@0.1,0.8", 20) == [0.4] * 2 + [0.8] * 18
    assert weights("0@0.25, 0.5@0.5, 1", 8) == [0, 0, 0.5, 0.5, 1, 1, 1, 1]
    assert weights("1", 3) == [1, 1, 1]


@given(st.floats(0, 2), st.floats(0, 1), st.floats(0, 2), st.integers(1, 60))
def test_every_step_has_one_of_the_weights_in_order(
    first: float, until: float, last: float, steps: int
) -> None:
    found = weights(f"{first!r}@{until!r},{last!r}", steps)
    assert len(found) == steps
    early = sum(share + 0.5 < until * steps for share in range(steps))
    assert found[:early] == [first] * early and found[early + 1 :] == [last] * (steps - early - 1)


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("", "not a weight"),
        ("0.4,0.8", "until when"),
        ("0.4@x,1", "'x' is not a share"),
        ("0.4@0.5,1@0.5,1", "must rise"),
        ("3", "between 0 and 2"),
        ("nan", "between 0 and 2"),
        ("0.4@1.5,1", "between 0 and 1"),
    ],
)
def test_what_cannot_be_read_is_said(schedule: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        weights(schedule, 10)
