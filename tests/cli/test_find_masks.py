"""`ccvd find-masks`: what it writes, that it can be learned within, and what it refuses before a base is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_material import QUICK, Ccvd
from PIL import Image

from ccvd_cli.engine import bases, contrast


def test_masks_are_found_looked_at_and_learned_within(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path
) -> None:
    asked = ("find-masks", "--images", photos, "--class-noun", "dog", "--base", tiny)
    run = ccvd(*asked, "--out", "found/masks", "--sheet", "found/look.png")
    assert run.code == 0, run.err
    masks = sorted((cwd / "found" / "masks").iterdir())
    assert [Path(line) for line in run.out.split()] == [Path("found/masks/0.png"), Path("found/masks/1.png")]
    assert [mask.name for mask in masks] == ["0.png", "1.png"]
    for mask in masks:
        with Image.open(mask) as image, Image.open(photos / f"{mask.stem}.jpg") as photo:
            assert image.mode == "L" and image.size == photo.size and np.asarray(image).max() > 200
    with Image.open(cwd / "found" / "look.png") as sheet:
        assert sheet.format == "PNG"
    line = f"ccvd learn-subject --images {photos} --masks found/masks --class-noun dog"
    assert line in run.err
    learned = ccvd(*line.split()[1:], "--base", tiny, *QUICK, "--no-preview")
    assert learned.code == 0 and "within their masks" in learned.err, learned.err


def test_json_says_how_much_of_each_photo_is_the_subject(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path
) -> None:
    asked = ("find-masks", "--images", photos, "--base", tiny, "--out", "masks", "--json", "--quiet")
    run = ccvd(*asked)
    assert (run.code, run.err) == (0, "Skipped note.jpg: not an image.\n")
    told = json.loads(run.out)
    assert set(told["masks"]) == {str(Path("masks", f"{i}.png")) for i in (0, 1)} and told["sheet"] is None
    assert all(0 < share <= 1 for share in told["masks"].values())
    first = [(cwd / name).read_bytes() for name in told["masks"]]
    again = ccvd(*asked, "--yes")
    assert again.out == run.out and [(cwd / name).read_bytes() for name in told["masks"]] == first


def test_what_is_asked_reaches_the_base(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    real = contrast.seen_by
    monkeypatch.setattr(
        contrast,
        "seen_by",
        lambda base, photos, *a, **k: asked.append((*a[:2], k)) or real(base, photos, *a, **k),
    )
    for out, more in (("one", ()), ("two", ("--class-noun", "toy  duck", "--seed", 3))):
        run = ccvd("find-masks", "--images", photos, "--base", tiny, "--out", out, *more)
        assert run.code == 0, run.err
    assert asked == [("thing", 0, {"outline": True}), ("toy duck", 3, {"outline": True})]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "masks", "--images", "nowhere"), "nowhere"),
        (("--out", "there"), "'there' has 1.png already."),
        (("--out", "photos"), "--out 'photos' holds the photos themselves."),
        (("--out", "file/masks"), "file' is not a folder."),
        (("--out", "masks", "--images", "twins"), "are called 'a'"),
        (("--out", "masks", "--sheet", "look.jpg"), "--sheet 'look.jpg' is not a PNG."),
        (("--out", "masks", "--class-noun", "<V1>"), "--class-noun '<V1>': not a noun."),
        (("--out", "masks", "--height", 33), "33"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_base_is_loaded(
    ccvd: Ccvd,
    photos: Path,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[object, ...],
    said: str,
) -> None:
    shutil.copytree(photos, cwd / "photos", ignore=shutil.ignore_patterns("note.*"))
    for folder, names in (("there", ["1.png"]), ("twins", ["a.png", "a.jpg"])):
        (cwd / folder).mkdir()
        for name in names:
            Image.new("RGB", (40, 40)).save(cwd / folder / name)
    (cwd / "file").write_text("")
    monkeypatch.setattr(bases, "open_base", lambda *_, **__: pytest.fail("loaded"))
    before = sorted(cwd.rglob("*"))
    given = () if "--images" in options else ("--images", "photos")
    run = ccvd("find-masks", *given, *options)
    assert run.code == 2 and said in run.err and len(run.err.splitlines()) <= 2, run.err
    assert sorted(cwd.rglob("*")) == before
