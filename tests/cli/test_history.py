"""How a concept did over tasks: what `ccvd show` draws."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_material import Ccvd
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli.commands.history import sparkline
from ccvd_registry import Registry

values = st.lists(st.floats(-1, 1), min_size=1, max_size=200)


@given(values, st.integers(1, 60))
def test_a_line_fits_and_its_ends_are_the_highest_and_the_lowest(means: list[float], width: int) -> None:
    line = sparkline(means, "12345678", width)
    assert len(line) == min(len(means), width) and set(line) <= set("12345678")
    if len(means) <= width and max(means) - min(means) >= 0.05:
        assert line[means.index(max(means))] == "8" and line[means.index(min(means))] == "1"
    order = sorted(range(len(line)), key=lambda i: means[i]) if len(means) <= width else []
    assert [line[i] for i in order] == sorted(line[i] for i in order)


def test_what_hardly_differs_is_not_made_to_look_like_much() -> None:
    line = sparkline([0.801, 0.8, 0.802], "12345678")
    assert int(max(line)) - int(min(line)) <= 1


@pytest.fixture
def past(teach: Callable[..., None], ccvd_home: Path) -> list[float]:
    """V1 as it was found after each of 60 tasks, and once asked otherwise."""
    teach("V1")
    means = [0.8, 0.9, *[0.7] * 57, 0.75]
    with Registry(ccvd_home) as registry:
        for i, mean in enumerate(means):
            score = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "count": 8}
            for wrong in (0.1, mean):  # of two after the same task, the last counts
                scores = {"clip_t": score | {"mean": 0.2}, "clip_i": score | {"mean": wrong}}
                registry.record_evaluation("V1", how={"prompts": "a"}, scores=scores)
            teach(f"W{i}")
        registry.record_evaluation("V1", how={"prompts": "b"}, scores={"clip_t": score | {"mean": 0.3}})
    return means


def test_what_asked_the_same_is_one_line_over_tasks(
    ccvd: Ccvd, past: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ccvd("show", "V1")
    lines = run.out.split("\n\n")
    assert len(lines) == 4 and all(len(row) <= 80 for part in lines[1:] for row in part.splitlines())
    assert lines[1].startswith("asked 1: CLIP-I  ") and "▁" in lines[1] and "\x1b" not in run.out
    assert "first 0.800 (after task 1), best 0.900 (2), now 0.750 (60)" in lines[1]
    assert lines[2].startswith("asked 2: CLIP-T  ") and "EVALUATED" in lines[3]

    first, second = json.loads(ccvd("show", "V1", "--json").out)["history"]
    assert [point["mean"] for point in first["points"]] == past
    assert [point["after"] for point in first["points"]] == list(range(1, 61))
    assert (first["metric"], first["first"], first["best"], first["now"]) == ("clip_i", 0.8, 0.9, 0.75)
    assert (second["asked"], second["metric"], second["how"]) == (2, "clip_t", {"prompts": "b"})


def test_a_terminal_without_blocks_gets_other_characters(
    past: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ccvd_cli.__main__ import main

    told = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", told)
    assert main(["show", "V1"]) == 0
    told.seek(0)
    assert "asked 1: CLIP-I  " in told.read()


def test_a_concept_that_was_never_evaluated_has_no_history(ccvd: Ccvd, teach: Callable[..., None]) -> None:
    teach("V1")
    assert "asked" not in ccvd("show", "V1").out
    assert json.loads(ccvd("show", "V1", "--json").out)["history"] == []
