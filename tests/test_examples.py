"""The commands behind README's figures run, on a tiny base and with next to no steps."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tiny_models import build_mini

from ccvd_cli.settings import RECIPES, SAMPLING
from ccvd_cli.world import judge

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two steps of everything, judges of a moment; the folder of the tiny base."""
    settings = judge.JudgeSettings(clips=8, steps=1, batch=4, examined=2)
    monkeypatch.setattr(judge, "JudgeSettings", lambda: settings)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind, recipe in RECIPES["mini"].items():
        short = {"token_steps": 1, "adapter_steps": 1, "batch_size": 1, "bottleneck": 0.1}
        monkeypatch.setitem(RECIPES["mini"], kind, recipe.model_copy(update=short))
    sampling = SAMPLING["mini"].model_copy(update={"steps": 1, "frames": 2})
    monkeypatch.setitem(SAMPLING, "mini", sampling)
    return build_mini(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("test", "options", "says"),
    [
        ("together", ("--subjects", "3", "--groups", "1"), "no regions: each in its box"),
        ("three-kinds", ("--groups", "1"), "all three"),
        ("forgetting", ("--prompts", "1"), "fine-tuning, after ten further tasks"),
    ],
)
def test_concepts_together_and_after_others(
    quick: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    test: str,
    options: tuple[str, ...],
    says: str,
) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    line = [test, "--home", str(home), "--out", str(out), "--base", str(quick), "--seeds", "1", *options]
    monkeypatch.setattr(sys, "argv", ["compose.py", *line])
    load("compose").main()
    told = capsys.readouterr().out
    assert says in told and "learning dog-10" in told
    (written,) = out.glob("*.json")
    found = json.loads(written.read_text())
    assert any(says in key for key in found)
    assert len(list(out.glob("*.png"))) == 1
    if test == "forgetting":  # nothing that was learned later reaches what is named
        assert found["named, after ten further tasks"] == found["right after learning"]
    load("compose").main()
    assert "learning dog-10" not in capsys.readouterr().out  # it is in the registry
