"""How a clip is scored and what scores must share to be compared, with encoders of which the answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ccvd_cli.estimates import Rate
from ccvd_cli.measure.evaluate import Exam, Examiner, Held, References, Row, how, shown_to, summary
from ccvd_cli.measure.exact import Shown
from ccvd_cli.measure.kept_rows import SCORES, Kept
from ccvd_cli.measure.motion import likeness, paths
from ccvd_cli.measure.questions import Question
from ccvd_cli.settings import SampleSettings

BLACK, WHITE = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
ASKED = Question("a <V1> dog jumping", "a dog jumping")


class Shades:
    """How dark and how bright a picture is; every text is both."""

    name = "shades"

    def __init__(self, digest: str = "shades") -> None:
        self.digest = digest
        self.heard: list[str] = []

    def images(self, frames: Tensor) -> Tensor:
        bright = frames.mean((1, 2, 3))
        return torch.stack([1 - bright, bright], 1)

    def texts(self, prompts: Sequence[str]) -> Tensor:
        self.heard += prompts
        return torch.ones(len(prompts), 2)


def split_clip() -> Tensor:
    """Black on the left, white on the right."""
    clip = torch.zeros(3, 3, 16, 32)
    clip[..., 16:] = 1
    return clip


def like(shade: Tensor, encoder: Shades) -> References:
    return References("r", {encoder.digest: shade})


def test_a_clip_is_held_against_its_prompt_without_names() -> None:
    encoder = Shades()
    examiner = Examiner(encoder)
    for _ in range(2):
        examiner.scores(split_clip(), ASKED, [])
    assert encoder.heard == ["a dog jumping"]  # once for all clips


@pytest.mark.parametrize("second", [False, True], ids=["clip", "dino"])
def test_each_of_several_is_looked_for_in_its_own_box(second: bool) -> None:
    encoder, other = Shades(), Shades("other")
    examiner = Examiner(encoder, other if second else None)
    metric, by = ("dino_i", other) if second else ("clip_i", encoder)

    def score(left: Tensor, right: Tensor) -> float:
        held = [Held(like(left, by), LEFT), Held(like(right, by), RIGHT)]
        return examiner.scores(split_clip(), ASKED, held)[metric]

    assert score(BLACK, WHITE) == pytest.approx(1)
    assert score(WHITE, BLACK) == pytest.approx(0)
    alone = examiner.scores(split_clip(), ASKED, [Held(like(BLACK, by))])[metric]
    assert alone == pytest.approx(0.5**0.5)


def test_motion_is_the_mean_over_all_reference_clips() -> None:
    there, back = moving(1), moving(-1)
    held = [Held(References("r", clips=[there, back]))]
    found = Examiner(Shades()).scores(there, ASKED, held)["motion"]
    each = [likeness(paths(there), paths(clip)) for clip in (there, back)]
    assert each[0] - each[1] > 0.5 and found == pytest.approx(sum(each) / 2)


def moving(step: int) -> Tensor:
    """A bright square that goes to the right, or to the left."""
    clip = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0)).repeat(8, 1, 1, 1) * 0.1
    for frame, picture in enumerate(clip):
        x = 16 + step * 2 * (frame - 4)
        picture[:, 16:32, x : x + 16] += 0.8
    return clip


def rows_of(scores: Sequence[Sequence[float]], metric: str) -> list[Row]:
    """Of every prompt its scores, one for each seed."""
    return [
        Row("b", f"prompt {p}", seed, f"{p}-{seed}.mp4", {metric: score})
        for p, of in enumerate(scores)
        for seed, score in enumerate(of)
    ]


def test_shares_of_right_answers_have_wilsons_interval() -> None:
    found = summary(rows_of([[1.0]] * 8, "identity"))["identity"]
    assert found.mean == 1 and found.low == pytest.approx(Rate(8, 8).interval[0])
    flat = summary(rows_of([[0.5]] * 8, "clip_t"))["clip_t"]
    assert flat.low == flat.high == 0.5


def test_intervals_hold_the_truth_as_often_as_they_say_with_several_seeds_of_each_prompt() -> None:
    rng = np.random.default_rng(0)
    held = {"clip_t": 0, "identity": 0}
    for _ in range(400):
        alike = rng.normal(0.5, 0.1, (8, 1)) + rng.normal(0, 0.03, (8, 3))
        right = (rng.random((8, 1)) < 0.7).astype(float).repeat(3, 1)  # the seeds of a prompt go together
        for metric, scores, truth in (("clip_t", alike, 0.5), ("identity", right, 0.7)):
            found = summary(rows_of(scores.tolist(), metric))[metric]
            held[metric] += found.low <= truth <= found.high
    assert min(held.values()) >= 0.92 * 400


@pytest.mark.parametrize("before", [b"", b"{", b'{"cut off', b'{"of": "somebody else"}\n'])
def test_rows_are_added_behind_whatever_is_there(tmp_path: Path, before: bytes) -> None:
    rows = rows_of([[0.5, 0.25], [1.0, 0.75]], "clip_t")
    for row in rows:
        (tmp_path / row.clip).touch()
    (tmp_path / SCORES).write_bytes(before)
    one, other = Kept(tmp_path), Kept(tmp_path)  # two processes
    one.add(rows[:2])
    other.add(rows[2:])
    assert [replace(row, concepts=()) for row in Kept(tmp_path).rows.values()] == rows
    assert (tmp_path / SCORES).read_bytes().startswith(before)


def test_every_seed_asks_every_question_once() -> None:
    questions = [Question(f"number {i}", f"number {i}") for i in range(5)]
    settings = SampleSettings(seed=5)
    batches = Exam([], [], questions, [], settings, seeds=2, at_once=3).batches()
    assert [(s.seed, [q.prompt[-1] for q in part]) for part, s in batches] == [
        (5, ["0", "1", "2"]),
        (5, ["3", "4"]),
        (6, ["0", "1", "2"]),
        (6, ["3", "4"]),
    ]


def exam(**changes: Any) -> Exam:
    usual = Exam([], [{"adapter": "a"}], [ASKED], [Held(References("r"))], SampleSettings(seed=1))
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("base", "encoder", "changes"),
    [
        ({"fingerprint": "g"}, "shades", {}),
        ({"dtype": torch.bfloat16}, "shades", {}),
        ({}, "others", {}),
        ({}, "shades", {"held": [Held(References("s"))]}),
        ({}, "shades", {"questions": [Question("a <V1> dog", "a dog")]}),
        ({}, "shades", {"questions": [Question("a <V1> dog jumping", "a cat jumping")]}),
        ({}, "shades", {"seeds": 2}),
        ({}, "shades", {"at_once": 2}),
        ({}, "shades", {"settings": SampleSettings(seed=1, guidance_scale=3)}),
    ],
)
def test_what_changes_scores_keeps_evaluations_apart(
    base: dict[str, Any], encoder: str, changes: dict[str, Any]
) -> None:
    usual = {"fingerprint": "f", "dtype": torch.float32}

    def told(base: dict[str, Any], encoder: str, exam: Exam) -> dict[str, Any]:
        return how(SimpleNamespace(**usual | base), Examiner(Shades(encoder)), exam)  # type: ignore[arg-type]

    before = told({}, "shades", exam())
    assert before == told({}, "shades", exam(digests=[{"adapter": "b"}]))  # learned anew, it is compared
    assert before != told(base, encoder, exam(**changes))


def test_what_a_question_says_that_is_shown_goes_before_its_words() -> None:
    question = Question("a <V1> dog jumping in <V2> style", "a dog jumping", Shown("cat", style="sepia"))
    assert shown_to(question, [Held(References(truth={"subject": "dog-10"}))]) == (question.shown, True)
    shown, styled = shown_to(replace(question, shown=None), [Held(References())])
    assert (shown.noun, shown.motion, styled) == ("dog", "jumping", True)
    assert replace(question, shown=None).asked() == {"prompt": question.prompt, "plain": question.plain}
    assert question.asked()["shown"]["style"] == "sepia"
