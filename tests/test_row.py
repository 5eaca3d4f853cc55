"""Several subjects side by side: in boxes of one frame, or in windows of a wider one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ccvd_cli.row import fills_windows, in_a_row, side_by_side, width_of, without_row
from ccvd_cli.settings import SampleSettings

TEXTS = ["a <V1> dog", "a <V2> cat", "a <V3> car", "a <V4> bird"]
OWN = SampleSettings(height=64, width=64, windows=True)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_boxes_share_the_frame(count: int) -> None:
    row = side_by_side(TEXTS[:count])
    assert [r.prompt for r in row] == TEXTS[:count]
    edges = [r.box_at(0) for r in row]
    assert edges[0][0] == 0 and edges[-1][2] == pytest.approx(1)
    assert all(a[2] == pytest.approx(b[0]) for a, b in pairwise(edges))


@pytest.mark.parametrize(("count", "width"), [(2, 112), (3, 160), (4, 208)])
def test_a_frame_of_the_bases_own_size_grows_to_a_window_for_each(count: int, width: int) -> None:
    placed = in_a_row(OWN, TEXTS[:count], (64, 64))
    assert (placed.width, placed.height) == (width, 64) == (width_of(count, 64), 64)
    spans = [tuple(round(v * width) for v in r.box_at(0)[::2]) for r in placed.regions]
    assert spans == [(48 * k, 48 * k + 64) for k in range(count)]
    assert all(r.box_at(0)[1::2] == (0.0, 1.0) for r in placed.regions)
    for windows in (True, None):
        asked = OWN.model_copy(update={"width": width, "windows": windows})
        assert in_a_row(asked, TEXTS[:count], (64, 64), widen=False) == placed
    assert fills_windows(placed, (64, 64)) and not fills_windows(asked, (64, 64))
    assert not fills_windows(placed.model_copy(update={"regions": placed.regions[:1]}), (64, 64))


@pytest.mark.parametrize(
    ("changes", "own", "widen"),
    [
        ({}, (64, 64), False),
        ({"windows": False}, (64, 64), True),
        ({"width": 128}, (64, 64), True),
        ({"height": 128}, (64, 64), True),
        ({}, (32, 32), True),
        ({}, None, True),
    ],
)
def test_any_other_frame_stays_as_it_is(
    changes: dict[str, object], own: tuple[int, int] | None, widen: bool
) -> None:
    settings = OWN.model_copy(update=changes)
    placed = in_a_row(settings, TEXTS[:2], own, widen=widen)
    assert placed == settings.model_copy(update={"regions": tuple(side_by_side(TEXTS[:2]))})


def test_one_needs_no_place() -> None:
    assert in_a_row(OWN, TEXTS[:1], (64, 64)) == OWN


@pytest.mark.parametrize("count", [2, 3, 4])
def test_without_their_regions_windows_are_one_frame_again(count: int) -> None:
    usual, own = OWN.model_copy(update={"windows": None}), (64, 64)
    placed = in_a_row(usual, TEXTS[:count], own)
    assert without_row(placed, own) == usual
    assert without_row(placed, own, narrow=False) == placed.model_copy(update={"regions": ()})
    moved = placed.model_copy(
        update={"regions": placed.regions[::-1]}
    )  # boxes that somebody chose, in a wide frame
    assert without_row(moved, own).width == placed.width and not without_row(moved, own).regions
