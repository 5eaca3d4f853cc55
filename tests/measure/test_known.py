"""What can be known of clips of the embedded world, and who says whether they show it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ccvd_cli.__main__ import main
from ccvd_cli.measure.known import BLOCK, Exact, said, shown
from ccvd_cli.measure.metrics import rate
from ccvd_cli.world import heldout
from ccvd_cli.world.motions import HELDOUT_MOTIONS
from ccvd_cli.world.styles import STYLES

CLIP = torch.zeros(4, 3, 64, 64)


@pytest.mark.parametrize(
    ("prompt", "plain", "asked"),
    [
        (
            "a <V1> dog moving left on the beach",
            "a dog moving left on the beach",
            {"noun": "dog", "motion_word": "moving left", "scene": "beach"},
        ),
        (
            "a red cat performing <V2> under the sea",
            "a red cat performing zigzagging under the sea",
            {"noun": "cat", "colour": "red", "scene": "underwater"},
        ),
        ("a red cat in <V3> style", "a red cat", {"noun": "cat"}),  # a style takes colours
        ("a <V1> dog and a cat", "a dog and a cat", {}),
        ("a <V1> hotdog", "a hotdog", {}),
        ("a <V1> Dog Jumping", "a Dog Jumping", {"noun": "dog", "motion_word": "jumping"}),
    ],
)
def test_what_words_say(prompt: str, plain: str, asked: dict[str, str]) -> None:
    assert said(prompt, plain) == asked


def test_every_ordinary_prompt_is_understood() -> None:
    for prompt in heldout.ordinary_prompts(40):
        clip = prompt.shows
        found = said(prompt.text, prompt.text)
        told = {"noun": clip.actors[0].noun, "scene": clip.scene, "motion_word": clip.motion}
        assert found | told == found and "colour" in found


@pytest.mark.parametrize(
    ("kind", "arguments", "known"),
    [
        ("subject", ("--index", "13"), {"identity": heldout.subject(13).name}),
        ("motion", ("--name", "rocking", "--scale", "1"), {"motion_class": "rocking"}),
        ("style", ("--name", "neon"), {"style": "neon"}),
    ],
)
def test_a_folder_that_the_world_drew_says_whom_it_shows(
    tmp_path: Path, kind: str, arguments: tuple[str, ...], known: dict[str, str]
) -> None:
    folder = tmp_path / "drawn"
    assert main(["world", kind, "--out", str(folder), "--count", "2", "-q", *arguments]) == 0
    files = sorted(p.name for p in folder.iterdir() if p.suffix in (".png", ".mp4"))
    assert len(files) == 2 and shown(folder, kind, files) == known
    assert shown(folder, kind, [*files, "holiday.png"]) == {}  # somebody put another beside them
    assert all(shown(folder, other, files) == {} for other in ("subject", "style") if other != kind)


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
    assert shown(tmp_path, "subject", ["a"]) == {} == shown(tmp_path / "nowhere", "subject", ["a"])
    both = [{"file": f, "subject": heldout.subject(i).name} for i, f in enumerate("ab")]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, both)))
    assert shown(tmp_path, "subject", ["a"]) and shown(tmp_path, "subject", ["a", "b"]) == {}


def judge(accuracy: dict[str, float], **answers: str) -> Any:
    def read(clips: Tensor) -> list[dict[str, str]]:
        return [answers] * len(clips)

    weights = {"w": torch.tensor([hash(tuple(answers.items())) % 1000 / 7])}
    return SimpleNamespace(accuracy=accuracy, read=read, state_dict=lambda: weights)


def test_clips_are_scored_by_who_is_right_often_enough() -> None:
    name, other = heldout.subject(3).name, heldout.subject(4).name
    motion, style = next(iter(HELDOUT_MOTIONS)), next(iter(STYLES))
    able = {"noun": 0.99, "noun, styled": 0.5, "motion": 0.98, "style": 0.97, "scene": 0.969}
    attributes = judge(able, noun="dog", motion=motion, style=style, scene="beach")
    exact = Exact(attributes, {0: judge({"identity": 0.99}, identity=name)})
    truth = {"noun": "dog", "motion_class": motion, "style": style, "scene": "beach", "identity": name}
    assert exact.scores(CLIP, truth) == {"noun": 1, "motion_class": 1, "style": 1, "identity": 1}
    assert exact.scores(CLIP, truth, styled=True) == {"style": 1}  # its other judges are weak there
    assert exact.scores(CLIP, {"identity": other, "noun": "cat", "motion_word": "jumping"}) == {
        "identity": 0,
        "noun": 0,
        "motion_word": 0,
    }
    stranger = heldout.subject(BLOCK + 2).name  # of another block: nobody was trained to tell
    assert exact.scores(CLIP, {"identity": stranger}) == {}
    assert exact.accuracy("scene", "beach", False) == 0.969


def test_digests_are_of_those_who_are_asked() -> None:
    one, two = (judge({}, identity=str(i)) for i in range(2))
    attributes = judge({}, noun="dog")
    name = heldout.subject(3).name
    alone, more = Exact(attributes, {0: one}), Exact(attributes, {0: one, 1: two})
    assert alone.digests({"identity": name}) == more.digests({"identity": name})
    assert set(alone.digests({})) == {"judge of attributes"}
    assert alone.digests({"identity": name}) != Exact(attributes, {0: two}).digests({"identity": name})


def test_a_rate_of_few_has_an_honest_interval() -> None:
    all_right = rate([1.0] * 8)
    assert (all_right.mean, all_right.high, all_right.count) == (1, 1, 8) and 0.6 < all_right.low < 0.7
