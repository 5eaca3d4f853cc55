"""`--evaluate` of the learning commands: scored as `ccvd evaluate` would, and never at the concept's cost."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_material import QUICK, Ccvd
from tiny_models import build_unet3d

from ccvd_cli.commands import asking
from ccvd_cli.engine import cotrain, learn
from ccvd_cli.measure import evaluate as measuring
from ccvd_cli.measure import exact
from ccvd_cli.settings import SAMPLING

SMALL = {"steps": 1, "frames": 3, "height": 32, "width": 32}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLING, "mini", SAMPLING["mini"].model_copy(update=SMALL))


def going_on(said: str) -> list[str]:
    """The arguments of the command that an interrupted scoring names."""
    (line,) = [line for line in said.splitlines() if "To go on: " in line]
    program, *arguments = shlex.split(line.partition("To go on: ")[2])
    assert program == "ccvd"
    return arguments


def made(cwd: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (cwd / "evaluation").rglob("*.mp4")}


@pytest.mark.parametrize("kind", ["subject", "motion", "style"])
def test_it_is_scored_as_evaluate_would(
    ccvd: Ccvd, captioned: Path, photos: Path, clips: Path, cwd: Path, kind: str
) -> None:
    source = clips if kind == "motion" else photos
    option = "--videos" if kind == "motion" else "--images"
    line = (f"learn-{kind}", option, source, "--base", captioned, *QUICK, "--no-preview", "--evaluate")
    run = ccvd(*line, "--seed", 3, "--json")
    assert run.code == 0, run.err
    told = json.loads(run.out)
    scores = told["evaluation"]["scores"]
    assert ("motion" if kind == "motion" else "clip_i") in scores and scores["clip_t"]["count"] == 8
    before = made(cwd)
    assert len(before) == 8
    held = (
        ("--references", f"V1={source}") if kind == "motion" else ()
    )  # pictures: what the concept keeps of them
    again = ccvd("evaluate", "V1", *held, "--forgetting", "--json")
    assert json.loads(again.out)["forgetting"]["clip_t"]["histories"]["V1"], again.err
    (row,) = json.loads(again.out)["concepts"]
    assert made(cwd) == before
    assert {key: row[key] for key in ("how", "scores")} == {
        key: told["evaluation"][key] for key in ("how", "scores")
    }
    past = json.loads(ccvd("show", "V1", "--json").out)["evaluations"]
    assert len(past) == 2 and past[0]["how"] == past[1]["how"] and past[0]["scores"] == scores


def test_several_are_all_scored_and_told(ccvd: Ccvd, captioned: Path, photos: Path, cwd: Path) -> None:
    shutil.copytree(photos, cwd / "others")
    (cwd / "others/0.jpg").unlink()
    run = ccvd(
        *("learn-subject", "--images", photos, "--images", "others", "--base", captioned, *QUICK),
        *("--no-preview", "--evaluate", "--height", 40, "--width", 40),
    )
    assert (run.code, run.out) == (0, "V1\nV2\n"), run.err
    assert "Scores of V1, 8 clips: CLIP-T " in run.err and "Scores of V2, 8 clips: CLIP-T " in run.err
    assert len(made(cwd)) == 16
    hows = [json.loads(ccvd("show", name, "--json").out)["evaluations"][0]["how"] for name in ("V1", "V2")]
    assert hows[0]["references"] != hows[1]["references"]
    assert [how["settings"]["height"] for how in hows] == [40, 40]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("odd"), 1)])
def test_whatever_happens_then_the_concepts_are_kept_and_it_is_said_how_to_go_on(
    ccvd: Ccvd,
    captioned: Path,
    photos: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    real, calls = measuring.evaluate, []

    def fails(*arguments, **named):  # type: ignore[no-untyped-def]
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return real(*arguments, **named)

    both = ("learn-subject", "--images", photos, "--images", photos, "--base", captioned, *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "evaluate", fails)
        run = ccvd(*both, "--no-preview", "--evaluate", "--json", "--quiet", "--width", 40)
    assert run.code == code
    first, second = json.loads(run.out)
    assert first["evaluation"]["clips"] == 8 and second["evaluation"] is None
    assert len(json.loads(ccvd("list", "concepts", "--json").out)) == 2
    before = made(cwd)
    on = ccvd(*going_on(run.err), "--json")
    assert on.code == 0, on.err
    assert before.items() <= made(cwd).items() and len(made(cwd)) == 16
    assert json.loads(on.out)["concepts"][0]["scores"] == first["evaluation"]["scores"]


@pytest.mark.parametrize(
    ("case", "code", "says"),
    [
        ("no open_clip", 1, "`open_clip` is not installed"),
        ("no captions", 2, "caption_encoder"),
        ("no judges", 2, "--exact: "),
        ("a file", 2, "'evaluation' is not a folder"),
        ("a file within", 2, "V1' is not a folder"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_learned(
    ccvd: Ccvd,
    tiny: Path,
    captioned: Path,
    photos: Path,
    cwd: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(learn, "learn_subject", None)  # must not be reached
    monkeypatch.setattr(cotrain, "learn_subjects_together", None)
    real = tmp_path / "real"
    base = {"no open_clip": real, "no judges": real, "no captions": tiny}.get(case, captioned)
    if case in ("no open_clip", "no judges"):
        build_unet3d(base)
    if case == "no open_clip":
        monkeypatch.setattr(asking.importlib.util, "find_spec", lambda name: None)
    if case == "a file":
        (cwd / "evaluation").write_text("")
    if case == "a file within":
        (cwd / "evaluation").mkdir()
        (cwd / "evaluation/V1").write_text("")
    line = ("learn-subject", "--images", photos, "--base", base, *QUICK, "--no-preview", "--evaluate")
    run = ccvd(*line, *["--exact"] * (case == "no judges"))
    assert (run.code, run.out) == (code, "") and says in run.err and "Traceback" not in run.err
    assert json.loads(ccvd("list", "concepts", "--json").out) == []


def test_judges_are_asked_as_evaluate_would_ask_them(
    ccvd: Ccvd, captioned: Path, cwd: Path, junior: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "TRUSTED", 0.0)
    assert ccvd("world", "subject", "--index", 4, "--out", "rex", "--count", 3).code == 0
    line = ("learn-subject", "--images", "rex", "--base", captioned, *QUICK, "--no-preview", "--evaluate")
    run = ccvd(*line, "--exact", "--json")
    assert run.code == 0, run.err
    then = json.loads(run.out)["evaluation"]
    assert {"identity", "nearest", "clip_i"} <= set(then["scores"])
    before = made(cwd)
    again = ccvd("evaluate", "V1", "--references", "V1=rex", "--exact", "--forgetting", "--json")
    found = json.loads(again.out)
    assert made(cwd) == before and found["concepts"][0]["how"] == then["how"]
    assert len(found["forgetting"]["identity"]["histories"]["V1"]) == 1


def test_whoever_goes_on_is_judged_too(
    ccvd: Ccvd, captioned: Path, junior: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "TRUSTED", 0.0)
    assert ccvd("world", "subject", "--index", 4, "--out", "rex", "--count", 3).code == 0
    line = ("learn-subject", "--images", "rex", "--base", captioned, *QUICK, "--no-preview", "--evaluate")

    def fails(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "evaluate", fails)
        run = ccvd(*line, "--exact")
    on = ccvd(*going_on(run.err), "--json")
    assert on.code == 0 and "identity" in json.loads(on.out)["concepts"][0]["scores"], on.err


def test_photos_of_anybody_are_judged_but_not_who_they_show(
    ccvd: Ccvd, captioned: Path, photos: Path, junior: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "TRUSTED", 0.0)
    line = ("learn-subject", "--images", photos, "--base", captioned, *QUICK, "--no-preview", "--evaluate")
    run = ccvd(*line, "--exact", "--json")
    assert run.code == 0 and "V1: whether it is the subject itself is not judged" in run.err, run.err
    assert "--references" not in run.err
    scores = json.loads(run.out)["evaluation"]["scores"]
    assert "scene" in scores and "identity" not in scores


def test_exact_says_how_it_is_scored_so_it_must_be(ccvd: Ccvd, captioned: Path, photos: Path) -> None:
    run = ccvd("learn-subject", "--images", photos, "--base", captioned, "--exact")
    assert (run.code, run.out) == (2, "") and "--evaluate" in run.err


def test_nobody_is_scored_who_did_not_ask(
    ccvd: Ccvd, teach: Callable[..., None], captioned: Path, photos: Path, cwd: Path
) -> None:
    run = ccvd("learn-subject", "--images", photos, "--base", captioned, *QUICK, "--no-preview", "--json")
    assert run.code == 0 and "evaluation" not in json.loads(run.out) and not list(cwd.iterdir())
