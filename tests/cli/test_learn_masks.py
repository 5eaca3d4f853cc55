"""`--masks`: what is kept, and what is refused before a base is loaded."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cli_material import QUICK, Ccvd
from PIL import Image
from tiny_models import build_unet3d

from ccvd_cli.engine import bases, contrast, learn
from ccvd_cli.engine.contrast import NOISES
from ccvd_cli.engine.outline import Outline


def draw(folder: Path, name: str, size: tuple[int, int] = (50, 40), white: int = 255) -> None:
    folder.mkdir(exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(white, (10, 10, 30, 30))
    mask.save(folder / name)


def test_a_subject_is_learned_within_its_masks(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("0.png", "1.png", "note.png"):
        draw(cwd / "masks", name)
    given: list[tuple[int, ...]] = []
    real = learn.learn_subject
    monkeypatch.setattr(
        learn,
        "learn_subject",
        lambda *a, masks, **k: given.extend(m.shape for m in masks) or real(*a, masks=masks, **k),
    )
    shared = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview")
    run = ccvd(*shared, "--masks", "masks", "--attention-mask", 0.5, "--attention-mask-level", 2)
    assert (run.code, run.out) == (0, "V1\n"), run.err
    assert "from 2 files (0.jpg, 1.jpg), within their masks." in run.err
    assert given == [(1, 64, 64)] * 2
    shown = json.loads(ccvd("show", "V1", "--json").out)
    assert [(file["file"], file["mask"]) for file in shown["data"]] == [
        ("0.jpg", "0.png"),
        ("1.jpg", "1.png"),
    ]
    assert shown["data"][1]["mask_sha256"] == sha256((cwd / "masks" / "1.png").read_bytes()).hexdigest()
    assert "0.jpg (mask: 0.png), 1.jpg (mask: 1.png)" in ccvd("show", "V1").out
    assert shown["recipe"]["attention_mask_weight"] == 0.5
    assert shown["recipe"]["attention_mask_level"] == 2


def test_the_alpha_channel_of_the_photos_is_a_mask(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    (cwd / "cut").mkdir()
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, 20:, 3] = 0
    Image.fromarray(pixels).save(cwd / "cut" / "a.png")
    shared = ("learn-subject", "--images", "cut", "--base", tiny, *QUICK, "--no-preview", "--orthogonal", 0)
    for masks in ("none", "auto", "alpha"):
        assert ccvd(*shared, "--name", masks, "--masks", masks).code == 0
    told = [json.loads(ccvd("show", n, "--json").out) for n in ("none", "auto", "alpha")]
    assert len({one["digests"]["adapter"] for one in told}) == 3
    assert [one["recipe"]["find_masks"] for one in told] == [False, True, False]
    assert [[file.get("mask") for file in one["data"]] for one in told] == [[None], [None], ["alpha"]]


def test_photos_that_are_cut_out_are_their_own_masks(ccvd: Ccvd, tiny: Path, cwd: Path) -> None:
    (cwd / "cut").mkdir()
    pixels = np.full((40, 40, 4), 200, np.uint8)
    pixels[:, 20:, 3] = 0
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(cwd / "cut" / name)
    (cwd / "cut" / "c.png").write_bytes(b"no picture")
    shared = ("learn-subject", "--images", "cut", "--base", tiny, *QUICK, "--no-preview", "--orthogonal", 0)
    told = {}
    for masks in ((), ("--masks", "alpha"), ("--masks", "none"), ("--masks", "auto")):
        run = ccvd(*shared, *masks)
        assert run.code == 0, run.err
        told[masks[-1:]] = json.loads(ccvd("show", run.out.strip(), "--json").out)
        assert ("within what is not transparent in them" in run.err) == (masks[-1:] in ((), ("alpha",)))
    assert told[()]["digests"]["adapter"] == told[("alpha",)]["digests"]["adapter"]
    assert {file["mask"] for file in told[()]["data"]} == {"alpha"}
    assert len({one["digests"]["adapter"] for one in told.values()}) == 3
    opaque, rounded, aside = pixels.copy(), pixels.copy(), pixels.copy()
    opaque[..., 3] = rounded[..., 3] = 255
    rounded[:4, :4, 3] = 0  # as screenshots have it
    aside[..., 3] = 0
    aside[:4, :, 3] = 255  # and gone where the photo is cropped
    for other, size in ((opaque, ()), (rounded, ()), (aside, ("--height", 32))):
        Image.fromarray(other).save(cwd / "cut" / "b.png")  # not all of them are cut out
        run = ccvd(*shared, *size)
        assert run.code == 0 and "within masks that the base finds" in run.err, run.err
    assert "transparent" not in ccvd("learn-style", *shared[1:]).err


def test_the_base_may_say_where_the_subject_is(
    ccvd: Ccvd, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrast, "outlined", lambda photos, seen: [Outline(mask, mask) for mask in seen])
    shared = ("learn-subject", "--images", photos, "--base", tiny, *QUICK, "--no-preview", "--orthogonal", 0)
    shared = (*shared, "--class-noun", "dog")
    ways = {
        "default": (),
        "auto": ("--masks", "auto"),
        "only": ("--masks", "auto", "--keep-outside", 0),
        "none": ("--masks", "none"),
    }
    told = []
    for name, more in ways.items():
        run = ccvd(*shared, "--name", name, *more)
        assert run.code == 0, run.err
        assert ("within masks that the base finds" in run.err) == (name != "none")
        assert (f"masks {NOISES}/{NOISES}" in run.err) == (name != "none")
        told.append(json.loads(ccvd("show", name, "--json").out))
    assert told[0]["digests"]["adapter"] == told[1]["digests"]["adapter"]  # what mini does by itself
    assert len({one["digests"]["adapter"] for one in told}) == 3
    assert [one["recipe"]["find_masks"] for one in told] == [True, True, True, False]
    assert [one["recipe"]["keep_weight"] for one in told] == [1, 1, 0, 1]
    assert told[1]["data"] == told[3]["data"]  # there are no files of masks


def test_settings_of_masks_need_masks(ccvd: Ccvd, tiny: Path, photos: Path) -> None:
    shared = ("learn-subject", "--images", photos, "--base", tiny, *QUICK)
    run = ccvd(*shared, "--masks", "none", "--outside-mask", 0.2)
    assert run.code == 2 and "--outside-mask without masks." in run.err
    both = (*shared, "--images", photos)
    run = ccvd(*both, "--masks", "auto", "--masks", "none")
    assert run.code == 2 and "--masks auto for one subject and none for another." in run.err
    run = ccvd(*shared, "--masks", "auto", "--masks", "none")
    assert run.code == 2 and "2 --masks (auto, none) for one folder" in run.err


def test_masks_are_looked_for_where_nobody_gives_any(
    ccvd: Ccvd, tiny: Path, photos: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(cwd / "masks", "0.png")
    draw(cwd / "masks", "1.png")
    asked: list[int] = []
    real = learn.seen_by
    monkeypatch.setattr(learn, "seen_by", lambda *a, **k: asked.append(1) or real(*a, **k))
    line = ("learn-subject", "--images", photos, "--images", photos, "--base", tiny, *QUICK, "--no-preview")
    for masks, found in (
        ((), 2),
        (("none",), 0),
        (("masks", "auto"), 1),
        (("masks", "none"), 0),
        (("masks", "masks"), 0),
    ):
        asked.clear()
        run = ccvd(*line, *(x for mask in masks for x in ("--masks", mask)))
        assert run.code == 0 and len(asked) == found, (masks, asked, run.err)


def test_real_bases_look_for_masks_if_asked(ccvd: Ccvd, photos: Path, tmp_path: Path) -> None:
    real, small = build_unet3d(tmp_path / "real"), ("--height", 32, "--width", 32)
    shared = ("learn-subject", "--images", photos, "--base", real, *QUICK, "--no-preview", *small)
    told = []
    for masks in ((), ("--masks", "auto")):
        run = ccvd(*shared, *masks)
        assert run.code == 0, run.err
        recipe = json.loads(ccvd("show", run.out.strip(), "--json").out)["recipe"]
        told.append((recipe["find_masks"], recipe["outline_masks"], recipe["keep_weight"]))
    assert told == [(False, False, 0), (True, True, 1)]
    alone = ccvd(*shared, "--outside-mask", 0.5)
    assert alone.code == 2 and "--outside-mask without masks." in alone.err


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ("smaller", "is 25x20 pixels, its photo 1.jpg 50x40"),
        ("turned", "is 40x50 pixels, its photo 0.jpg 50x40"),
        ("one", "No mask for 1.jpg in 'one'"),
        ("three", "No photo for mask 2.png of 'three'"),
        ("twice", "Two masks are called '0': 0.bmp and 0.png"),
        ("black", "Mask 'black/0.png' is black"),
        ("classes", "(at most 1 of 255)"),
        ("broken", "Cannot read mask 'broken/1.png': not an image"),
        ("empty", "'empty'"),
        ("nowhere", "'nowhere'"),
        ("alpha", "has no alpha channel"),
        ("photos", "holds the photos themselves"),
    ],
)
def test_a_bad_mask_is_one_line_and_leaves_nothing(
    ccvd: Ccvd,
    tiny: Path,
    photos: Path,
    cwd: Path,
    ccvd_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    masks: str,
    said: str,
) -> None:
    for folder in ("smaller", "turned", "one", "three", "twice", "black", "classes", "broken"):
        draw(cwd / folder, "0.png")
        if folder != "one":
            draw(cwd / folder, "1.png")
    draw(cwd / "smaller", "1.png", (25, 20))
    draw(cwd / "turned", "0.png", (40, 50))
    draw(cwd / "three", "2.png")
    draw(cwd / "twice", "0.bmp")
    draw(cwd / "black", "0.png", white=0)
    draw(cwd / "classes", "0.png", white=1)
    (cwd / "broken" / "1.png").write_text("no mask")
    (cwd / "empty").mkdir()
    before = sorted(cwd.rglob("*"))
    monkeypatch.setattr(bases, "open_base", None)  # must not be reached
    source = photos if masks == "photos" else masks
    run = ccvd("learn-subject", "--images", photos, "--masks", source, "--base", tiny, *QUICK)
    assert (run.code, run.out) == (2, "")
    error = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]
    assert sorted(cwd.rglob("*")) == before and not ccvd_home.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--outside-mask", 2), "--outside-mask 2"),
        (("--keep-outside", -1), "--keep-outside -1"),
        (("--attention-mask", -1), "--attention-mask -1"),
        (("--attention-mask-level", 0), "--attention-mask-level 0"),
    ],
)
def test_bad_weights_name_the_option(
    ccvd: Ccvd, tiny: Path, photos: Path, options: tuple[object, ...], said: str
) -> None:
    run = ccvd("learn-subject", "--images", photos, "--masks", "alpha", "--base", tiny, *options)
    assert run.code == 2 and said in run.err


def test_motions_have_no_masks(ccvd: Ccvd, tiny: Path, clips: Path) -> None:
    run = ccvd("learn-motion", "--videos", clips, "--base", tiny, "--masks", "masks")
    assert run.code == 2 and "--masks" in run.err
