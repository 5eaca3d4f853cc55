"""`ccvd evaluate` on a tiny base: what is made, scored, kept and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_material import Ccvd
from tiny_models import build_dino, build_unet3d

from ccvd_cli.commands.examining import open_encoders
from ccvd_cli.measure import encoders, exact
from ccvd_cli.world import heldout

QUICK = ("--steps", 2, "--token-steps", 1, "--batch-size", 1, "--no-preview")
FEW = ("--steps", 1, "--frames", 4, "--count", 2)


@pytest.fixture
def taught(learned: Callable[..., None], captioned: Path, photos: Path, clips: Path) -> Path:
    """A base that can read captions, with a subject V1 and a motion V2 on it."""
    learned(
        ("learn-subject", "--images", photos, "--class-noun", "dog", "--base", captioned, *QUICK),
        ("learn-motion", "--videos", clips, "--class-noun", "tai chi", "--base", captioned, *QUICK),
    )
    return captioned


def test_clips_and_scores_are_kept_and_not_made_again(
    ccvd: Ccvd, taught: Path, cwd: Path, clips: Path
) -> None:
    line = ("evaluate", *FEW, "--seeds", 2, "--references", f"V2={clips}")
    first = ccvd(*line, "--json")
    assert first.code == 0, first.err
    subject, motion = json.loads(first.out)["concepts"]
    assert (subject["concept"], subject["clips"], motion["kind"]) == ("V1", 4, "motion")
    assert set(subject["scores"]) == {"clip_t", "clip_i", "t_cons", "dynamic"}
    assert set(motion["scores"]) == {"clip_t", "motion", "t_cons", "dynamic"}
    for score in subject["scores"].values():
        assert score["low"] <= score["mean"] <= score["high"] and score["count"] == 2  # prompts
    kept = [json.loads(row) for row in (cwd / "evaluation/V1/scores.jsonl").read_text().splitlines()]
    assert len(kept) == 4 and all((cwd / "evaluation/V1" / row["clip"]).exists() for row in kept)
    assert {row["seed"] for row in kept} == {0, 1}

    before = {p: p.stat().st_mtime_ns for p in (cwd / "evaluation").rglob("*.mp4")}
    (cwd / "evaluation/V1" / kept[-1]["clip"]).unlink()
    again = ccvd(*line)
    assert again.code == 0 and "V1" in again.out and "CLIP-I" in again.out
    after = {p: p.stat().st_mtime_ns for p in (cwd / "evaluation").rglob("*.mp4")}
    assert set(after) == set(before)
    assert {p.name for p in after if after[p] != before[p]} == {r["clip"] for r in kept if r["seed"] == 1}
    with (cwd / "evaluation/V1/scores.jsonl").open("ab") as file:
        file.write(b'{"clip": "caf\xe9"}\n{"cut off')
    third = json.loads(ccvd(*line, "--json").out)["concepts"]
    assert {p: p.stat().st_mtime_ns for p in (cwd / "evaluation").rglob("*.mp4")} == after
    assert third[0]["scores"]["clip_i"] == subject["scores"]["clip_i"]


def test_forgetting_compares_with_what_was_asked_alike(ccvd: Ccvd, taught: Path, photos: Path) -> None:
    line = ("evaluate", "V1", *FEW, "--forgetting")
    mean = (*line, "--aggregation", "mean", "--out", "mean")
    for _ in range(2):  # nothing was learned between the two
        for how in (line, mean):
            run = ccvd(*how)
            assert run.code == 0 and "nothing to compare" in run.err, run.err
    learn = ("learn-subject", "--images", photos, "--class-noun", "dog", "--base", taught, *QUICK)
    assert ccvd(*learn, "--lr", "0.3", "--steps", 6).code == 0
    told = json.loads(ccvd(*line, "--json").out)
    lost = told["forgetting"]["clip_i"]
    assert lost["since_first"] == lost["since_best"] == 0  # V1 is named, so nobody joins it
    assert len(lost["histories"]["V1"]) == 2
    run = ccvd(*line)
    assert "F-CLIP-I" in run.out and "+0.000" in run.out
    merged = json.loads(ccvd(*mean, "--json").out)["forgetting"]["clip_i"]
    assert merged["since_first"] != 0 and len(merged["histories"]["V1"]) == 2

    shown = json.loads(ccvd("show", "V1", "--json").out)["evaluations"]
    assert {e["after"] for e in shown} == {2, 3} and "clip_i" in shown[0]["scores"]
    history = ccvd("show", "V1").out.split("EVALUATED")[1]
    assert "AFTER TASK" in history and f"{shown[0]['scores']['clip_i']['mean']:.3f}" in history
    asked_otherwise = ccvd("evaluate", "V1", *FEW, "--seed", 5, "--forgetting", "--json")
    assert json.loads(asked_otherwise.out)["forgetting"]["clip_i"]["since_first"] is None
    assert "V1 is not compared: before, its evaluation had other settings." in asked_otherwise.err
    held = ccvd("evaluate", "V1", *FEW, "--references", f"V1={photos}", "--forgetting")
    assert "V1 is not compared: before, its evaluation had other references" in held.err
    assert "--references V1=DIR" in held.err


def test_prompts_of_a_file_are_asked(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    (cwd / "prompts.txt").write_text("a <V1> dog flying\na <V1> dog at night\n")
    run = ccvd("evaluate", "V1", *FEW[:4], "--prompts", "prompts.txt", "--out", "o")
    assert run.code == 0, run.err
    assert [json.loads(r)["prompt"] for r in (cwd / "o/V1/scores.jsonl").read_text().splitlines()] == [
        "a <V1> dog flying",
        "a <V1> dog at night",
    ]


def test_several_are_asked_together(ccvd: Ccvd, taught: Path, cwd: Path, photos: Path, clips: Path) -> None:
    """In boxes of their own, unless they are to find their places; each held against what it was learned from."""
    learn = ("learn-subject", "--images", photos, "--class-noun", "cat", "--base", taught, *QUICK)
    assert ccvd(*learn).code == 0
    line = ("evaluate", *FEW[:4], "--count", 1, "--together", "--references", f"V2={clips}", "--json")
    run = ccvd(*line)
    assert run.code == 0, run.err
    told = json.loads(run.out)
    assert [row["concept"] for row in told["concepts"]] == ["V1", "V2", "V3"]
    two, moving = told["together"]
    assert (two["concept"], two["kind"], two["clips"]) == ("V1+V3", "two", 1)
    assert (moving["concept"], moving["kind"]) == ("V1+V2", "subject+motion")
    assert set(two["scores"]) == {"clip_t", "clip_i", "t_cons", "dynamic"}
    assert set(moving["scores"]) == {"clip_t", "clip_i", "motion", "t_cons", "dynamic"}
    assert len(two["how"]["settings"]["regions"]) == 2 and not moving["how"]["settings"]["regions"]
    assert len(two["how"]["references"]) == 2

    before = {p: p.stat().st_mtime_ns for p in (cwd / "evaluation").rglob("*.mp4")}
    assert json.loads(ccvd(*line).out) == told  # nothing is made again
    assert {p: p.stat().st_mtime_ns for p in (cwd / "evaluation").rglob("*.mp4")} == before
    alone = json.loads(ccvd(*line, "--no-auto-regions").out)["together"][0]
    assert alone["how"]["settings"]["regions"] == [] and alone["scores"] != two["scores"]
    shown = json.loads(ccvd("show", "V1", "--json").out)["evaluations"]
    assert {e["how"]["prompts"] for e in shown} == {told["concepts"][0]["how"]["prompts"]}


def test_a_file_asks_for_several_too(ccvd: Ccvd, taught: Path, cwd: Path) -> None:
    (cwd / "prompts.txt").write_text(
        "a <V1> dog performing <V2>\na <V1> dog at night\na <V1> dog performing <V2> at sea\n"
    )
    run = ccvd("evaluate", *FEW[:4], "--prompts", "prompts.txt", "--json")
    assert run.code == 0, run.err
    told = json.loads(run.out)
    assert [(row["concept"], row["clips"]) for row in told["concepts"]] == [("V1", 1)]
    assert [(row["concept"], row["clips"]) for row in told["together"]] == [("V1+V2", 2)]
    assert "V1+V2" in ccvd("evaluate", *FEW[:4], "--prompts", "prompts.txt").out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("V9",), "There is no concept 'V9'"),
        (("V1", "--together"), "--together: of V1 no two go together"),
        (("V1", "--together", "--prompts", "nowhere.txt"), "--together: all prompts of 'nowhere.txt'"),
        (("V1", "--prompts", "nowhere.txt"), "nowhere.txt"),
        (("V1", "--prompts", "nowhere.txt", "--count", 3), "--count 3: all prompts of 'nowhere.txt'"),
        (("V1", "--references", "V1"), "--references V1"),
        (("V1", "--references", "V2=."), "--references V2=."),
        (("V1", "--references", "V1=nowhere"), "nowhere"),
        (("V1", "--references", "V1=.", "--references", "V1=."), "has '.' already"),
        (("V1", "--references", "V1=."), "photo"),
        (("V1", "--count", "99"), "99 prompts"),
        (("V1", "--frames", "1"), "--frames 1"),
        (("V1", "--height", "50"), "50"),
        (("V1", "--out", "file"), "--out 'file'"),
        (("V1", "--aggregation", "mean", "--batch", "2"), "--batch 2"),
        (("V1", "--clip", "./nowhere"), "no CLIP"),
        (("V1", "--dino", "./nowhere"), "no DINO"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_made(
    ccvd: Ccvd, taught: Path, cwd: Path, line: tuple[str, ...], says: str
) -> None:
    (cwd / "file").write_text("")
    run = ccvd("evaluate", *line)
    assert run.code == 2 and says in run.err and "Traceback" not in run.err
    assert not (cwd / "evaluation").exists()


def test_a_base_without_an_encoder_of_captions_is_told(
    ccvd: Ccvd, taught: Path, tiny: Path, cwd: Path
) -> None:
    run = ccvd("evaluate", "V1", "--base", tiny)
    assert run.code == 2 and "caption_encoder" in run.err and not (cwd / "evaluation").exists()


def test_a_motion_is_held_against_its_clips_only_if_they_are_given(
    ccvd: Ccvd, taught: Path, clips: Path
) -> None:
    run = ccvd("evaluate", "V2", *FEW, "--json")
    assert run.code == 0 and "--references V2=DIR" in run.err
    assert "motion" not in json.loads(run.out)["concepts"][0]["scores"]
    (clip, *_) = sorted(clips.glob("*.mp4"))
    one = ccvd("evaluate", "V2", *FEW, "--json", "--references", f"V2={clip}")
    assert one.code == 0 and "motion" in json.loads(one.out)["concepts"][0]["scores"], one.err
    none = ccvd("evaluate", "V2", *FEW, "--references", "V2=nowhere.mp4")
    assert none.code == 2 and "there is no 'nowhere.mp4'" in none.err


def test_what_dino_sees_is_not_kept_so_it_is_said_to_be_missing(
    ccvd: Ccvd, taught: Path, photos: Path, tmp_path: Path
) -> None:
    build_dino(tmp_path / "dino")
    line = ("evaluate", "V1", *FEW, "--json", "--dino", tmp_path / "dino")
    without = ccvd(*line)
    assert without.code == 0 and "V1: no DINO-I, which needs what it was learned from" in without.err
    assert "dino_i" not in json.loads(without.out)["concepts"][0]["scores"]
    given = ccvd(*line, "--references", f"V1={photos}")
    assert given.code == 0 and "no DINO-I" not in given.err
    assert "dino_i" in json.loads(given.out)["concepts"][0]["scores"]


def test_a_real_base_is_measured_by_dino_unless_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    base: Any = SimpleNamespace(family="wan", device="cpu")
    monkeypatch.setattr(encoders, "OpenClip", lambda *_: SimpleNamespace(texts=lambda _: None))
    monkeypatch.setattr(encoders, "Dino", lambda source, _: source)
    assert open_encoders(base).dino == encoders.DINO
    assert open_encoders(base, dino_source="other/dino").dino == "other/dino"
    assert open_encoders(base, dino_source="none").dino is None


def test_an_empty_registry_has_nothing_to_measure(ccvd: Ccvd) -> None:
    run = ccvd("evaluate")
    assert run.code == 2 and "no concepts" in run.err


def test_what_can_be_known_is_scored_exactly_where_it_is_asked_for(
    ccvd: Ccvd, taught: Path, cwd: Path, junior: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ccvd("world", "subject", "--index", 4, "--out", "rex", "--count", 2).code == 0
    line = ("evaluate", "V1", *FEW, "--references", "V1=rex", "--json")
    (plain,) = json.loads(ccvd(*line).out)["concepts"]
    rows = (cwd / "evaluation/V1/scores.jsonl").read_text()
    monkeypatch.setattr(exact, "TRUSTED", 0.0)
    run = ccvd(*line, "--exact")
    assert run.code == 0, run.err
    assert "training judge" in run.err
    (row,) = json.loads(run.out)["concepts"]
    assert {"identity", "nearest", "scene", "motion_class"} <= set(row["scores"])
    assert "noun" not in row["scores"]  # its judge is right too seldom about who was held out
    assert 0 <= row["scores"]["identity"]["judge"] <= 1 and "judge" not in row["scores"]["clip_i"]
    assert row["how"]["truth"] == {"subject": heldout.subject(4).name}
    assert set(row["encoders"]) > set(plain["encoders"])

    kept = (cwd / "evaluation/V1/scores.jsonl").read_text()
    assert kept.startswith(rows) and len(kept.splitlines()) == 4
    told = ccvd(*line[:-1], "--exact")
    assert "training judge" not in told.err and "; judge " in told.out and "IDENTITY" in told.out
    assert (cwd / "evaluation/V1/scores.jsonl").read_text() == kept
    (again,) = json.loads(ccvd(*line).out)["concepts"]
    assert again == plain  # who does not ask is answered as before
    (of_before, exactly) = json.loads(ccvd("show", "V1", "--json").out)["history"]
    assert (of_before["metric"], exactly["metric"]) == ("clip_i", "identity")


def test_a_judge_that_is_right_too_seldom_is_not_asked(
    ccvd: Ccvd, taught: Path, junior: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "TRUSTED", 1.01)
    run = ccvd("evaluate", "V2", *FEW, "--exact", "--json")
    assert run.code == 0, run.err
    assert "V2: not scored, since judges are right too seldom: " in run.err and "noun (" in run.err
    assert "what `ccvd world motion` drew: --references V2=DIR" in run.err
    assert "noun" not in json.loads(run.out)["concepts"][0]["scores"]


def test_a_real_base_knows_nothing_exactly(
    ccvd: Ccvd, teach: Callable[..., None], tmp_path: Path, cwd: Path
) -> None:
    teach("V8", base="real")
    run = ccvd("evaluate", "V8", "--base", build_unet3d(tmp_path / "real"), "--exact")
    assert run.code == 2 and "--exact" in run.err and not (cwd / "evaluation").exists()
