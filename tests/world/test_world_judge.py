"""Judges: trained once, kept, and as good as they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from ccvd_cli.engine.bases import open_base
from ccvd_cli.world import heldout, judge_making
from ccvd_cli.world import judge as judging
from ccvd_cli.world.judge import Judge
from ccvd_cli.world.judge_making import (
    Autoencoder,
    JudgeSettings,
    attribute_judge,
    identity_judge,
    judges_folder,
)
from ccvd_cli.world.judge_material import (
    JUDGED,
    OTHER,
    UNKNOWN,
    examination,
    material,
    one_of,
    ordinary,
)
from ccvd_cli.world.render import COLOURS, Actor, Clip, render

QUICK = JudgeSettings(clips=8, steps=2, batch=4, examined=4)
CPU = torch.device("cpu")


def nothing(digest: str = "none") -> Autoencoder:
    return Autoencoder(digest, CPU, lambda frames: frames)


def test_a_judge_is_trained_once_and_kept(tmp_path: Path) -> None:
    said: list[str] = []
    first = attribute_judge(nothing(), tmp_path, settings=QUICK, on_step=lambda stage, *_: said.append(stage))
    assert set(said) == {"drawing truth", "training judge"}
    said.clear()
    second = attribute_judge(
        nothing(), tmp_path, settings=QUICK, on_step=lambda stage, *_: said.append(stage)
    )
    assert said == []
    assert second.classes == first.classes == JUDGED
    assert second.accuracy == first.accuracy and {"noun", "style"} <= set(first.accuracy)
    clips = torch.rand(2, 16, 3, 64, 64)
    for name, chances in first.log_probabilities(clips).items():
        assert torch.equal(chances, second.log_probabilities(clips)[name])
    assert len(list(tmp_path.iterdir())) == 1


def test_of_wide_frames_a_window_is_looked_at_closely() -> None:
    """The same square, alone and as a part of a frame three times as wide: half of its detail would be lost in that."""
    square = torch.rand(1, 2, 3, 64, 64)
    wide = torch.cat([torch.rand_like(square), square, torch.rand_like(square)], -1)
    middle = torch.tensor([[1 / 3, 0.0, 2 / 3, 1.0]])
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert torch.allclose(judging._seen(wide, middle), judging._seen(square, whole), atol=1e-4)


def test_a_kept_judge_that_cannot_be_read_is_trained_anew(tmp_path: Path) -> None:
    attribute_judge(nothing(), tmp_path, settings=QUICK)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    said: list[str] = []
    attribute_judge(nothing(), tmp_path, settings=QUICK, on_step=lambda stage, *_: said.append(stage))
    assert "training judge" in said
    assert list(tmp_path.iterdir()) == [kept] and kept.stat().st_size == len(whole)


def test_another_autoencoder_needs_another_judge(tmp_path: Path) -> None:
    for digest in ("one", "two"):
        attribute_judge(nothing(digest), tmp_path, settings=QUICK)
    assert len(list(tmp_path.glob("attributes-*.safetensors"))) == 2


@pytest.mark.parametrize("shape", [(1, 1, 3, 64, 64), (2, 8, 3, 64, 64), (3, 24, 3, 96, 96)])
def test_clips_of_any_size_are_read(shape: tuple[int, ...]) -> None:
    judge = Judge(JUDGED)
    clips = torch.rand(shape)
    for name, chances in judge.log_probabilities(clips).items():
        assert chances.shape == (shape[0], len(JUDGED[name]))
        assert torch.allclose(chances.exp().sum(-1), torch.ones(shape[0]), atol=1e-3)
    for seen in judge.read(clips):
        assert all(seen[name] in JUDGED[name] for name in JUDGED)


def test_the_global_seed_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    attribute_judge(nothing(), tmp_path, settings=QUICK)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_identity_judge_knows_its_subjects(tmp_path: Path) -> None:
    subjects = heldout.indices("test", 3)
    judge = identity_judge(subjects, nothing(), tmp_path, settings=QUICK)
    assert judge.classes == {"identity": (*(heldout.subject(i).name for i in subjects), OTHER)}
    assert "identity" in judge.accuracy
    assert judge.read(torch.rand(1, 16, 3, 64, 64))[0]["identity"] in judge.classes["identity"]


def test_truth_is_deterministic_and_disguises_have_no_colour() -> None:
    one, two = (material(ordinary, 30, 4) for _ in range(2))
    assert (one.moments == two.moments).all() and (one.labels == two.labels).all()
    assert one.moments.shape == (30, 3, 64, 64, 3) and one.halved.shape == (30, 16, 32, 32, 3)
    unknown = one.labels == UNKNOWN
    assert unknown.any(1).sum() > 3 and not unknown[:, [0, 3, 4, 5]].any()
    assert (unknown[:, 1] == unknown[:, 2]).all()
    assert (one.windows == np.asarray([0, 0, 1, 1])).all()
    exam = examination(ordinary, 12, 4)
    assert exam.pixels.shape == (12, 16, 64, 64, 3) and exam.windows.shape == (12, 4)
    assert exam.labels.shape == (12, 6) and (exam.styled == (exam.labels[:, 5] > 0)).all()


def test_accuracy_in_a_style_is_told_apart(tmp_path: Path) -> None:
    settings = replace(QUICK, examined=60)
    judge = attribute_judge(nothing(), tmp_path, settings=settings)
    exam = examination(ordinary, 60, settings.seed)
    clips = torch.from_numpy(exam.pixels).movedim(-1, -3).float() / 255
    answers = [JUDGED["noun"].index(seen["noun"]) for seen in judge.read(clips)]
    right = np.asarray(answers) == exam.labels[:, 0]
    assert judge.accuracy["noun"] == pytest.approx(right[~exam.styled].mean(), abs=1e-3)
    assert judge.accuracy["noun, styled"] == pytest.approx(right[exam.styled].mean(), abs=1e-3)
    assert "colour, styled" not in judge.accuracy  # it has no name there


def test_a_judge_looks_through_windows_only() -> None:
    judge = Judge({"identity": ("a", "b")})
    clips = torch.rand(2, 4, 3, 64, 64)
    left = torch.tensor([[0.0, 0.1, 0.5, 1.0]]).expand(2, -1)
    before = judge.log_probabilities(clips, windows=left)["identity"]
    elsewhere = clips.clone()
    elsewhere[..., :6, :] = 0
    elsewhere[..., 34:] = 0
    assert torch.equal(judge.log_probabilities(elsewhere, windows=left)["identity"], before)
    elsewhere[..., 20:30, 10:20] = 0
    assert not torch.equal(judge.log_probabilities(elsewhere, windows=left)["identity"], before)
    whole = judge.log_probabilities(clips, windows=torch.tensor([[0.0, 0, 1, 1]]).expand(2, -1))["identity"]
    assert torch.allclose(whole, judge.log_probabilities(clips)["identity"], atol=1e-3)


def test_a_crowds_window_shows_whom_its_label_names() -> None:
    subjects, rng = heldout.indices("test", 10), np.random.default_rng(3)
    names, empty = [heldout.subject(i) for i in subjects], 0
    for _ in range(300):
        clip, (label,), (x0, _, x1, _) = one_of(subjects, rng, crowded=1.0)
        assert clip.spots is not None
        inside = [a for a, s in zip(clip.actors, clip.spots, strict=True) if x0 < s.x < x1]
        assert len(inside) <= 1
        empty += not inside
        if label < len(subjects):
            assert inside[0] == names[label].actor
        elif inside:
            assert inside[0] not in [n.actor for n in names]
    assert 10 < empty < 60


def test_judges_live_in_the_home_or_the_cache(tmp_path: Path) -> None:
    assert judges_folder(tmp_path) == tmp_path / "judges"
    assert judges_folder(None).name == "judges"


@pytest.mark.slow
def test_a_judge_learns_the_world(tmp_path: Path) -> None:
    settings = JudgeSettings(clips=2_000, steps=400, examined=200)
    judge = attribute_judge(nothing(), tmp_path, settings=settings)
    print(judge.accuracy)
    assert min(judge.accuracy[name] for name in JUDGED) > 0.85
    clips = torch.from_numpy(heldout.motion_clips("circling", 8)).movedim(-1, -3) / 255
    assert sum(seen["motion"] == "circling" for seen in judge.read(clips)) >= 6


@pytest.mark.slow
def test_a_judge_tells_subjects_apart(tmp_path: Path) -> None:
    subjects = heldout.indices("test", 10)
    settings = JudgeSettings(clips=2_000, steps=300, examined=200)
    judge = identity_judge(subjects, nothing(), tmp_path, settings=settings)
    assert judge.accuracy["identity"] > 0.85


def test_the_embedded_base_comes_with_judges_of_this_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found by what the world looks like now and by the base's own autoencoder: none has to be trained."""
    monkeypatch.setattr(judge_making, "_train", lambda *_: pytest.fail("a judge had to be trained"))
    autoencoder = Autoencoder.of(open_base("mini", device="cpu"))
    shipped = (
        attribute_judge(autoencoder, tmp_path),
        *(
            identity_judge(heldout.indices(split, 10), autoencoder, tmp_path)
            for split in get_args(heldout.Split)
        ),
    )
    for one in shipped:
        plain = {name: share for name, share in one.accuracy.items() if "styled" not in name}
        assert set(plain) == set(one.classes) and min(plain.values()) >= 0.97
    red = render(Clip((Actor("boat", COLOURS["red"]),), "beach", "jumping", seed=4))
    (seen,) = shipped[0].read(torch.from_numpy(red).movedim(-1, 1)[None] / 255)
    assert (seen["noun"], seen["colour"], seen["scene"], seen["motion"]) == (
        "boat",
        "red",
        "beach",
        "jumping",
    )
