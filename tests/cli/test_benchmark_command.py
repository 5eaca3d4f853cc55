"""`ccvd benchmark` on a tiny base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_material import Ccvd
from PIL import Image, ImageSequence
from tiny_models import build_mini, with_captions

from ccvd_cli.commands.benchmark import recipes
from ccvd_cli.measure import streams
from ccvd_cli.measure.methods.ewc import EwcSettings
from ccvd_cli.settings import RECIPES
from ccvd_cli.world import judge_making

QUICK = ("--steps", 1, "--frames", 4, "--prompts", 1, "--effort", 0.005)


@pytest.fixture
def captioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base that reads captions; judges of a moment, and a toy stream of two tasks."""
    settings = judge_making.JudgeSettings(clips=8, steps=1, batch=4, examined=2)
    monkeypatch.setattr(judge_making, "JudgeSettings", lambda: settings)
    monkeypatch.setitem(streams.TOY, "toy10", streams.TOY["toy10"]._replace(tasks=2))
    return with_captions(build_mini(tmp_path / "tiny"))


def test_methods_learn_as_they_were_measured() -> None:
    """What came later is off for all, and would not show in run.json."""
    usual, taken = RECIPES["mini"], recipes("mini")
    assert usual["subject"].outline_masks and usual["motion"].find_path
    for kind, recipe in taken.items():
        later = dict.fromkeys(("outline_masks", "find_path"), False)
        assert recipe == usual[kind].model_copy(update=later)


def test_methods_go_through_a_stream_and_are_told(ccvd: Ccvd, captioned: Path, cwd: Path) -> None:
    line = (
        "benchmark",
        "--methods",
        "ccvd,finetune",
        "--ablate",
        "noise,regions",
        "--base",
        captioned,
        *QUICK,
    )
    first = ccvd(*line, "--json")
    assert first.code == 0, first.err
    ours, tuned = json.loads(first.out)
    assert (ours["method"], tuned["method"]) == ("ccvd without regions, noise", "finetune")
    assert ours["forgotten"]["clip_t"]["since_first"] == 0
    assert "1. sepia in" in first.err and "about 0 s left" in first.err
    assert "Not scored: " in first.err  # by judges that have learned nothing
    (result,) = (cwd / "benchmark" / "toy10" / "finetune" / "seed0").glob("02-*.json")
    found = json.loads(result.read_text())
    assert set(found["scores"]) == {"sepia", "fish-30"} and found["composed"].keys() == {"subject+style"}
    again = ccvd(*line)
    assert again.code == 0 and "in 0 s" not in again.err and "learning" not in again.err
    table = ccvd("benchmark", "--table")
    assert table.code == 0 and table.out == again.out
    for which in (("--methods", "ccvd,finetune"), ("--methods", "all"), ("--stream", "toy10")):
        assert ccvd("benchmark", "--table", *which).out == table.out
    tuned_alone = ccvd("benchmark", "--table", "--methods", "finetune")
    assert tuned_alone.out.splitlines()[0].split() == ["TOY10", "finetune"]
    for which in (("--methods", "ewc"), ("--methods", "ccvd", "--stream", "toy35")):
        none = ccvd("benchmark", "--table", *which)
        assert none.code == 2 and f"{which[-2]} {which[-1]}: " in none.err
    head, *rows = table.out.splitlines()
    assert head.split() == ["TOY10", "ccvd", "without", "regions,", "noise", "finetune"]
    assert rows[0].split() == ["seeds", "1", "1"] and "TOGETHER: a subject in a style" in rows
    lost = rows.index("FORGOTTEN since learned / since best")
    assert rows[lost + 1].split()[:4] == ["CLIP-T", "+0.000", "/", "+0.000"]
    drawn = ccvd("benchmark", "--table", "--sheet", "methods.png")
    assert drawn.code == 0 and "Sheet: methods.png" in drawn.err, drawn.err
    with Image.open("methods.png") as sheet:  # a prompt of a concept and one of two together, by both methods
        assert sheet.size[0] == 3 * (4 * 65 + 6) + 6 and sheet.size[1] > 2 * 64
    joined = ccvd("benchmark", "--methods", "finetune", "--base", captioned, *QUICK, "--sheet", "one.png")
    assert joined.code == 0 and Path("one.png").exists(), joined.err
    page = ccvd("report", "--benchmark", "benchmark", "--json")
    assert page.code == 0 and json.loads(page.out)["skipped"] == 0, page.err
    shown = Path("report.html").read_text()
    assert "ccvd without regions, noise" in shown and shown.count("data:video/mp4") > 1


def test_a_methods_own_settings_can_be_changed(ccvd: Ccvd, captioned: Path, cwd: Path) -> None:
    line = ("benchmark", "--methods", "ewc", "--base", captioned, *QUICK)
    assert ccvd(*line).code == 0
    changed = ccvd(*line, "--set", "ewc.samples=2", "--set", "ewc.weight=3")
    assert changed.code == 0, changed.err
    as_usual = ccvd(*line, "--set", f"ewc.weight={EwcSettings().weight}")
    assert as_usual.code == 0 and "learning" not in as_usual.err  # it is what ewc did before
    of_method = cwd / "benchmark" / "toy10" / "ewc-weight=3.0-samples=2" / "seed0"
    settings = json.loads((of_method / "run.json").read_text())["method"]
    assert settings == {"weight": 3.0, "samples": 2}
    both = json.loads(ccvd("benchmark", "--table", "--methods", "ewc", "--json").out)
    assert [one["method"] for one in both] == ["ewc", "ewc with weight 3.0, samples 2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--methods", "ccvd,magic"], "unknown 'magic'"),
        (["--ablate", "luck"], "unknown 'luck'"),
        (["--methods", "ewc", "--ablate", "noise"], "of ccvd alone"),
        (["--shard", "5/4"], "--shard 5/4"),
        (["--shard", "2/2"], "--shard 2/2: there is 1 run"),
        (["--methods", "ccvd,ewc", "--shard", "4/4"], "Share them among 2 at most"),
        (["--stream", "toy11"], "no such stream"),
        (["--effort", "0"], "--effort 0.0"),
        (["--height", "32"], "the world draws 64x64"),
        (
            ["--style-guidance", "2"],
            "--style-guidance 2.0: who acts, and how much, is what methods differ in",
        ),
        (
            ["--path-strength", "1"],
            "--path-strength 1.0: who acts, and how much, is what methods differ in",
        ),
        (["--table"], "no results"),
        (["--set", "ewc.weight=1"], "'ewc' is not among --methods"),
        (["--methods", "ewc", "--set", "ewc.luck=1"], "It has weight, samples"),
        (["--methods", "joint", "--set", "joint.luck=1"], "joint has no setting 'luck'"),
        (["--methods", "ewc", "--set", "ewc.weight=-1"], "--set ewc.weight=-1: should be greater"),
        (["--methods", "ewc", "--set", "ewc.weight"], "--set ewc.weight: not METHOD.NAME=VALUE"),
        (["--methods", "ewc", "--set", "ewc=2"], "--set ewc=2: not METHOD.NAME=VALUE"),
        (
            ["--methods", "ewc", "--set", "ewc.weight=1", "--set", "ewc.weight=2"],
            "--set ewc.weight is given twice",
        ),
        (["--methods", "l2dm", "--set", "l2dm.kept=50"], "--set l2dm.kept=50: 50 of 8 candidates"),
        (
            ["--methods", "ewc", "--set", "ewc.samples=1.5"],
            "--set ewc.samples=1.5: should be a valid integer",
        ),
        (["--table", "--set", "ewc.weight=1"], "--set ewc.weight=1: --table runs nothing"),
        (["--table", "--seeds", "3"], "--seeds 3: --table runs nothing"),
        (["--table", "--ablate", "luck"], "--ablate luck: --table runs nothing"),
        (["--table", "--steps", "5"], "--steps 5: --table runs nothing"),
        (["--table", "--base", "mini"], "--base mini: --table runs nothing"),
        (["--out", "file"], "not a folder"),
        (["--sheet", "methods.png"], "ccvd would be alone on it"),
        (["--sheet", "methods.jpg"], "--sheet 'methods.jpg' is not a PNG"),
    ],
)
def test_what_is_asked_wrongly_is_told_before_a_base_is_loaded(
    ccvd: Ccvd, cwd: Path, arguments: list[str], says: str
) -> None:
    (cwd / "file").touch()
    run = ccvd("benchmark", *arguments)
    assert run.code == 2 and says in run.err and "Loading" not in run.err


def test_what_is_asked_of_all_methods_is_asked_of_how_they_place_subjects(
    ccvd: Ccvd, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        streams.TOY, "toy10", streams.TOY["toy10"]._replace(tasks=4)
    )  # two subjects among them
    assert ccvd("benchmark", "--methods", "ccvd,joint", "--base", captioned, *QUICK).code == 0
    runs = ",".join(f"benchmark/toy10/{name}/seed0" for name in ("ccvd", "joint"))
    line = (
        "compare",
        "a <fish-30> fish and a <dog-38> dog",
        "--with",
        runs,
        "--base",
        captioned,
        "--seed",
        1,
    )
    few = ("--steps", 1, "--frames", 2, "--out", "pair.gif")
    small = ("--height", 32, "--width", 32)  # this base's own size, in which it has windows
    for more, width in (((), 64), (small, 56), ((*small, "--no-windows"), 32)):
        run = ccvd(*line, *few, *more)
        assert run.code == 0, run.err
        with Image.open("pair.gif") as film:
            assert film.width == 4 * (2 * width + 4), more


def test_what_is_not_counted_is_told_however_little_is_said(ccvd: Ccvd, captioned: Path, cwd: Path) -> None:
    assert ccvd("benchmark", "--methods", "joint", "--base", captioned, *QUICK).code == 0
    (last,) = (cwd / "benchmark/toy10/joint/seed0").glob("02-*.json")
    last.unlink()
    run = ccvd("benchmark", "--table", "--quiet")
    assert run.code == 0 and "joint: 1 unfinished, not counted" in run.err, run.err


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "holds no task"),
        ("subject,rex,dog,rex\nsubject,Rex,cat,rex\n", "Rex"),
        ("subject,rex,dog,nowhere\n", "nothing to learn rex ('nowhere')"),
    ],
)
def test_a_stream_of_nonsense_is_told_before_a_base_is_loaded(
    ccvd: Ccvd, cwd: Path, rows: str, says: str
) -> None:
    (cwd / "rex").mkdir()
    Image.new("RGB", (64, 64)).save(cwd / "rex" / "0.png")
    (cwd / "tasks.csv").write_text("kind,name,class_noun,folder\n" + rows)
    run = ccvd("benchmark", "--stream", "tasks.csv")
    assert run.code == 2 and says in run.err and "Loading" not in run.err, run.err
    assert not (cwd / "benchmark").exists()


def test_a_base_without_encoders_is_told_before_anything_is_learned(
    ccvd: Ccvd, tiny: Path, cwd: Path
) -> None:
    run = ccvd("benchmark", "--base", tiny, *QUICK)
    assert run.code == 2 and "caption_encoder" in run.err and "--clip" in run.err, run.err
    assert not (cwd / "benchmark").exists()


def test_methods_are_compared_with_what_they_have_learned(
    ccvd: Ccvd, captioned: Path, cwd: Path, tmp_path: Path
) -> None:
    assert ccvd("benchmark", "--methods", "ccvd,finetune,ewc", "--base", captioned, *QUICK).code == 0
    runs = [f"benchmark/toy10/{name}/seed0" for name in ("ccvd", "finetune")]
    few = ("--base", captioned, "--seed", 4, "--steps", 2, "--frames", 3, "--guidance-scale", 3)
    said = "a <fish-30> fish in <sepia> style"
    line = ("compare", said, "--with", ",".join(runs), *few)
    run = ccvd(*line, "--out", "out/c.gif", "--json")
    assert run.code == 0, run.err
    assert json.loads(run.out)["ways"] == ["ccvd, seed 0", "finetune, seed 0"]
    with Image.open("out/c.gif") as film:
        frames = [np.asarray(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(film)]
    ours, theirs = (frames[-1][:, k * 68 * 4 :][:, : 64 * 4] for k in (0, 1))
    assert len(frames) == 3 and Path("out/c.png").exists() and np.abs(ours - theirs).mean() > 0.2
    before = (cwd / "out/c.gif").read_bytes()
    assert ccvd(*line, "--out", "out/c.gif").code == 0 and (cwd / "out/c.gif").read_bytes() == before

    for changed, says in (
        (("compare", "a <V9> dog", *line[2:]), "does not know <V9>"),
        (("compare", "a fish performing <sepia>", *line[2:]), "sepia is a style"),
        ((*line[:3], f"{runs[0]},default", *few), "'default' is no run"),
        ((*line[:3], f"{runs[0]},benchmark/toy10", *few), "is no run of a benchmark"),
        ((*line, "--aggregation", "mean"), "who acts"),
        ((*line, "--explain"), "--explain"),
    ):
        run = ccvd(*changed, "--out", "no.gif")
        assert run.code == 2 and says in run.err and not Path("no.gif").exists(), (changed, run.err)
    other = with_captions(build_mini(tmp_path / "other", seed=5))
    run = ccvd(*line[:4], "--base", other, *few[2:], "--out", "no.gif")
    assert run.code == 2 and "another base" in run.err, run.err
    state = cwd / runs[1] / "state"
    state.rename(state.with_name("gone"))
    run = ccvd(*line, "--out", "no.gif")
    assert run.code == 2 and "not what was learned for them" in run.err, run.err
    for result in (cwd / runs[1]).glob("[0-9]*.json"):
        result.rename(result.with_suffix(".gone"))
    run = ccvd(*line, "--out", "no.gif")
    assert run.code == 2 and "has learned nothing yet" in run.err, run.err
    state.with_name("gone").rename(state)
    twice = ccvd(*line[:3], f"{runs[0]},benchmark/toy10/../toy10/ccvd/seed0", *few, "--out", "no.gif")
    assert twice.code == 2 and "given twice" in twice.err, twice.err
    shutil.copytree("benchmark", "before")
    both = (*line[:3], f"{runs[0]},before/toy10/ccvd/seed0", *few, "--out", "both.gif", "--json")
    run = ccvd(*both)
    assert run.code == 0, run.err
    assert json.loads(run.out)["ways"] == ["benchmark/toy10/ccvd, seed 0", "before/toy10/ccvd, seed 0"]
    (cwd / runs[1] / "run.json").write_text('{"method": {}, "tasks": 3}')
    run = ccvd(*line, "--out", "no.gif")
    assert run.code == 2 and "another version" in run.err, run.err
