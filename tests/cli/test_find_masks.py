"""`ccvd find-masks`: what it writes, that it can be learned within, and what it refuses before a base is loaded."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_material import QUICK, Ccvd
from PIL import Image
from tiny_models import build_unet3d

from ccvd_cli.engine import bases, contrast


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is asked; the n-th photo's subject is in its n-th quarter from the left, and may reach all over it."""
    asked: list[tuple[object, ...]] = []

    def seen_by(base: object, photos: list[torch.Tensor], *a: object, **k: object) -> list[torch.Tensor]:
        asked.append((tuple(photos[0].shape), *a[:2], k))
        masks = torch.zeros(len(photos), 2, *photos[0].shape[1:])
        masks[:, 1] = 1
        quarter = masks.shape[-1] // 4
        for n, mask in enumerate(masks):
            mask[0, :, quarter * n : quarter * (n + 1)] = 1
        return list(masks)

    monkeypatch.setattr(contrast, "seen_by", seen_by)
    return asked


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_masks_are_of_their_photos_and_of_their_size(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path, seen: list[tuple[object, ...]]
) -> None:
    asked = ("find-masks", "--images", photos, "--class-noun", "toy  duck", "--base", tiny, "--seed", 3)
    run = ccvd(*asked, "--out", "found/masks", "--sheet", "found/look.png")
    assert run.code == 0, run.err
    assert run.out.split() == [str(Path("found", "masks", f"{i}.png")) for i in (0, 1)]
    assert seen == [((3, 64, 64), "toy duck", 3, {"outline": True})]
    for i in (0, 1):
        mask, photo = pixels(cwd / "found" / "masks" / f"{i}.png"), pixels(photos / f"{i}.jpg")
        assert mask.shape == photo.shape[:2] == (40, 50)
        crop = mask[:, 5:45]  # the middle square of the photo
        assert (crop[:, 10 * i + 3 : 10 * i + 7] > 250).all()
        assert (np.delete(crop, slice(max(0, 10 * i - 2), 10 * i + 12), 1) < 5).all()
        assert not mask[:, :5].any() and not mask[:, 45:].any()
    sheet = pixels(cwd / "found" / "look.png").mean((0, 2))
    assert sheet.std() > 10 and "Sheet: found/look.png" in run.err
    line = run.err.partition("Learn within them: ")[2].strip()
    assert line.startswith(f"ccvd learn-subject --images {photos} --masks {Path('found/masks')}")
    learned = ccvd(*shlex.split(line)[1:], *QUICK, "--no-preview")
    assert learned.code == 0 and "V1 (toy duck)" in learned.err and "within their masks" in learned.err
    again = ccvd("find-masks", "--images", photos, "--out", "found/masks", "--yes", "--quiet")
    assert again.code == 0 and len(seen) == 2  # on the base of the last concept
    assert seen[1][1:3] == ("thing", 0)


def test_the_line_to_go_on_says_what_was_asked(
    ccvd: Ccvd, photos: Path, tmp_path: Path, seen: list[tuple[object, ...]]
) -> None:
    """On a base that does not look for masks by itself, what is outside of them is to be kept, as it is with --masks auto."""
    real = build_unet3d(tmp_path / "real")
    run = ccvd("find-masks", "--images", photos, "--out", "m", "--base", real, "--height", 32, "--width", 64)
    assert run.code == 0 and seen[0][0] == (3, 32, 64), run.err
    line = run.err.partition("Learn within them: ")[2].split()
    assert line[-8:] == ["--keep-outside", "1", "--base", str(real), "--height", "32", "--width", "64"]


def test_json_says_how_much_of_each_photo_is_the_subject(
    ccvd: Ccvd, tiny: Path, photos: Path, seen: list[tuple[object, ...]]
) -> None:
    run = ccvd("find-masks", "--images", photos, "--base", tiny, "--out", "masks", "--json", "--quiet")
    assert (run.code, run.err) == (0, "Skipped note.jpg: not an image.\n")
    shares = {str(Path("masks", f"{i}.png")): 0.25 for i in (0, 1)}
    assert json.loads(run.out) == {"masks": shares, "sheet": None}


def test_the_base_itself_is_asked(ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path) -> None:
    run = ccvd("find-masks", "--images", photos, "--base", tiny, "--out", "masks")
    assert run.code == 0 and "masks 12/12" in run.err, run.err
    assert all(pixels(cwd / "masks" / f"{i}.png").max() > 200 for i in (0, 1))


def test_photos_that_are_cut_out_need_none(
    ccvd: Ccvd, tiny: Path, cwd: Path, seen: list[tuple[object, ...]]
) -> None:
    cut = np.full((40, 40, 4), 200, np.uint8)
    cut[:, 20:, 3] = 0
    (cwd / "cut").mkdir()
    Image.fromarray(cut).save(cwd / "cut" / "a.png")
    run = ccvd("find-masks", "--images", "cut", "--base", tiny, "--out", "masks")
    assert run.code == 0 and "These photos are cut out already" in run.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "masks", "--images", "nowhere"), "nowhere"),
        (("--out", "there"), "'there' has 1.png already."),
        (("--out", "photos"), "--out 'photos' holds the photos themselves."),
        (("--out", "file/masks"), "file' is not a folder."),
        (("--out", "masks", "--images", "twins"), "are called 'a'"),
        (("--out", "masks", "--sheet", "look.jpg"), "--sheet 'look.jpg' is not a PNG."),
        (
            ("--out", "masks", "--sheet", "masks/0.png"),
            "--sheet 'masks/0.png' would be among masks or photos.",
        ),
        (
            ("--out", "masks", "--sheet", "photos/9.png"),
            "--sheet 'photos/9.png' would be among masks or photos.",
        ),
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
