"""What can be known of clips of the embedded world, and who says whether they show it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ccvd_cli.__main__ import main
from ccvd_cli.estimates import rate
from ccvd_cli.measure.exact import Exact, Shown
from ccvd_cli.measure.known import Facts, Judges, drawn, known, known_of_several
from ccvd_cli.world import heldout
from ccvd_cli.world.heldout import BLOCK

CLIP = torch.zeros(16, 3, 64, 64)


@pytest.mark.parametrize(
    ("prompt", "plain", "truth", "shown"),
    [
        (
            "a <V1> dog moving left on the beach",
            "a dog moving left on the beach",
            {"subject": "dog-10"},
            Shown(motion="moving left", scene="beach", subject="dog-10"),
        ),
        (
            "a red cat performing <V2> under the sea",
            "a red cat performing tai chi under the sea",
            {"motion": "rocking"},
            Shown(noun="cat", colour="red", scene="underwater", motion="rocking"),
        ),
        ("a red cat in <V3> style", "a red cat", {}, Shown(noun="cat")),  # a style takes colours
        ("a red cat in <V3> style", "a red cat", {"style": "neon"}, Shown(noun="cat", style="neon")),
        ("a red <V1> cat", "a red cat", {}, Shown(noun="cat", colour="red")),
    ],
)
def test_what_a_clip_should_show(prompt: str, plain: str, truth: dict[str, str], shown: Shown) -> None:
    assert known(prompt, plain, truth) == shown


@pytest.mark.parametrize(
    ("kind", "arguments", "known"),
    [
        ("subject", ("--index", "13"), {"subject": heldout.subject(13).name}),
        ("motion", ("--name", "rocking", "--scale", "1"), {"motion": "rocking"}),
        ("style", ("--name", "neon"), {"style": "neon"}),
    ],
)
def test_a_folder_that_the_world_drew_says_whom_it_shows(
    tmp_path: Path, kind: str, arguments: tuple[str, ...], known: dict[str, str]
) -> None:
    folder = tmp_path / "drawn"
    assert main(["world", kind, "--out", str(folder), "--count", "2", "-q", *arguments]) == 0
    files = sorted(p.name for p in folder.iterdir() if p.suffix in (".png", ".mp4"))
    assert len(files) == 2 and drawn(folder, kind, files) == known
    assert drawn(folder, kind, [*files, "holiday.png"]) == {}  # somebody put another beside them
    assert all(drawn(folder, other, files) == {} for other in ("subject", "style") if other != kind)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "nonsense",
        '["a"]',
        '{"file": "a"}',
        '{"file": "a", "subject": "dog-9999999999999"}',
        '{"file": "a", "subject": "dog-x"}',
        '{"file": "a", "subject": "unicorn-3"}',
        '{"file": "a", "subject": 3}',
    ],
)
def test_captions_that_are_not_the_worlds_say_nothing(tmp_path: Path, lines: str) -> None:
    (tmp_path / "captions.jsonl").write_text(lines)
    assert drawn(tmp_path, "subject", ["a"]) == {} == drawn(tmp_path / "nowhere", "subject", ["a"])
    both = [{"file": f, "subject": heldout.subject(i).name} for i, f in enumerate("ab")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, both)))
    assert drawn(tmp_path, "subject", ["a"]) and drawn(tmp_path, "subject", ["a", "b"]) == {}


class Said(Exact):
    """Judges that always say the same."""

    attributes = identity = autoencoder = None  # type: ignore[assignment]

    def __init__(self, attributes: Any, identity: Any, subjects: range = range(BLOCK)) -> None:
        super().__init__(None, subjects, Path())  # type: ignore[arg-type]
        self.attributes, self.identity = attributes, identity

    def _share_of_path(self, motion: str, frames: int) -> float:
        return 0.5

    def who(self, clip: Tensor, boxes: Any) -> list[tuple[str, str]]:
        return [("other", self.identity.says)] * len(boxes)


def judge(accuracy: dict[str, float], says: str = "", **answers: str) -> Any:
    def read(clips: Tensor) -> list[dict[str, str]]:
        return [answers] * len(clips)

    return SimpleNamespace(accuracy=accuracy, read=read, says=says, digest=says + str(answers))


def test_clips_are_scored_by_who_is_right_often_enough() -> None:
    name, other = heldout.subject(3).name, heldout.subject(4).name
    able = {"noun": 0.99, "noun, styled": 0.5, "motion": 0.98, "style": 0.97, "scene": 0.969}
    attributes = judge(able, noun="dog", motion="circling", style="neon", scene="beach")
    judges = Judges({0: Said(attributes, judge({"identity": 0.99}, name))})
    plain = Shown(noun="dog", motion="circling", scene="beach", subject=name)
    assert judges.scores(CLIP, plain) == {"noun": 1, "motion_class": 1, "identity": 0, "nearest": 1}
    shares = judges.accuracies(plain, styled=False, frames=16)
    assert shares["scene"] == 0.969 and shares["path"] == 0.5
    assert judges.scores(CLIP, Shown(noun="cat", motion="jumping", subject=other)) == {
        "noun": 0,
        "motion_class": 0,
        "identity": 0,
        "nearest": 0,
    }
    styled = Shown(noun="dog", motion="circling", style="neon")
    assert judges.scores(CLIP, styled, styled=True) == {"style": 1}  # its other judges are weak there


def test_digests_are_of_those_who_are_asked() -> None:
    attributes, one, two = judge({}, noun="dog"), judge({}, "one"), judge({}, "two")
    truth = {"subject": heldout.subject(3).name}
    alone = Judges({0: Said(attributes, one)})
    more = Judges({0: Said(attributes, one), 1: Said(attributes, two, range(BLOCK, 2 * BLOCK))})
    assert alone.digests([truth]) == more.digests([truth]) == more.digests([truth, {}])
    assert set(alone.digests([{}])) == set(alone.digests([])) == {"judge of attributes", "trajectories"}
    second = {"subject": heldout.subject(BLOCK + 3).name}
    assert more.digests([truth]) != more.digests([second])
    assert {"one", "two"} <= {d.removesuffix("{}") for d in more.digests([truth, second]).values()}


LEFT, RIGHT = (0.0, 0.1, 0.5, 1.0), (0.5, 0.1, 1.0, 1.0)


def test_each_of_several_is_looked_for_in_its_own_box_by_who_knows_it() -> None:
    one, other, far = (heldout.subject(i).name for i in (3, 4, BLOCK + 3))
    truths: list[Facts] = [{"subject": one}, {"subject": far}]
    asked = known_of_several(
        "a <V1> dog and a <V2> dog spinning in the snow",
        "a dog and a dog spinning in the snow",
        truths,
        [LEFT, RIGHT],
    )
    assert asked == Shown(scene="snow", boxes=((one, LEFT), (far, RIGHT)))
    attributes = judge({"scene": 0.99, "motion": 0.99}, scene="snow", motion="spinning")
    both = {
        0: Said(attributes, judge({"identity": 0.98}, one)),
        1: Said(attributes, judge({"identity": 0.99}, one), range(BLOCK, 2 * BLOCK)),
    }
    found = Judges(both).scores(CLIP, asked)
    assert found == {"scene": 1, "in_box": 0, "in_box_nearest": 0.5}
    assert Judges(both).accuracies(asked, styled=False, frames=16)["in_box"] == 0.98
    three = replace(asked, boxes=((other, LEFT), (one, LEFT), (far, RIGHT)))
    assert Judges(both).scores(CLIP, three)["in_box_nearest"] == pytest.approx(
        1 / 3
    )  # every box counts alike
    both[1].identity.accuracy["identity"] = 0.5  # who is not trusted is left out, not counted as wrong
    assert Judges(both).scores(CLIP, asked)["in_box_nearest"] == 1


def test_of_two_motions_or_of_subjects_without_boxes_no_one_is_the_answer() -> None:
    one, other = (heldout.subject(i).name for i in (3, 4))
    moved: list[Facts] = [
        {"subject": one},
        {"motion": "circling"},
        {"subject": other},
        {"motion": "rocking"},
    ]
    said = "a <V1> dog performing <V3> and a <V2> dog performing <V4> in the snow"
    plain = "a dog performing x and a dog performing y in the snow"
    asked = known_of_several(said, plain, moved, [LEFT, None, RIGHT, None])
    assert asked == Shown(scene="snow", boxes=((one, LEFT), (other, RIGHT)))
    turned = known_of_several(said, plain, moved[::-1], [None, RIGHT, None, LEFT])
    assert turned == replace(asked, boxes=asked.boxes[::-1])
    assert known_of_several(said, plain, moved, [None] * 4).subject is None
    alike: list[Facts] = [{"motion": "rocking"}, {"motion": "rocking"}]
    assert known_of_several(said, plain, alike, [None, None]).motion == "rocking"


def test_a_subject_with_a_motion_or_in_a_style_is_known_as_both() -> None:
    one = heldout.subject(3)
    moved = known_of_several(
        "a <V1> dog performing <V3>",
        f"a {one.noun} performing x",
        [{"subject": one.name}, {"motion": "circling"}],
        [None, None],
    )
    assert moved == Shown(motion="circling", subject=one.name)


def test_a_rate_of_few_has_an_honest_interval() -> None:
    all_right = rate([1.0] * 8)
    assert rate([0.5, 0.5]).mean == 0.5
    assert (all_right.mean, all_right.high, all_right.count) == (1, 1, 8) and 0.6 < all_right.low < 0.7
