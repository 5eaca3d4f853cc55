from __future__ import annotations

from pathlib import Path

import pytest

from ccvd_cli.choices import Family
from ccvd_cli.errors import UsageError
from ccvd_cli.measure.questions import built_in, from_file
from ccvd_cli.prompts import check_kinds, named

CONCEPTS = {
    "V1": ("subject", "dog"),
    "V3": ("motion", "tai chi"),
    "V7": ("style", ""),
    "V9": ("subject", "can"),
}


@pytest.mark.parametrize("family", ["mini", "unet3d"])
@pytest.mark.parametrize("name", CONCEPTS)
def test_every_kind_is_asked_of_in_its_place(name: str, family: Family) -> None:
    kind, noun = CONCEPTS[name]
    questions = built_in(name, kind, noun, family, 8)
    assert len({q.prompt for q in questions}) == 8
    for question in questions:
        assert named(question.prompt) == [name]
        check_kinds(question.prompt, {name: kind})
        assert "<" not in question.plain and noun in question.plain
    assert built_in(name, kind, noun, family, 3) == questions[:3]
    with pytest.raises(UsageError, match="99 prompts"):
        built_in(name, kind, noun, family, 99)


def test_a_can_is_not_asked_to_swim() -> None:
    prompts = {name: [q.plain for q in built_in(name, *CONCEPTS[name], "unet3d", 8)] for name in ("V1", "V9")}
    assert any("swimming" in p for p in prompts["V1"])
    assert not any("swimming" in p or "sleeping" in p for p in prompts["V9"])


def test_a_file_asks_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    text = "# ours\na <V1> dog flying\n\n  a man performing <V3> at night\na <V1> dog asleep\n"
    path.write_text(text, encoding="utf-8-sig")  # as some editors write it
    asked = from_file(path, {name: CONCEPTS[name] for name in ("V1", "V3")})
    assert [q.prompt for q in asked["V1",]] == ["a <V1> dog flying", "a <V1> dog asleep"]
    assert [q.plain for q in asked["V3",]] == ["a man performing tai chi at night"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a <V1> dog\na dog\n", "line 2 names no concept"),
        ("a <V1> dog performing <V4>\n", "line 1 names V4"),
        ("a <V2> cat\n", "line 1 names V2"),
        ("a <V1> dog\n", "no prompt for V3"),
        ("", "no prompt for V1, V3"),
        ("a <V1 dog\n", "line 1: .*single '<'"),
        ("a dog performing <V1>\n", "line 1: .*V1 is a subject"),
    ],
)
def test_a_file_that_asks_nonsense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        from_file(path, {name: CONCEPTS[name] for name in ("V1", "V3")})


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        from_file(tmp_path, {"V1": CONCEPTS["V1"]})
