"""The whole way on a base of Wan's family: what learns, generates and edits on the embedded base does so there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_material import QUICK, Ccvd
from tiny_models import build_wan

SMALL = ("--height", 32, "--width", 32)


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wan(tmp_path_factory.mktemp("bases") / "wan")


def test_from_photos_and_clips_to_clips(ccvd: Ccvd, wan: Path, photos: Path, clips: Path, cwd: Path) -> None:
    shared = ("--base", wan, *QUICK, *SMALL, "--no-preview")
    dog = ccvd("learn-subject", "--images", photos, "--class-noun", "dog", "--masks", "auto", *shared)
    assert (dog.code, dog.out) == (0, "V1\n"), dog.err
    cat = ccvd("learn-subject", "--images", photos, "--class-noun", "cat", "--seed", 1, *shared)
    assert cat.code == 0 and "Staying apart from 1 earlier subject." in cat.err
    jumping = ccvd("learn-motion", "--videos", clips, "--class-noun", "jumping", "--frames", 5, *shared)
    assert jumping.code == 0, jumping.err
    style = ccvd("learn-style", "--images", photos, *shared)
    assert style.code == 0, style.err
    few = ("--steps", 2, "--frames", 5, *SMALL, "--seed", 3)
    prompt = "a <V1> dog and a <V2> cat performing <V3> in <V4> style"
    run = ccvd("generate", prompt, "--out", "a.png", *few)
    assert run.code == 0 and len(run.out.split()) == 5, run.err
    assert "--region 'a <V1> dog performing <V3> in <V4> style @" in run.err  # in boxes of one frame
    told = json.loads((cwd / "a.png.json").read_text())
    assert (told["base"]["family"], told["settings"]["width"]) == ("wan", 32)
    again = ccvd("generate", "--from", "a.png.json", "--out", "b.png")
    assert again.code == 0, again.err
    assert all((cwd / f"b_{i:03}.png").read_bytes() == (cwd / f"a_{i:03}.png").read_bytes() for i in range(5))
    line = (
        "edit",
        "--video",
        clips / "a.mp4",
        "a <V1> dog",
        "--steps",
        2,
        *SMALL,
        "--out",
        "c.png",
        "--json",
    )
    edited = ccvd(*line)  # eight frames, which Wan cannot make
    assert edited.code == 0 and len(json.loads(edited.out)["files"]) == 8, edited.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("generate", "a dog", "--frames", 16, *SMALL), "16 frames are not one more than a multiple of 4"),
        (("generate", "a dog", "--frames", 17, "--width", 36), "Width 36 is not a multiple of 8"),
        (("learn-motion", "--videos", "CLIPS", "--frames", 16, *SMALL), "16 frames are not one more"),
        (("generate", "a dog", "--frames", 17, *SMALL, "--windows"), "does not say"),
    ],
)
def test_what_wan_cannot_make_is_told_before_it_is_loaded(
    ccvd: Ccvd, wan: Path, clips: Path, line: tuple[object, ...], says: str
) -> None:
    run = ccvd(*(clips if word == "CLIPS" else word for word in line), "--base", wan)
    assert run.code == 2 and says in run.err and "Loading" not in run.err, run.err
