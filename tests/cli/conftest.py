from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_material import Ccvd, Run
from PIL import Image
from tiny_models import build_mini, with_captions

from ccvd_cli.__main__ import main
from ccvd_cli.commands import storing
from ccvd_cli.world import judge_making
from ccvd_registry import BaseFacts, NewConcept, Registry


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that cannot be written to is not waited for, as somebody who learned for an hour would wait."""
    monkeypatch.setattr(storing, "_PATIENCE", 0.2)
    monkeypatch.setattr(storing, "_AGAIN", 0.05)


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def ccvd(cwd: Path, capsys: pytest.CaptureFixture[str]) -> Ccvd:
    """Runs a command line in this process."""

    def run(*arguments: object) -> Run:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained base of the embedded base's family."""
    return build_mini(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A home in which these commands have learned. It is many tests', to be copied."""
    homes: dict[str, Path] = {}

    def home(*commands: tuple[object, ...]) -> Path:
        key = str(commands)
        if key not in homes:
            folder = tmp_path_factory.mktemp("learned") / "home"
            for command in commands:
                line = [*map(str, command), "--no-preview", "--quiet", "--home", str(folder)]
                assert main(line) == 0, line
            homes[key] = folder
        return homes[key]

    return home


@pytest.fixture
def learned(learned_once: Callable[..., Path], ccvd_home: Path) -> Callable[..., None]:
    """Fills this test's home with what these commands learn."""

    def fill(*commands: tuple[object, ...]) -> None:
        shutil.copytree(learned_once(*commands), ccvd_home)

    return fill


@pytest.fixture(scope="session")
def captioned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with an encoder of captions: a base that `ccvd evaluate` can measure by itself."""
    return with_captions(Path(shutil.copytree(tiny, tmp_path_factory.mktemp("bases") / "captioned")))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, and a text that claims to be one."""
    folder = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(noise.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
    (folder / "note.jpg").write_text("not a photo")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip."""
    import torch

    from ccvd_cli.engine.media_out import write_clip

    folder = tmp_path_factory.mktemp("clips")
    write_clip(torch.rand(8, 3, 48, 48, generator=torch.Generator().manual_seed(0)), folder / "a.mp4", 8)
    return folder


@pytest.fixture
def teach(ccvd_home: Path) -> Callable[..., None]:
    """Puts a concept into the registry without learning it."""

    def teach(name: str, kind: str = "subject", base: str = "mini", noun: str = "dog") -> None:
        new: dict[str, Any] = {
            "base": BaseFacts(base, "mini", base.ljust(64, "0"), f"/nowhere/{base}"),
            "seed": 0,
            "recipe": {"adapter_steps": 300},
            "data": [{"file": "0.jpg", "sha256": "a" * 64}],
            "loss_curve": [1.0, 0.5],
            "sites": 4,
            "parameters": 1000,
            "started": datetime.now(timezone.utc),
        }
        parts = {part: f"{part} of {name}".encode() for part in ("adapter", "embedding", "prototype")}
        with Registry(ccvd_home) as registry:
            registry.add(NewConcept(name=name, kind=kind, class_noun=noun, **new, **parts))

    return teach


@pytest.fixture
def junior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges of a moment."""
    settings = judge_making.JudgeSettings(clips=8, steps=1, batch=4, examined=4)
    monkeypatch.setattr(judge_making, "JudgeSettings", lambda: settings)
