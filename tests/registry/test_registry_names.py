from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_registry.names import is_legal, nearest, next_after

_LETTERS = string.ascii_letters
_REST = _LETTERS + string.digits + "_-"

legal_names = st.builds(str.__add__, st.sampled_from(_LETTERS), st.text(st.sampled_from(_REST), max_size=31))


@given(legal_names)
def test_what_the_rule_describes_is_legal(name: str) -> None:
    assert is_legal(name)


@given(st.text(max_size=40))
def test_legal_names_are_plain_ascii_words(name: str) -> None:
    if is_legal(name):
        assert 1 <= len(name) <= 32
        assert name[0] in _LETTERS
        assert set(name) <= set(_REST)


@pytest.mark.parametrize("name", ["", "1V", "-V", "V 1", "V1\n", "<V1>", "V1/..", "Vé", "V" * 33, "V1\0"])
def test_illegal_names(name: str) -> None:
    assert not is_legal(name)


@given(
    st.lists(
        legal_names | st.integers(1, 50).map("V{}".format) | st.integers(0, 31).map(lambda n: "V" + "9" * n)
    )
)
def test_the_next_name_is_legal_and_new(names: list[str]) -> None:
    name = next_after(names)
    assert is_legal(name)
    assert name.lower() not in {other.lower() for other in names}


@pytest.mark.parametrize(
    ("names", "following"),
    [
        ([], "V1"),
        (["V1", "V2"], "V3"),
        (["V1", "V9"], "V10"),
        (["rex", "V07"], "V1"),
        (["v4"], "V5"),
        (["V" + "9" * 31], "V1"),
        (["V" + "9" * 9, "V1" + "0" * 9], "V1" + "0" * 8 + "1"),
    ],
)
def test_the_next_name_counts_on(names: list[str], following: str) -> None:
    assert next_after(names) == following


def test_the_nearest_names_come_first_whatever_their_case() -> None:
    assert nearest("Rxe", ["V1", "rex", "tai-chi"]) == ["rex"]
    assert nearest("taichi", ["V1", "rex", "tai-chi"]) == ["tai-chi"]
    assert nearest("V9", ["V1", "rex"]) == ["V1"]
    assert nearest("zebra", []) == []
