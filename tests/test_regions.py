"""Regions as users write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.errors import UsageError
from ccvd_cli.regions import Keyframe, Region, check, parse, read

DOG = "<V1> dog @ 0.05,0.4,0.45,0.95"


def test_a_box_and_keyframes() -> None:
    still, moving = parse(DOG), parse("a <V1>  dog@0: 0,0,0.5,0.5 ; 10:0.5,0.5,1,1")
    assert still == Region(prompt="<V1> dog", keyframes=(Keyframe(frame=0, box=(0.05, 0.4, 0.45, 0.95)),))
    assert moving.prompt == "a <V1> dog" and moving.names == ["V1"]
    assert moving.box_at(0) == (0, 0, 0.5, 0.5) and moving.box_at(5) == (0.25, 0.25, 0.75, 0.75)
    assert moving.box_at(10) == moving.box_at(15) == (0.5, 0.5, 1, 1)
    assert parse("<V1> @ 4: 0,0,0.5,0.5").box_at(0) == (0, 0, 0.5, 0.5)


box = st.tuples(*[st.integers(0, 99)] * 4).map(
    lambda v: (
        min(v[0], v[2]) / 100,
        min(v[1], v[3]) / 100,
        max(v[0], v[2]) / 100 + 0.01,
        max(v[1], v[3]) / 100 + 0.01,
    )
)


@given(st.dictionaries(st.integers(0, 50), box, min_size=1, max_size=4))
def test_what_is_written_reads_the_same(boxes: dict[int, tuple[float, float, float, float]]) -> None:
    keyframes = tuple(Keyframe(frame=f, box=b) for f, b in sorted(boxes.items()))
    region = Region(prompt="a <V1> dog", keyframes=keyframes)
    again = parse(str(region))
    for frame in range(52):
        assert again.box_at(frame) == pytest.approx(region.box_at(frame), abs=1e-6)
    assert Region.model_validate_json(region.model_dump_json()) == region


@given(
    st.dictionaries(st.integers(0, 30), box, min_size=1, max_size=4), st.sets(st.integers(0, 40), min_size=1)
)
def test_of_some_frames_a_region_is_what_it_is_there(
    boxes: dict[int, tuple[float, float, float, float]], taken: set[int]
) -> None:
    keyframes = tuple(Keyframe(frame=f, box=b) for f, b in sorted(boxes.items()))
    region, frames = Region(prompt="a <V1> dog", keyframes=keyframes), sorted(taken)
    fewer = region.at(frames)
    assert [fewer.box_at(k) for k in range(len(frames))] == [region.box_at(f) for f in frames]
    assert Region.model_validate_json(fewer.model_dump_json()) == fewer


@given(st.text(max_size=40))
def test_nothing_but_a_usage_error_comes_of_nonsense(text: str) -> None:
    try:
        region = parse(text)
    except UsageError:
        return
    x0, y0, x1, y1 = region.keyframes[0].box
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<V1> dog", "there is no box"),
        ("@ 0,0,1,1", "there is no box"),
        ("<V1> @ 0,0,1", "'0,0,1' is no box"),
        ("<V1> @ a,0,1,1", "'a,0,1,1' is no box"),
        ("<V1> @ 0,0,1.2,1", "the box 0,0,1.2,1 is outside the frame"),
        ("<V1> @ -0.1,0,1,1", "the box -0.1,0,1,1 is outside the frame"),
        ("<V1> @ nan,0,1,1", "outside the frame"),
        ("<V1> @ 0.5,0,0.5,1", "the box 0.5,0,0.5,1 is empty"),
        ("<V1> @ 0,0.9,1,0.1", "the box 0,0.9,1,0.1 is empty"),
        ("<V1> @ 5: 0,0,1,1 ; 2: 0,0,1,1", "the frames 5, 2 do not rise"),
        ("<V1> @ x: 0,0,1,1", "'x: 0,0,1,1' is no keyframe"),
    ],
)
def test_what_is_wrong_is_quoted(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert says in caught.value.message and caught.value.hint


def test_files_say_the_same(tmp_path: Path) -> None:
    entries = [
        {"prompt": "<V1> dog", "box": [0.05, 0.4, 0.45, 0.95]},
        {"prompt": "<V2> cat", "keyframes": {"0": [0, 0, 0.5, 1], "8": [0.5, 0, 1, 1]}},
    ]
    (tmp_path / "r.json").write_text(json.dumps(entries))
    (tmp_path / "r.yaml").write_text(
        "- prompt: <V1> dog\n  box: [0.05, 0.4, 0.45, 0.95]\n"
        "- prompt: <V2> cat\n  keyframes:\n    0: [0, 0, 0.5, 1]\n    8: [0.5, 0, 1, 1]\n"
    )
    one, other = read(tmp_path / "r.json"), read(tmp_path / "r.yaml")
    assert one == other == [parse(DOG), parse("<V2> cat @ 0: 0,0,0.5,1 ; 8: 0.5,0,1,1")]


def test_aliases_do_not_grow_in_what_is_said(tmp_path: Path) -> None:
    """Nine of nine of nine ...: some hundred bytes that would be gigabytes if they were written out."""
    nests = ", ".join(f"&x{i} [{', '.join([f'*x{i - 1}' if i else '1'] * 9)}]" for i in range(12))
    for entry in ("[{}]", "{{prompt: <V1>, box: [{}]}}", "{{prompt: [{}], box: [0, 0, 1, 1]}}"):
        (tmp_path / "r.yaml").write_text(f"- {entry.format(nests)}")
        with pytest.raises(UsageError) as caught:
            read(tmp_path / "r.yaml")
        said = caught.value.message.removeprefix(f"'{tmp_path / 'r.yaml'}'")
        assert said.startswith(", region 1") and len(said) < 200


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", "neither YAML nor JSON"),
        ("{}", "holds no list of regions"),
        ("- prompt: <V1>", "region 1: there is no box"),
        ("- prompt: <V1>\n  box: [0, 0, 1, 1]\n  colour: red", "region 1: 'colour' is unknown"),
        ("- prompt: <V1>\n  box: [0, 0, 1, 1]\n  keyframes: {0: [0, 0, 1, 1]}", "both a box and keyframes"),
        ("- prompt: <V1>\n  box: [0, 0, 2, 1]", "the box 0,0,2,1 is outside the frame"),
        ("- 7", "region 1: 7 has no prompt and no box"),
        (
            "- a <V1> dog @ 0,0,1,1",
            "region 1: 'a <V1> dog @ 0,0,1,1' has no prompt and no box",
        ),
        ("- prompt: <V1>\n  box: null", "region 1: the box None is not the four numbers"),
        ("- prompt: <V1>\n  keyframes: 5", "region 1: keyframes: should be a valid tuple, not 5"),
        (
            "- prompt: <V1>\n  keyframes: {first: [0, 0, 1, 1]}",
            "region 1: keyframes: should be a valid integer",
        ),
        ("- prompt: '  '\n  box: [0, 0, 1, 1]", "region 1: The prompt is empty."),
        ("- prompt: <V1\n  box: [0, 0, 1, 1]", "region 1: A single '<' in the prompt '<V1'."),
        ("[" * 5000, "neither YAML nor JSON"),
        ("!!timestamp abc", "neither YAML nor JSON"),
        ("- !!int ''", "neither YAML nor JSON"),
        ("- !!bool foo", "neither YAML nor JSON"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert says in caught.value.message and "@" not in (caught.value.hint or "")
    with pytest.raises(UsageError, match="Cannot read"):
        read(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        (["a dog @ 0,0,0.5,1"], "names no concept"),
        (["<V1> @ 0: 0,0,1,1 ; 16: 0,0,1,1"], "has a box at frame 16; the clip's last frame is 15"),
        (["<V1> @ 0,0,0.03,1"], "The box 0,0,0.03,1 is too small"),
        (["<V1> @ 0,0,0.5,1", "<V1> @ 0.5,0,1,1"], "There are 2 regions, but only 1 concept in them"),
    ],
)
def test_regions_that_do_not_fit(regions: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(map(parse, regions), frames=16, cells=(16, 16))
    assert says in caught.value.message


def test_regions_that_fit() -> None:
    check([parse(DOG), parse("<V2> @ 0,0,0.0625,1")], frames=16, cells=(16, 16))


def test_a_frame_has_a_number_that_python_reads() -> None:
    with pytest.raises(UsageError, match="is no keyframe"):
        parse(f"<V1> dog @ {'9' * 5000}: 0,0,1,1")
