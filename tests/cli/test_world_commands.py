"""`ccvd world`: folders of material, pretraining in stages, and the judge's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_material import Ccvd

from ccvd_cli.engine import media_out
from ccvd_cli.engine.media import load_images, load_videos
from ccvd_cli.world import heldout, judge_making
from ccvd_cli.world.judge_material import ATTRIBUTES


def captions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("arguments", "suffix"),
    [
        (("sample",), ".mp4"),
        (("motion", "--name", "rocking"), ".mp4"),
        (("subject", "--index", 12), ".png"),
        (("style", "--name", "neon"), ".png"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_material_is_written_and_told(ccvd: Ccvd, cwd: Path, arguments: tuple[Any, ...], suffix: str) -> None:
    run = ccvd("world", *arguments, "--out", "new/folder", "--count", 2)
    assert run.code == 0, run.err
    files = [Path(line) for line in run.out.splitlines()]
    assert [file.suffix for file in files] == [suffix] * 2 and all(file.is_file() for file in files)
    told = captions(cwd / "new" / "folder")
    assert [entry["file"] for entry in told] == [file.name for file in files]
    assert all(entry["caption"] for entry in told)
    again = ccvd("world", *arguments, "--out", "again", "--count", 2, "--json")
    assert json.loads(again.out) == told
    assert [(cwd / "again" / f.name).read_bytes() for f in files] == [f.read_bytes() for f in files]


def test_what_is_written_can_be_learned_from(ccvd: Ccvd, cwd: Path) -> None:
    ccvd("world", "subject", "--out", "photos", "--index", 3)
    loaded = load_images(cwd / "photos", size=(64, 64))
    assert len(loaded.used) == 5 and not loaded.skipped
    truth = torch.from_numpy(heldout.subject_images(3)).movedim(-1, 1) / 127.5 - 1
    assert (torch.stack(loaded.tensors) - truth).abs().mean() < 0.03
    ccvd("world", "motion", "--out", "clips", "--name", "circling", "--count", 2)
    clips = load_videos(cwd / "clips", size=(64, 64), frames=16, fps=8)
    truth = torch.from_numpy(heldout.motion_clips("circling", 2)).movedim(-1, -3) / 127.5 - 1
    assert (torch.stack(clips.tensors) - truth).abs().mean() < 0.06


def test_a_folder_that_holds_something_is_left_alone(ccvd: Ccvd, cwd: Path) -> None:
    (cwd / "mine").mkdir()
    (cwd / "mine" / "photo.png").write_text("mine")
    run = ccvd("world", "subject", "--out", "mine", "--count", 1)
    assert run.code == 2 and "not empty" in run.err and "--yes" in run.err
    assert [path.name for path in (cwd / "mine").iterdir()] == ["photo.png"]


def test_yes_replaces_only_what_was_written_before(ccvd: Ccvd, cwd: Path) -> None:
    (cwd / "mine").mkdir()
    (cwd / "mine" / "photo.png").write_text("mine")
    assert ccvd("world", "subject", "--out", "mine", "--count", 3, "--yes").code == 0
    drawn = ccvd("world", "style", "--out", "mine", "--count", 1, "--yes")
    assert drawn.code == 0 and "Try: ccvd learn-style --images mine" in drawn.err
    left = sorted(path.name for path in (cwd / "mine").iterdir())
    assert left == ["captions.jsonl", "photo.png", "sketch-000.png"]


def test_yes_replaces_what_an_interrupted_run_has_written(
    ccvd: Ccvd, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = media_out.write_clip, []

    def twice(*arguments: Any, **named: Any) -> Any:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(arguments)
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(media_out, "write_clip", twice)
        assert ccvd("world", "motion", "--out", "mine", "--count", 4).code == 130
    assert len(list((cwd / "mine").glob("circling-*.mp4"))) == 2
    assert ccvd("world", "motion", "--name", "rocking", "--out", "mine", "--count", 1, "--yes").code == 0
    assert sorted(p.name for p in (cwd / "mine").iterdir()) == ["captions.jsonl", "rocking-000.mp4"]


def test_captions_that_nobody_can_read_are_replaced(ccvd: Ccvd, cwd: Path) -> None:
    (cwd / "mine").mkdir()
    (cwd / "mine" / "captions.jsonl").write_text("[" * 100_000)
    run = ccvd("world", "subject", "--out", "mine", "--count", 1, "--yes")
    assert run.code == 0 and len(captions(cwd / "mine")) == 1, run.err


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("motion", "--out", "x", "--name", "jumping"), "jumping"),
        (("style", "--out", "x", "--name", "cubism"), "cubism"),
        (("sample", "--out", "x", "--count", "0"), "--count"),
        (("subject", "--out", "file/x"), "file/x"),
        (("pretrain", "--stage", "video", "--folder", "x"), "vae"),
        (("pretrain", "--stage", "vae", "--folder", "file"), "file"),
        (("pretrain", "--stage", "vae", "--folder", "spoilt"), "is no checkpoint"),
        (("pretrain", "--stage", "all", "--folder", "x"), "all"),
        (("pretrain", "--stage", "vae", "--folder", "x", "--device", "abacus"), "abacus"),
        (("adherence", "--base", "nowhere"), "nowhere"),
        (("adherence", "--base", "TINY", "--sheet", "sheet.mp4"), "sheet.mp4"),
        (("adherence", "--base", "TINY", "--steps", "0"), "0"),
        (("adherence", "--base", "TINY", "--frames", "1"), "--frames 1"),
        (("adherence", "--base", "TINY", "--top-k", "2"), "--top-k"),
        (("adherence", "--base", "TINY", "--no-region-attention"), "--region-attention"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_in_one_line(
    ccvd: Ccvd, cwd: Path, tiny: Path, arguments: tuple[str, ...], wrong: str
) -> None:
    (cwd / "file").write_text("")
    (cwd / "spoilt").mkdir()
    (cwd / "spoilt" / "vae.state.safetensors").write_bytes(b"garbage" * 9)
    run = ccvd("world", *(str(tiny) if a == "TINY" else a for a in arguments))
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert run.code == 2 and len(errors) == 1 and wrong in errors[0]
    assert {path.name for path in cwd.iterdir()} == {"file", "spoilt"}


def test_pretraining_goes_on_where_it_stopped(ccvd: Ccvd, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccvd_cli.world import pretrain
    from ccvd_cli.world.training import Stretch

    def stage(folder: Path, device: torch.device, minutes: float, seed: int) -> None:
        model = torch.nn.Linear(1, 1)
        run = Stretch(
            folder, "vae", {"net": model}, [{"params": model.parameters(), "base_lr": 1e-3}], minutes=minutes
        )
        run.update({"l1": model(torch.ones(1, 1)).square().mean()})
        run.save()

    monkeypatch.setitem(pretrain.STAGES, "vae", stage)
    arguments = (
        "world",
        "pretrain",
        "--stage",
        "vae",
        "--folder",
        "run",
        "--minutes",
        "1",
        "--device",
        "cpu",
    )
    first, second = ccvd(*arguments), ccvd(*arguments)
    assert first.code == second.code == 0, first.err + second.err
    assert "Nothing of stage vae" in first.err and "from random weights" in first.err
    assert "goes on from step 1" in second.err
    (cwd / "run" / "vae.state.safetensors").unlink()
    (cwd / "run" / "model" / "vae").mkdir(parents=True)
    assert f"from the weights in {Path('run') / 'model'}" in ccvd(*arguments).err


def test_adherence_prints_a_table_and_draws_a_sheet(
    ccvd: Ccvd, cwd: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, ccvd_home: Path
) -> None:
    quick = judge_making.JudgeSettings(clips=8, steps=1, batch=4, examined=2)
    monkeypatch.setattr(judge_making, "JudgeSettings", lambda: quick)
    options = ("--base", tiny, "--count", 3, "--steps", 1, "--frames", 2, "--sheet", "sheet.png")
    run = ccvd("world", "adherence", *options, "--height", 32, "--width", 32)
    assert run.code == 0, run.err
    header, noun, *_ = run.out.splitlines()
    assert header.split()[0] == "ATTRIBUTE" and noun.split()[0] == "noun"
    assert (cwd / "sheet.png").stat().st_size > 1000
    assert len(list((ccvd_home / "judges").glob("attributes-*.safetensors"))) == 1
    told = json.loads(ccvd("world", "adherence", *options, "--json", "--quiet").out)
    assert told["clips"] == 3 and set(told["attributes"]) == {*ATTRIBUTES, "all"}
