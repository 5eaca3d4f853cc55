"""Adherence: counts that can be checked by hand, on a base that is opened like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tiny_models import build_mini

from ccvd_cli.engine.bases import open_base
from ccvd_cli.estimates import Rate
from ccvd_cli.settings import SampleSettings
from ccvd_cli.world.adherence import Adherence, Answer, adherence, asked
from ccvd_cli.world.heldout import ordinary_prompts
from ccvd_cli.world.judge_material import ATTRIBUTES

DOG = {"noun": "dog", "colour": "red", "texture": "plain", "scene": "beach", "motion": "jumping"}


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962), (97, 100, 0.9155, 0.9897), (10, 10, 0.7225, 1.0)],
)
def test_wilson_intervals(right: int, total: int, low: float, high: float) -> None:
    assert Rate(right, total).interval == pytest.approx((low, high), abs=1e-4)


def test_nothing_counted_says_nothing() -> None:
    assert math.isnan(Rate(0, 0).value) and Rate(0, 0).interval == (0.0, 1.0)


def test_rates_are_counted_per_attribute_and_name() -> None:
    wrong = {**DOG, "noun": "cat"}
    found = Adherence(
        [Answer("a", DOG, DOG), Answer("b", DOG, wrong), Answer("c", wrong, wrong)], {"noun": 0.99}
    )
    assert found.rates["noun"] == Rate(2, 3) == found.rates["all"]
    assert found.rates["motion"] == Rate(3, 3)
    assert found.by("noun") == {"dog": Rate(1, 2), "cat": Rate(1, 1)}
    assert found.answers[1].label == "b  [cat, not dog]"
    told = json.loads(json.dumps(found.as_json()))
    assert told["attributes"]["noun"]["judge"] == 0.99 and told["by_motion"]["jumping"]["rate"] == 1.0


def test_prompts_ask_for_what_they_say() -> None:
    for prompt in ordinary_prompts(30):
        wanted = asked(prompt)
        assert set(wanted) == set(ATTRIBUTES)
        said = {v for k, v in wanted.items() if k != "scene" and v != "plain"}
        assert all(word in prompt.text for word in said)


class Parrot:
    """A judge that sees a jumping red dog in everything."""

    accuracy = dict.fromkeys(ATTRIBUTES, 1.0)

    def read(self, clips: torch.Tensor) -> list[dict[str, str]]:
        assert clips.min() >= 0 and clips.max() <= 1
        return [DOG] * len(clips)


def test_a_base_is_judged_in_batches(tmp_path: Path) -> None:
    base = open_base(str(build_mini(tmp_path)), device="cpu", dtype="float32")
    settings = SampleSettings(steps=1, frames=2, height=32, width=32)
    shapes, steps = [], []
    found = adherence(
        base,
        Parrot(),  # type: ignore[arg-type]
        settings,
        accuracy={"noun": 0.9},
        count=12,
        on_clips=lambda answers, clips: shapes.append((len(answers), tuple(clips.shape))),
        on_step=lambda step, total: steps.append((step, total)),
    )
    assert shapes == [(10, (10, 2, 3, 32, 32)), (2, (2, 2, 3, 32, 32))]
    assert steps == [(1, 2), (2, 2)]
    assert len(found.answers) == found.rates["noun"].total == 12
    assert found.as_json()["attributes"]["noun"]["judge"] == 0.9
