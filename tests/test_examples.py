"""The commands behind the figures of examples/README.md run, on a tiny base and with next to no steps."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from tiny_models import build_mini, with_captions

from ccvd_cli.commands.benchmark import recipes
from ccvd_cli.measure import exact
from ccvd_cli.measure.benchmark import dumped
from ccvd_cli.measure.evaluate import FORMAT as SCORING
from ccvd_cli.measure.methods import LESSONS, METHODS, method_in
from ccvd_cli.measure.results import read, standings
from ccvd_cli.settings import RECIPES, SAMPLING
from ccvd_cli.world import judge_making

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two steps of everything, judges of a moment; the folder of the tiny base."""
    settings = judge_making.JudgeSettings(clips=8, steps=1, batch=4, examined=2)
    monkeypatch.setattr(judge_making, "JudgeSettings", lambda: settings)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind, recipe in RECIPES["mini"].items():
        short = {"token_steps": 1, "adapter_steps": 1, "batch_size": 1, "bottleneck": 0.1}
        monkeypatch.setitem(RECIPES["mini"], kind, recipe.model_copy(update=short))
    sampling = SAMPLING["mini"].model_copy(update={"steps": 1, "frames": 2})
    monkeypatch.setitem(SAMPLING, "mini", sampling)
    return build_mini(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("program", "test", "concept", "says"),
    [
        ("heldout", "subjects", "dog-10", "nearest of the ten"),
        ("heldout", "motions", "zigzagging", "by whom was asked"),
        ("heldout", "styles", "sepia", "moves as asked"),
        ("compose", "three", "dog-10", "no regions: each in its box"),
        ("compose", "two-kinds", "dog-10", "nobody led: all of it (subject: nearest)"),
        ("compose", "three-kinds", "dog-10", "default: all of it (subject: nearest)"),
        ("compose", "merged", "dog-10", "mean: nearest of ten"),
    ],
)
def test_what_measures_concepts(
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str,
    test: str,
    concept: str,
    says: str,
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    line = [program, test, "--home", str(home), "--out", str(out), "--base", str(quick), "--seeds", "1"]
    line += ["--prompts", "1", "--concepts", "1"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.syspath_prepend(EXAMPLES)
    module = import_module(program)
    module.measure(module.MEASUREMENTS, "")
    told = capsys.readouterr().out
    assert says in told and f"learned {concept}" in told
    (written,) = out.glob("*.json")
    found = json.loads(written.read_text())
    right, total = found["rates"][says]
    assert 0 <= right <= total >= 1
    assert len(list(out.glob("*.png"))) == 1
    module.measure(module.MEASUREMENTS, "")
    assert f"learned {concept}" not in capsys.readouterr().out  # it is in the registry
    for other in (["--recipe", '{"seed": 1}'], ["--masks"] * (concept == "dog-10")):
        monkeypatch.setattr(sys, "argv", [*line, *other])
        if other:
            with pytest.raises(SystemExit, match=concept):
                module.measure(module.MEASUREMENTS, "")


def test_pairs_are_learned_side_by_side(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compose", "two", "--home", str(tmp_path / "home"), "--out", str(tmp_path), "--base", str(quick)]
    monkeypatch.setattr(
        sys, "argv", [*line, "--seeds", "1", "--concepts", "1", "--pairs", "--masks", "--conditions", "1"]
    )
    monkeypatch.syspath_prepend(EXAMPLES)
    module = import_module("compose")
    module.measure(module.MEASUREMENTS, "")
    told = capsys.readouterr().out
    assert "learned dog-10 and fish-11" in told
    assert "regions: each in its box" in told and "no regions" not in told  # one condition was asked for


def test_masks_are_found_by_a_base_that_has_learned_nothing_too(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "heldout",
        "masks",
        "--home",
        str(tmp_path / "home"),
        "--out",
        str(tmp_path),
        "--base",
        str(quick),
    ]
    monkeypatch.setattr(sys, "argv", [*line, "--concepts", "1"])
    monkeypatch.syspath_prepend(EXAMPLES)
    module = import_module("heldout")
    module.measure(module.MEASUREMENTS, "")
    assert capsys.readouterr().out.count("of the subjects are found") == 3
    found = json.loads((tmp_path / "masks.json").read_text())
    for label in ("the noun", "a thing", "the noun, in whole cells"):
        covered, alike = found[label].values()
        assert 0 <= alike <= covered <= 1
    assert (tmp_path / "masks.png").exists()


def test_rendered_truth_is_scored_as_clips_are(
    quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["truth", "--base", str(with_captions(quick)), "--prompts", "1", "--json"]
    )
    monkeypatch.setattr(exact, "TRUSTED", 0.0)  # judges of a moment
    monkeypatch.syspath_prepend(EXAMPLES)
    import_module("truth").main()
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"all", "subject", "motion", "style", "frozen"}
    assert told["frozen"]["dynamic"] == 0 and told["frozen"]["t_cons"] == pytest.approx(1)
    assert (
        told["frozen"]["path"] < told["all"]["path"] and told["frozen"]["motion"] == 0 < told["all"]["motion"]
    )
    assert {"clip_t", "clip_i", "identity"} <= set(told["subject"]) and "motion" in told["motion"]
    subjects, styles = told["subject"]["clip_i"], told["style"]["clip_i"]
    assert told["all"]["clip_i"] == pytest.approx((6 * subjects + 2 * styles) / 8, abs=2e-3)


@pytest.mark.parametrize("stream", ["toy10", "toy35"])
def test_whatever_ours_is_not_best_in_is_told(
    stream: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["verdicts", "--stream", stream])
    monkeypatch.syspath_prepend(EXAMPLES)
    import_module("verdicts").main()
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in told


def test_verdicts_are_of_who_has_more_and_of_who_learns_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    rows = import_module("verdicts").rows
    scores = {
        "ccvd": {"identity": 0.80, "clip_i": 0.50, "style": 0.969, "nearest": 0.98},
        "ewc": {"identity": 0.90, "clip_i": 0.40, "style": 0.5, "nearest": 0.98},
        "joint": {"identity": 0.81, "clip_i": 0.50, "style": 1.0, "nearest": 0.99},
    }
    assert list(rows("ccvd", scores)) == [
        "IDENTITY | 0.800 | 0.900 (`ewc`) |  |",
        "STYLE | 0.969 |  | 1.000 |",
    ]
    below_zero = {"ccvd": {"clip_t": -0.2}, "joint": {"clip_t": -0.1}}
    assert list(rows("ccvd", below_zero)) == ["CLIP-T | -0.200 |  | -0.100 |"]


COMPOSED = (
    ("two", "in_box"),
    ("two", "in_box_nearest"),
    ("three", "in_box"),
    ("three", "in_box_nearest"),
    ("subject+motion", "nearest"),
    ("subject+motion", "motion_class"),
    ("subject+style", "motion_class"),
    ("subject+style", "style"),
)


@pytest.mark.parametrize("stream", ["toy10", "toy35"])
def test_rendered_truth_is_told_beside_the_results(stream: str) -> None:
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    found = json.loads((EXAMPLES / "benchmark" / stream / "truth.json").read_text())["all"]
    cells = ["identity", "nearest", "clip_i", "motion_class", "motion", "style", "clip_t"]
    row = [f"{found[m]:.3f}" if m in ("clip_i", "motion", "clip_t") else f"{found[m]:.0%}" for m in cells]
    assert " | ".join(["| rendered truth", *row]) + " | | | |" in told


def test_results_in_the_tree_are_of_methods_as_they_are_now() -> None:
    """Of another lesson or another loss, nothing could be run beside them."""
    runs = list((EXAMPLES / "benchmark").glob("*/*/seed*/run.json"))
    assert len(runs) >= 15
    for path in runs:
        about, name = json.loads(path.read_text()), method_in(path.parents[1].name)
        assert name and (about.get("revision") or 1) == METHODS[name].revision, path
        assert (about["lessons"], about["scoring"]) == (LESSONS, SCORING), path
        assert about["recipes"] == {
            kind: dumped(recipe, "seed") for kind, recipe in recipes("mini").items()
        }, path


KINDS, FIT = ("two", "three", "subject+motion", "subject+style"), ("clip_t", "clip_i")


def test_results_in_the_tree_are_whole_and_told_beside_them() -> None:
    found, wrong = read(EXAMPLES / "benchmark")
    told = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert not wrong
    for standing in standings(found):
        scores, lost = standing.scores, standing.forgotten
        assert standing.stream in ("toy10", "toy35") and (standing.seeds, standing.unfinished) == (1, 0)
        row = [
            *(f"{scores[m].mean:.0%}" for m in ("identity", "nearest")),
            f"{scores['clip_i'].mean:.3f}",
            f"{scores['motion_class'].mean:.0%}",
            f"{scores['motion'].mean:.3f}",
            f"{scores['style'].mean:.0%}",
            f"{scores['clip_t'].mean:.3f}",
            f"{100 * lost['identity'].since_first:.0f}",
            f"{lost['clip_i'].since_first:.3f}",
            f"{100 * lost['style'].since_first:.0f}",
        ]
        row = ["0" if cell == "-0" else cell for cell in row]
        assert " | ".join([f"| `{standing.method}`", *row]) + " |" in told
        shares = [f"{standing.composed[kind][metric].mean:.0%}" for kind, metric in COMPOSED]
        assert " | ".join([f"| `{standing.method}`", *shares]) + " |" in told
        fit = [f"{of[metric].mean:.3f}" for of in map(standing.composed.get, KINDS) for metric in FIT]
        assert " | ".join([f"| `{standing.method}`", *fit]) + " |" in told
