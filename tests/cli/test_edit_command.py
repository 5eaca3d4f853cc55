"""Making a clip anew from the command line, on a tiny base: what stays of it, what is told, what is refused."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import av
import pytest
import torch
from cli_material import QUICK, Ccvd
from PIL import Image

from ccvd_cli import outputs, settings
from ccvd_cli.engine import bases
from ccvd_cli.engine import edit as editing
from ccvd_cli.engine.media_out import write_clip
from ccvd_cli.regions import Region

FEW = ("--steps", "3", "--height", "32", "--width", "32")


@pytest.fixture
def video(cwd: Path) -> Path:
    """Twelve frames of 40x60 in two seconds."""
    frames = torch.rand(12, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    write_clip(frames, cwd / "in.mp4", 6)
    return Path("in.mp4")


def facts(path: Path) -> tuple[int, float, int, int]:
    """Frames, seconds, width, height."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return frames, float(stream.duration * stream.time_base), stream.width, stream.height


def test_length_size_and_seed_are_kept(ccvd: Ccvd, tiny: Path, video: Path, cwd: Path) -> None:
    shared = ("edit", "--video", video, "a red dog", "--base", tiny, *FEW, "--seed", 7)
    run = ccvd(*shared, "--frames", 5, "--out", "a.mp4")
    assert (run.code, run.out) == (0, "a.mp4\n"), run.err
    assert "Editing in.mp4 with seed 7: 5 of its 12 frames at 32x32;" in run.err
    assert "written at 60x40 and 6 frames per second, to take 2.00 s as before." in run.err
    frames, seconds, width, height = facts(cwd / "a.mp4")
    assert (frames, width, height) == (12, 60, 40) and seconds == pytest.approx(2, abs=0.01)
    every = ccvd(*shared, "--out", "b.mp4")  # fewer than the base makes: all of them
    assert "all 12 frames at 32x32" in every.err
    assert facts(cwd / "b.mp4")[:2] == (12, pytest.approx(2, abs=0.01))
    shown = ccvd(*shared, "--frames", 5, "--out", "a.gif")
    assert "written at 60x40 and 2.5 frames per second" in shown.err
    assert json.loads((cwd / "a.gif.json").read_text())["edit"]["taken"] == [1, 3, 6, 8, 10]
    assert json.loads((cwd / "a.mp4.json").read_text())["edit"]["taken"] == []
    for name in ("c.png", "d.png"):
        assert ccvd(*shared, "--frames", 2, "--out", name).code == 0
    assert len(list(cwd.glob("c_*.png"))) == 2
    assert (cwd / "c_001.png").read_bytes() == (cwd / "d_001.png").read_bytes()


def test_any_container_and_frames_of_uneven_length(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    pictures = [Image.new("RGB", (48, 36), (60 * i, 0, 0)) for i in range(4)]
    pictures[0].save("in.gif", save_all=True, append_images=pictures[1:], duration=[100, 100, 100, 700])
    run = ccvd("edit", "--video", "in.gif", "a dog", "--base", tiny, *FEW, "--out", "out.gif")
    assert run.code == 0, run.err
    with Image.open(cwd / "out.gif") as image:
        assert image.size == (48, 36) and image.n_frames == 4
        assert image.info["duration"] == 250


def test_concepts_take_part_and_all_is_told(
    ccvd: Ccvd, tiny: Path, photos: Path, video: Path, cwd: Path
) -> None:
    assert ccvd("learn-style", "--images", photos, "--base", tiny, *QUICK, "--no-preview").code == 0
    how = ("--method", "ddim", "--strength", 0.7, "--source-prompt", "a dog")
    run = ccvd("edit", "--video", video, "a dog in <V1> style", *FEW, *how, "--out", "a.gif", "--json")
    assert run.code == 0, run.err
    told = json.loads((cwd / "a.gif.json").read_text())
    assert told["edit"] == {
        "strength": 0.7,
        "method": "ddim",
        "source_prompt": "a dog",
        "video": "in.mp4",
        "sha256": hashlib.sha256((cwd / video).read_bytes()).hexdigest(),
        "fps": 6.0,
        "height": 40,
        "width": 60,
        "taken": [],
    }
    assert (told["settings"]["scheduler"], told["settings"]["frames"]) == ("ddim", 12)
    assert "fps" not in told["settings"] and [c["name"] for c in told["concepts"]] == ["V1"]
    shown = json.loads(run.out)
    assert shown["edit"] == told["edit"] and shown["sidecar"] == "a.gif.json"
    (listed,) = json.loads(ccvd("list", "generations", "--json").out)
    assert listed["prompt"] == "a dog in <V1> style" and listed["settings"]["edit"]["video"] == "in.mp4"

    again = ccvd("generate", "--from", "a.gif.json", "--out", "again.gif")
    assert again.code == 2 and not (cwd / "again.gif").exists()
    assert "`ccvd edit` made from in.mp4" in again.err
    assert f"ccvd edit --video in.mp4 'a dog in <V1> style' --seed {told['seed']} " in again.err
    assert "--source-prompt 'a dog'" in again.err
    hint = again.err[again.err.index("Again: `ccvd edit") :].split("`")[1]
    assert f"--base {told['base']['location']} --device cpu --dtype {told['dtype']}" in hint
    assert ccvd(*shlex.split(hint)[1:], "--out", "again.gif").code == 0
    retold = json.loads((cwd / "again.gif.json").read_text())
    same = ("prompt", "seed", "settings", "edit")
    assert {k: retold[k] for k in same} == {k: told[k] for k in same}
    assert (cwd / "again.gif").read_bytes() == (cwd / "a.gif").read_bytes()


def test_an_edited_clip_keeps_its_frame_and_is_made_again(
    ccvd: Ccvd, tiny: Path, photos: Path, video: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a clip from nothing would be as wide as two subjects need."""
    usual = settings.SAMPLING["mini"].model_copy(update={"height": 32, "width": 32})
    monkeypatch.setitem(settings.SAMPLING, "mini", usual)
    for noun in ("dog", "cat"):
        line = ("--base", tiny, "--class-noun", noun, *QUICK, "--no-preview")
        assert ccvd("learn-subject", "--images", photos, *line).code == 0
    few = ("--steps", 2, "--frames", 3, "--seed", 1)
    assert ccvd("generate", "a <V1> dog and a <V2> cat", *few, "--out", "wide.gif").code == 0
    wide = json.loads((cwd / "wide.gif.json").read_text())["settings"]
    assert (wide["width"], wide["windows"]) == (56, True)
    again = ccvd("generate", "--from", "wide.gif.json", "--out", "wide-again.gif")
    assert again.code == 0 and (cwd / "wide-again.gif").read_bytes() == (cwd / "wide.gif").read_bytes()
    asked = (
        "edit",
        "--video",
        video,
        "a <V1> dog and a <V2> cat",
        "--auto-regions",
        "--steps",
        2,
        "--frames",
        3,
    )
    for name, more in (("square", ()), ("windows", ("--windows",))):
        run = ccvd(*asked, *more, "--out", f"{name}.gif")
        assert run.code == 0, run.err
        told = json.loads((cwd / f"{name}.gif.json").read_text())["settings"]
        assert told["width"] == 32 and told["regions"][0]["keyframes"][0]["box"] == [0, 0.1, 0.5, 1]
        hint = ccvd("generate", "--from", f"{name}.gif.json", "--out", "x.gif").err
        hint = hint[hint.index("Again: `ccvd edit") :].split("`")[1]
        assert ccvd(*shlex.split(hint)[1:], "--out", f"{name}-again.gif").code == 0
        assert (cwd / f"{name}-again.gif").read_bytes() == (cwd / f"{name}.gif").read_bytes()


def test_a_clip_from_nothing_tells_of_no_edit(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    assert ccvd("generate", "a dog", "--base", tiny, *FEW, "--frames", 2, "--out", "a.gif").code == 0
    assert "edit" not in json.loads((cwd / "a.gif.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--video", "nowhere.mp4"), "no file 'nowhere.mp4'"),
        (("--video", "folder"), "'folder' is not a file"),
        (("--video", "words.mp4"), "Cannot read 'words.mp4': not a video"),
        (("--video", "still.gif"), "Cannot read 'still.gif': has one frame"),
        (("--strength", 0), "--strength 0.0: should be greater than 0"),
        (("--strength", 1.1), "--strength 1.1: should be less than or equal to 1"),
        (("--strength", "nan"), "--strength nan"),
        (("--method", "magic"), "'magic'"),
        (("--source-prompt", "a dog"), "--source-prompt is for --method ddim"),
        (("--method", "ddim", "--source-prompt", "a <V1> dog"), "--source-prompt 'a <V1> dog'"),
        (("--method", "ddim", "--scheduler", "dpm++"), "not by --scheduler dpm++"),
        (("--out", "clip.mov"), "'.mov'"),
        (("--out", "in.mp4"), "--out 'in.mp4' is the clip itself"),
        (("--out", "words.mp4/a.mp4"), "not a folder"),
        (("--out", "locked/a.mp4"), "no permission"),
        (("--frames", 1), "--frames 1: a clip has two frames or more"),
        (("--steps", 0), "--steps 0"),
        (("--base", "nobase"), "nobase"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    ccvd: Ccvd,
    teach: Callable[..., None],
    tiny: Path,
    video: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    said: str,
) -> None:
    teach("V1")
    (cwd / "words.mp4").write_text("words")
    (cwd / "folder").mkdir()
    (cwd / "locked").mkdir()
    Image.new("RGB", (32, 32)).save(cwd / "still.gif")
    before = sorted(cwd.iterdir())
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    access = outputs.os.access
    monkeypatch.setattr(
        outputs.os, "access", lambda path, mode: Path(path).name != "locked" and access(path, mode)
    )
    shared = () if "--video" in arguments else ("--video", video)
    base = () if "--base" in arguments else ("--base", tiny)
    run = ccvd("edit", "a red dog", *shared, *base, *arguments)
    assert (run.code, run.out) == (2, "")
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and said in errors[0], run.err
    assert "Traceback" not in run.err
    assert sorted(cwd.iterdir()) == before


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "The prompt is empty"),
        ("a <V8> dog", "no concept 'V8'"),
        ("a dog performing <S7>", "S7 is a style, not a motion"),
    ],
)
def test_a_prompt_is_checked_before_the_clip(
    ccvd: Ccvd, teach: Callable[..., None], cwd: Path, prompt: str, said: str
) -> None:
    teach("S7", "style")
    run = ccvd("edit", "--video", "nowhere.mp4", prompt)
    assert (run.code, run.out) == (2, "") and said in run.err.splitlines()[0]


def test_what_is_written_has_even_sides_and_says_so(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    write_clip(torch.rand(3, 3, 33, 35), cwd / "in.gif", 6)
    shared = ("edit", "--video", "in.gif", "a dog", "--base", tiny, *FEW)
    run = ccvd(*shared, "--out", "a.mp4")
    told = json.loads((cwd / "a.mp4.json").read_text())["edit"]
    assert facts(cwd / "a.mp4")[2:] == (36, 34) == (told["width"], told["height"])
    assert "written at 36x34" in run.err


def test_what_no_writer_can_make_is_told_first(
    ccvd: Ccvd, tiny: Path, video: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ccvd_cli.commands.edit.LARGEST", 50)
    run = ccvd("edit", "--video", video, "a dog", "--base", tiny, *FEW, "--out", "a.mp4")
    assert run.code == 2 and "'in.mp4' has 60x40 pixels" in run.err and "Loading base" not in run.err
    assert not (cwd / "a.mp4").exists()


def test_boxes_of_an_edit_are_asked_for(ccvd: Ccvd, video: Path, teach: Callable[..., None]) -> None:
    teach("V1")
    teach("V2")
    line = ("edit", "--video", video, "a <V1> dog and a <V2> dog", "--preview-regions", "p.png")
    run = ccvd(*line)
    assert run.code == 2 and "--auto-regions for boxes side by side" in run.err, run.err
    assert ccvd(*line, "--auto-regions").code == 0


def test_keyframes_of_an_edit_count_the_clips_own_frames(
    ccvd: Ccvd, tiny: Path, photos: Path, video: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("--base", tiny, "--class-noun", "dog", *QUICK, "--no-preview")
    assert ccvd("learn-subject", "--images", photos, *line).code == 0
    asked = ("edit", "--video", video, "a <V1> dog", *FEW, "--frames", 4)
    boxes = "a <V1> dog @ 0: 0,0,0.5,1 ; {}: 0.5,0,1,1"
    run = ccvd(*asked, "--region", boxes.format(12), "--out", "a.gif")
    assert run.code == 2 and "the clip's last frame is 11" in run.err
    heard: list[tuple[Region, ...]] = []
    real = editing.edit
    monkeypatch.setattr(editing, "edit", lambda *a: heard.append(a[4].regions) or real(*a))
    run = ccvd(*asked, "--region", boxes.format(11), "--out", "a.gif")
    assert run.code == 0, run.err
    told = json.loads((cwd / "a.gif.json").read_text())["settings"]
    assert [k["frame"] for k in told["regions"][0]["keyframes"]] == [0, 11]
    ((region,),) = heard
    lefts = [round(11 * region.box_at(k)[0] / 0.5) for k in range(4)]
    assert lefts == [1, 4, 7, 10]  # the frames that were taken
    preview = ccvd(*asked, "--region", boxes.format(11), "--preview-regions", "boxes.png")
    assert preview.code == 0, preview.err


def test_more_frames_than_the_base_makes_are_told_before_it_is_loaded(
    ccvd: Ccvd, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(torch.rand(40, 3, 32, 32), cwd / "long.mp4", 25)
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    run = ccvd("edit", "--video", "long.mp4", "a dog", "--base", "mini", "--frames", 40)
    assert run.code == 2 and "40 frames are more than base mini can make" in run.err
    assert "Loading base" not in run.err and "at most 32" in run.err
