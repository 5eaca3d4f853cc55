"""Methods beside each other: nothing is lost, whatever room there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.commands.standing import _blocks

CELL = st.text(st.characters(codec="ascii", exclude_characters="\n\r"), max_size=12)


def wide(columns: list[tuple[str, ...]]) -> int:
    """Characters of the longest line, two blanks between columns."""
    return sum(max(map(len, column)) for column in columns) + 2 * (len(columns) - 1)


@given(st.data(), st.integers(1, 5), st.integers(1, 8), st.none() | st.integers(0, 80))
def test_blocks_hold_every_column_once_and_fit(
    data: st.DataObject, height: int, width: int, room: int | None
) -> None:
    row = st.tuples(*[CELL] * (width + 1))
    rows = data.draw(st.lists(row, min_size=height, max_size=height))
    blocks = list(_blocks(rows, room))
    columns = [list(zip(*block, strict=True)) for block in blocks]
    label, *others = zip(*rows, strict=True)
    assert all(of[0] == label for of in columns)
    assert [column for of in columns for column in of[1:]] == others
    assert room is not None or len(blocks) == 1
    for of, next_ in zip(columns, [*columns[1:], None], strict=True):
        assert room is None or len(of) == 2 or wide(of) <= room
        assert room is None or next_ is None or wide([*of, next_[1]]) > room  # no more would have fitted
