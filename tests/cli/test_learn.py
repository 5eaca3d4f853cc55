"""Learning from the command line, on a tiny base: what is kept, what is said, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cli_material import QUICK, Ccvd
from safetensors.torch import save_file

from ccvd_cli.commands import learn as learn_command
from ccvd_cli.commands.learn_options import MotionRecipeOptions, PictureRecipeOptions, SubjectRecipeOptions
from ccvd_cli.commands.learning import Learning
from ccvd_cli.commands.overrides import option_of
from ccvd_cli.commands.stored_paths import path_of
from ccvd_cli.engine import bases, learn, path_finding, prior
from ccvd_cli.engine.optimise import StepReport
from ccvd_cli.errors import CcvdError
from ccvd_cli.path_boxes import WHOLE, at_frames, further, within
from ccvd_cli.regions import parse
from ccvd_cli.settings import RECIPES
from ccvd_registry import HomeNotWritable, Registry


def test_a_subject_is_learned_from_photos(ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path) -> None:
    run = ccvd("learn-subject", "--images", photos, "--class-noun", "dog", "--base", tiny, *QUICK)
    assert (run.code, run.out) == (0, "V1\n")
    assert "Skipped note.jpg: not an image." in run.err
    assert "from 2 files (0.jpg, 1.jpg); skipped 1 file (note.jpg)." in run.err
    assert "Try: ccvd generate 'a <V1> dog on the beach'" in run.err
    assert sorted(path.name for path in cwd.iterdir()) == ["V1-preview.mp4", "V1-preview.mp4.json"]
    (concept,) = json.loads(ccvd("list", "concepts", "--json").out)
    assert (concept["name"], concept["kind"], concept["class_noun"]) == ("V1", "subject", "dog")
    assert (concept["base"], concept["task"]) == ("tiny", 1)
    shown = json.loads(ccvd("show", "V1", "--json").out)
    assert [file["file"] for file in shown["data"]] == ["0.jpg", "1.jpg"]
    assert (shown["recipe"]["adapter_steps"], shown["recipe"]["batch_size"]) == (2, 2)


def test_a_motion_is_learned_from_clips(ccvd: Ccvd, tiny: Path, clips: Path, cwd: Path) -> None:
    run = ccvd(
        *("learn-motion", "--videos", clips, "--base", tiny, *QUICK, "--frames", 4),
        *("--name", "wave", "--preview", "shown/wave.gif", "--json"),
    )
    assert run.code == 0
    assert "a.mp4 takes 1.0 s and is learned as 0.5 s, 2.0 times as fast" in run.err
    report = json.loads(run.out)
    assert (report["name"], report["kind"], report["used"], report["skipped"]) == (
        "wave",
        "motion",
        ["a.mp4"],
        [],
    )
    assert report["previews"] == ["shown/wave.gif"] and (cwd / "shown" / "wave.gif").is_file()
    assert report["recipe"]["frames"] == 4


def test_a_motion_leads_along_the_path_of_its_clips(
    ccvd: Ccvd, tiny: Path, clips: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_finding, "STAYS", 0.0)  # an untrained base sees things anywhere
    line = ("learn-motion", "--videos", clips, "--base", tiny, *QUICK, "--frames", 4, "--no-preview")
    learned = ccvd(*line)
    assert learned.code == 0 and "path 5/5" in learned.err, learned.err
    path = json.loads(ccvd("show", "V1", "--json").out)["path"]
    assert len(path) == 4 and all(len(box) == 4 and 0 <= min(box) <= max(box) <= 1 for box in path)
    assert "along 4 boxes" in ccvd("show", "V1").out
    small = ("--steps", 2, "--frames", 3, "--height", 32, "--width", 32, "--seed", 1)
    led = ccvd("generate", "a dog performing <V1>", *small, "--out", "led.gif")
    assert led.code == 0 and "V1 leads along the path of its clips" in led.err, led.err
    told = json.loads((cwd / "led.gif.json").read_text())["shares"]  # once, though it is a region as well
    assert [(s["prompt"], s["concept"]) for s in told] == [("a dog performing <V1>", "V1")]
    again = ccvd("generate", "--from", "led.gif.json", "--out", "again.gif")
    assert again.code == 0 and (cwd / "again.gif").read_bytes() == (cwd / "led.gif").read_bytes()
    drawn = ccvd("generate", "--from", "led.gif.json", "--preview-regions", "boxes.png", "--json")
    (region,) = map(parse, json.loads(drawn.out)["regions"])
    assert (cwd / "boxes.png").is_file() and [key.frame for key in region.keyframes] == [0, 1, 2]
    assert region.keyframes[0].box == pytest.approx(
        within(further(at_frames(np.array(path), 3), told_strength(cwd)), WHOLE)[0], abs=2e-3
    )
    undrawn = ccvd(
        "generate", "a dog performing <V1>", *small, "--path-strength", 0, "--preview-regions", "none.png"
    )
    assert undrawn.code == 2 and "or a motion that leads" in undrawn.err and not (cwd / "none.png").exists()
    free = ccvd("generate", "--from", "led.gif.json", "--path-strength", 0, "--out", "free.gif")
    assert free.code == 0 and "leads" not in free.err
    assert (cwd / "free.gif").read_bytes() != (cwd / "led.gif").read_bytes()
    few = ("compare", "a dog performing <V1>", "--steps", 2, "--frames", 3)
    ways = "default,no-paths,no-noise-guidance"  # who is led is heard in a region
    assert ccvd(*few, "--with", ways, "--out", "both.gif").code == 0
    told = ccvd(*few, "--with", "default,no-regions")
    assert told.code == 2 and "no regions" in told.err
    told = ccvd(*few, "--with", "default,no-paths", "--frames", 1)
    assert told.code == 2 and "no motion that leads along a path" in told.err
    assert ccvd(*line, "--no-path", "--name", "V2").code == 0
    assert json.loads(ccvd("show", "V2", "--json").out)["path"] is None
    assert "leads" not in ccvd("show", "V2").out
    again = ccvd("compare", "a dog performing <V2>", "--with", "default,no-paths")
    assert again.code == 2 and "no motion that leads along a path" in again.err


def told_strength(cwd: Path) -> float:
    return float(json.loads((cwd / "led.gif.json").read_text())["settings"]["path_strength"])


@pytest.mark.parametrize(
    "path",
    [
        *(torch.zeros(4), torch.zeros(2, 2, 2), torch.zeros(2, 3), torch.zeros(5000, 4), None),
        *(torch.zeros(1, 4), torch.full((3, 4), 1.5), torch.full((3, 4), torch.nan)),
        torch.zeros(3, 4, dtype=torch.float8_e4m3fn),
    ],
)
def test_a_path_that_is_none_is_not_shown(tmp_path: Path, path: torch.Tensor | None) -> None:
    """Whoever imports a collection may show it before using it."""
    kept = SimpleNamespace(kind="motion", embedding_path=tmp_path / "embedding.safetensors")
    assert path_of(kept) is None  # type: ignore[arg-type]
    save_file({"tokens": torch.zeros(2)} | ({} if path is None else {"path": path}), kept.embedding_path)
    assert path_of(kept) is None  # type: ignore[arg-type]
    kept.embedding_path.write_bytes(b"nonsense")
    assert path_of(kept) is None  # type: ignore[arg-type]


def test_the_next_concept_is_learned_on_the_base_of_the_last(
    ccvd: Ccvd, tiny: Path, photos: Path, clips: Path, cwd: Path
) -> None:
    """Else they could not share a prompt."""
    assert ccvd("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview").code == 0
    run = ccvd("learn-motion", "--videos", clips, *QUICK, "--frames", 4, "--no-preview")
    assert run.code == 0 and f"Loading base {tiny}" in run.err
    assert {c["base"] for c in json.loads(ccvd("list", "concepts", "--json").out)} == {"tiny"}


def test_photographs_on_the_embedded_base_are_commented_on(
    ccvd: Ccvd, tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("learn-subject", "--class-noun", "dog", "--base", tiny, *QUICK, "--no-preview")
    assert "Note: mini knows" not in ccvd(*line, "--images", photos).err
    monkeypatch.setattr(bases, "EMBEDDED", tiny.resolve())
    assert "If these are photographs" in ccvd(*line, "--images", photos).err
    assert ccvd("world", "subject", "--index", 4, "--out", tmp_path / "drawn").code == 0
    assert "Note: mini knows" not in ccvd(*line, "--images", tmp_path / "drawn").err


def test_a_style_is_learned_from_pictures_and_composes(
    ccvd: Ccvd, tiny: Path, photos: Path, clips: Path, cwd: Path
) -> None:
    shared = ("--base", tiny, *QUICK)
    run = ccvd("learn-style", "--images", photos, *shared, "--preview", "v1.gif")
    assert (run.code, run.out) == (0, "V1\n"), run.err
    assert "Learning style V1 from 2 files" in run.err
    assert "Try: ccvd generate 'a dog in <V1> style'" in run.err and (cwd / "v1.gif").is_file()
    (concept,) = json.loads(ccvd("list", "concepts", "--kind", "style", "--json").out)
    assert (concept["name"], concept["kind"], concept["class_noun"]) == ("V1", "style", "")
    dog = ("learn-subject", "--images", photos, *shared, "--class-noun", "dog", "--no-preview")
    assert ccvd(*dog).code == 0
    assert ccvd("learn-motion", "--videos", clips, *shared, "--frames", 4, "--no-preview").code == 0
    small = ("--steps", 2, "--frames", 3, "--height", 32, "--width", 32)
    made = ccvd("generate", "a <V2> dog performing <V3> in <V1> style", *small, "--out", "a.gif")
    assert made.code == 0, made.err
    told = json.loads((cwd / "a.gif.json").read_text())
    assert [(c["name"], c["kind"]) for c in told["concepts"]] == [
        ("V2", "subject"),
        ("V3", "motion"),
        ("V1", "style"),
    ]
    assert told["settings"]["style_guidance"] == 1.5  # mini's default
    said = "a <V2> dog performing <V3>"
    assert {(s["prompt"], s["concept"]) for s in told["shares"]} == {
        *((said, name) for name in ("V2", "V3")),
        *(("a dog performing <V3> in <V1> style", name) for name in ("V3", "V1")),
    }
    again = ccvd("generate", "--from", "a.gif.json", "--out", "b.gif")
    assert again.code == 0 and (cwd / "b.gif").read_bytes() == (cwd / "a.gif").read_bytes()
    whole = ccvd("generate", "--from", "a.gif.json", "--style-guidance", 0, "--out", "c.gif")
    assert whole.code == 0 and (cwd / "c.gif").read_bytes() != (cwd / "a.gif").read_bytes()
    told = json.loads((cwd / "c.gif.json").read_text())
    assert {s["prompt"] for s in told["shares"]} == {f"{said} in <V1> style"}


def test_the_base_draws_pictures_beside_a_style_that_has_no_noun(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = learn.imagine
    monkeypatch.setattr(learn, "imagine", lambda b, prompt, *a: asked.append(prompt) or real(b, prompt, *a))
    monkeypatch.setattr(prior, "PRIOR_STEPS", 1)
    shared = ("learn-style", "--images", photos, "--base", tiny, *QUICK, "--no-preview", "--prior-share", 0.5)
    told = ccvd(*shared)
    assert told.code == 0 and "prior 4/4" in told.err
    assert ccvd(*shared, "--class-noun", "drawing").code == 0
    assert asked == ["a picture", "a drawing"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--images", "nowhere"), "'nowhere'"),
        (("--name", "V7"), "'V7' is taken"),
        (("--steps", 0), "--steps 0"),
        (("--frames", 4), "--frames"),
        (("--class-noun", "<x>"), "--class-noun '<x>'"),
    ],
)
def test_a_style_asked_for_wrongly_leaves_nothing(
    ccvd: Ccvd,
    teach: Callable[..., None],
    tiny: Path,
    photos: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    said: str,
) -> None:
    teach("V7", "style")
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    run = ccvd("learn-style", "--images", photos, "--base", tiny, *options)
    assert (run.code, run.out) == (2, "") and said in run.err.splitlines()[0]
    assert list(cwd.iterdir()) == []


def test_quiet_and_without_preview_says_only_the_name_and_what_was_left_out(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path
) -> None:
    learn_it = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview", "--quiet")
    assert ccvd(*learn_it).out == "V1\n"
    second = ccvd(*learn_it)
    assert (second.out, second.err) == ("V2\n", "Skipped note.jpg: not an image.\n")
    assert list(cwd.iterdir()) == []


def test_a_name_taken_meanwhile_costs_no_training(
    ccvd: Ccvd, teach: Callable[[str], None], tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = learn.learn_subject
    monkeypatch.setattr(learn, "learn_subject", lambda *a, **k: teach("V1") or real(*a, **k))
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview")
    assert (run.code, run.out) == (0, "V2\n")
    assert "V1 was taken meanwhile, so this is V2." in run.err
    assert [c["name"] for c in json.loads(ccvd("list", "concepts", "--json").out)] == ["V1", "V2"]


def test_whose_name_was_taken_leaves_the_others_preview_alone(
    ccvd: Ccvd,
    teach: Callable[[str], None],
    tiny: Path,
    photos: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, theirs = learn.learn_subject, cwd / "V1-preview.mp4"

    def beside(*arguments, **named):  # type: ignore[no-untyped-def]
        teach("V1")
        theirs.write_bytes(b"theirs")
        return real(*arguments, **named)

    monkeypatch.setattr(learn, "learn_subject", beside)
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, *QUICK)
    assert run.code == 0 and theirs.read_bytes() == b"theirs" and (cwd / "V2-preview.mp4").exists(), run.err


@pytest.mark.parametrize(("tries", "code"), [(3, 0), (1000, 2)])
def test_what_was_learned_waits_for_a_registry_that_cannot_be_written(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, tries: int, code: int
) -> None:
    add_all, calls = Registry.add_all, []

    def full(self: Registry, new: object) -> object:
        calls.append(new)
        if len(calls) < tries:
            raise HomeNotWritable(Path("home"), "No space left on device")
        add_all(self, new)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "add_all", full)
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview", "--quiet")
    assert run.code == code and "No space left on device" in run.err and "kept in memory" in run.err
    assert len(json.loads(ccvd("list", "concepts", "--json").out)) == (code == 0)


def test_photos_are_learned_at_the_size_that_is_asked_for(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    real = learn.learn_subject
    monkeypatch.setattr(
        learn, "learn_subject", lambda base, x, **k: sizes.append(x[0].shape) or real(base, x, **k)
    )
    learn_it = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview")
    assert ccvd(*learn_it, "--height", 32, "--width", 48).code == 0
    assert sizes == [(3, 32, 48)]
    odd = ccvd(*learn_it, "--width", 44)
    assert odd.code == 2 and "Width 44 is not a multiple of 8" in odd.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", 0), "--steps 0"),
        (("--token-steps", -1), "--token-steps -1"),
        (("--lr", "nan"), "--lr nan"),
        (("--only-sites", "(up"), "--only-sites (up: not a regular expression"),
        (("--lr", "inf"), "--lr inf"),
        (("--prior-share", 1), "--prior-share 1.0"),
        (("--batch-size", 0), "--batch-size 0"),
        (("--height", 4), "--height 4"),
        (("--seed", -1), "'--seed'"),
        (("--name", "1st"), "'1st'"),
        (("--name", "V7"), "'V7' is taken"),
        (("--name", "v7"), "'v7' is taken"),
        (("--class-noun", "<dog>"), "--class-noun '<dog>'"),
        (("--preview", "clip.avi"), "'.avi'"),
        (("--preview", "/dev/null/clip.mp4"), "/dev/null"),
        (("--no-preview", "--preview-every", 5), "--no-preview"),
        (("--base", "nobase"), "nobase"),
        (("--base", "."), "has no folder"),
        (("--images", "nowhere"), "'nowhere'"),
        (("--images", "empty"), "'empty'"),
        (("--images", "words"), "photo.jpg: not an image"),
        (("--home", "words/photo.jpg/home"), "words/photo.jpg"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    ccvd: Ccvd,
    teach: object,
    tiny: Path,
    photos: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    said: str,
) -> None:
    teach("V7")  # type: ignore[operator]
    (cwd / "empty").mkdir()
    (cwd / "words").mkdir()
    (cwd / "words" / "photo.jpg").write_text("words")
    before = sorted(cwd.rglob("*"))
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, *QUICK, *options)
    assert run.code == 2
    assert run.out == ""
    error = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]
    assert "Traceback" not in run.err
    assert sorted(cwd.rglob("*")) == before
    assert ccvd("list", "concepts").out.count("\n") == 2  # the header and V7


def test_a_still_and_a_truncated_clip_teach_no_motion(
    ccvd: Ccvd, tiny: Path, clips: Path, cwd: Path, ccvd_home: Path
) -> None:
    from PIL import Image

    (cwd / "clips").mkdir()
    Image.new("RGB", (32, 32)).save(cwd / "clips" / "still.gif")
    (cwd / "clips" / "cut.mp4").write_bytes((clips / "a.mp4").read_bytes()[:400])
    run = ccvd("learn-motion", "--videos", "clips", "--base", tiny)
    error = run.err.splitlines()[0]
    assert run.code == 2 and "cut.mp4: " in error and "still.gif: " in error
    assert not ccvd_home.exists()


def test_a_device_that_is_not_there(ccvd: Ccvd, tiny: Path, photos: Path, ccvd_home: Path) -> None:
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, "--device", "abacus")
    assert run.code == 2 and "abacus" in run.err
    assert not ccvd_home.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_write_permission(ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path) -> None:
    (cwd / "locked").mkdir(mode=0o500)
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, "--home", "locked/home")
    assert run.code == 2 and "locked" in run.err


def test_previews_on_the_way_are_gone_if_learning_fails(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path, ccvd_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fails(base, images, *, name, class_noun, recipe, on_step, earlier):  # type: ignore[no-untyped-def]
        learner = type("Half", (), {"name": name, "kind": "subject", "class_noun": class_noun})
        for step in (5, 10, 15):
            on_step(StepReport("adapter", step, 20, 0.5, lambda: [learner]))
        seen.extend(sorted(path.name for path in cwd.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "learn_subject", fails)
    monkeypatch.setattr("ccvd_cli.engine.compose.generate", _black)
    run = ccvd(
        "learn-subject", "--images", photos, "--base", tiny, "--preview", "p.gif", "--preview-every", 10
    )
    assert seen == ["p-adapter-000010.gif"]
    assert run.code == 130
    assert run.err.splitlines()[-1] == "error: Interrupted."
    assert list(cwd.iterdir()) == [] and not ccvd_home.exists()


def test_a_preview_that_does_not_fit_into_memory_loses_nothing(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("ccvd_cli.engine.compose.generate", full)
    line = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--preview-every", 1)
    run = ccvd(*line)
    assert (run.code, run.out) == (0, "V1\n"), run.err
    assert "No preview: CUDA out of memory." in run.err
    assert [c["name"] for c in json.loads(ccvd("list", "concepts", "--json").out)] == ["V1"]


def test_previews_on_the_way_do_not_change_what_is_learned(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path
) -> None:
    shared = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--steps", 10, "--orthogonal", 0)
    assert ccvd(*shared, "--name", "a", "--no-preview").code == 0
    run = ccvd(*shared, "--name", "b", "--preview", "b.gif", "--preview-every", 5)
    assert run.code == 0, run.err
    assert sorted(path.name for path in cwd.iterdir()) == ["b-adapter-000005.gif", "b.gif", "b.gif.json"]
    a, b = (json.loads(ccvd("show", name, "--json").out) for name in "ab")
    assert a["loss_curve"] == b["loss_curve"]
    assert a["digests"]["adapter"] == b["digests"]["adapter"]


def _black(base, prompt, learners, settings, on_step):  # type: ignore[no-untyped-def]
    import torch

    return torch.zeros(2, 3, 16, 16)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_control_c_while_learning(tiny: Path, photos: Path, cwd: Path, ccvd_home: Path) -> None:
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "ccvd_cli",
        "learn-subject",
        "--images",
        str(photos),
        "--base",
        str(tiny),
    ]
    process = subprocess.Popen(
        [*command, "--token-steps", "1000000"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "registry")])},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    heard = []
    for line in process.stderr:
        heard.append(line)
        if line.startswith("tokens 5/1000000, loss "):
            process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode == 130, heard
    assert heard[-1] == "error: Interrupted.\n"
    assert not any("Traceback" in line for line in heard)
    assert list(cwd.iterdir()) == [] and not ccvd_home.exists()


def test_a_second_subject_stays_apart_from_the_first_unless_told_not_to(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path
) -> None:
    shared = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--steps", 10, "--no-preview")
    digests = {}
    for name, more in (("a", ()), ("b", ()), ("c", ("--orthogonal", 0))):
        run = ccvd(*shared, "--name", name, *more)
        assert run.code == 0, run.err
        assert ("Staying apart from 1 earlier subject." in run.err) == (name == "b")
        digests[name] = json.loads(ccvd("show", name, "--json").out)["digests"]["adapter"]
    assert digests["a"] == digests["c"] != digests["b"]


def test_a_weight_below_zero_names_the_option_as_typed(ccvd: Ccvd, tiny: Path, photos: Path) -> None:
    run = ccvd("learn-subject", "--images", photos, "--base", tiny, "--orthogonal", -1)
    assert run.code == 2 and "--orthogonal -1" in run.err


def test_a_debiased_motion_says_so_in_its_recipe(ccvd: Ccvd, tiny: Path, clips: Path) -> None:
    shared = ("learn-motion", "--videos", clips, "--base", tiny, *QUICK, "--frames", 4, "--no-preview")
    assert ccvd(*shared, "--debias", 1).code == 0
    assert json.loads(ccvd("show", "V1", "--json").out)["recipe"]["debias_weight"] == 1.0
    run = ccvd(*shared, "--debias", -1)
    assert run.code == 2 and "--debias -1" in run.err
    subject = ccvd("learn-subject", "--images", clips, "--base", tiny, "--debias", 1)
    assert subject.code == 2 and "--debias" in subject.err


SAID: dict[str, object] = {
    "adapter_steps": 7,
    "token_steps": 6,
    "adapter_lr": 0.0123,
    "token_lr": 0.0234,
    "batch_size": 5,
    "text_dropout": 0.15,
    "tokens": "shared",
    "token_start": "cat",
    "orthogonal_weight": 0.35,
    "orthogonal_form": "abs-trace",
    "only_sites": "up_blocks",
    "bottleneck": 0.45,
    "timestep_shift": 1.7,
    "token_shift": 2.7,
    "offset_noise": 0.05,
    "seed": 11,
    "last_layers": 2,
    "prior_share": 0.25,
    "outside_weight": 0.2,
    "keep_weight": 0.6,
    "attention_mask_weight": 0.7,
    "attention_mask_level": 2,
    "frames": 3,
    "debias_weight": 0.8,
    "find_path": False,
}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("learn-subject", SubjectRecipeOptions),
        ("learn-style", PictureRecipeOptions),
        ("learn-motion", MotionRecipeOptions),
    ],
)
def test_every_option_of_a_recipe_reaches_it(
    ccvd: Ccvd,
    tiny: Path,
    photos: Path,
    clips: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    options: type,
) -> None:
    prepared: list[Learning] = []
    real = learn_command.prepare

    def stop(*what: object) -> Learning:
        prepared.append(real(*what))
        raise CcvdError("enough")

    monkeypatch.setattr(learn_command, "prepare", stop)
    folder = ("--videos", clips) if command == "learn-motion" else ("--images", photos)
    names = [field.name for field in fields(options)]
    said: list[object] = []
    for name in names:
        no = SAID[name] is False
        said += [option_of(name).replace("--", "--no-")] if no else [option_of(name), SAID[name]]
    run = ccvd(command, *folder, "--base", tiny, *said)
    assert "error: Enough." in run.err, run.err
    (learning,) = prepared
    assert {name: getattr(learning.recipe, name) for name in names} == {name: SAID[name] for name in names}
    usual = RECIPES["mini"][learning.kind]
    assert all(getattr(usual, name) != SAID[name] for name in names)  # or nothing would be shown
