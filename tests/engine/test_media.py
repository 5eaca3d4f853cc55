"""Photos and folders as people have them: turned, transparent, huge, damaged. Every file is made here."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from media_material import (
    QUARTERS,
    corners,
    cut,
    noise,
    one_image,
    quarters,
    why_not,
)
from PIL import Image

from ccvd_cli.engine.media import find_images, find_videos, load_images
from ccvd_cli.errors import UsageError


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    shown = Image.fromarray(quarters(64, 64))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse of what the orientation asks for
    stored = shown if orientation == 1 else shown.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert corners(one_image(tmp_path / "a.jpg")) == QUARTERS


def test_photo_is_cropped_at_its_centre_not_squeezed(tmp_path: Path) -> None:
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, 40:80] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert one_image(tmp_path / "a.png", (40, 40)).min() > 0.9
    Image.fromarray(picture).rotate(90, expand=True).save(tmp_path / "b.png")
    assert one_image(tmp_path / "b.png", (20, 20)).mean() > 0.9


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.dstack([quarters(32, 32), np.full((32, 32), 255, np.uint8)]))
    image.paste((0, 0, 0, 0), (16, 16, 32, 32))
    converted = image.quantize(16) if mode == "P" else image.convert(mode)
    converted.save(tmp_path / "a.png")
    tensor = one_image(tmp_path / "a.png")
    assert corners(tensor)[3] == (255, 255, 255)
    if mode != "LA":
        assert corners(tensor)[:3] == QUARTERS[:3]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_every_colour_mode_is_read(tmp_path: Path, mode: str) -> None:
    white = Image.new("RGB", (20, 20), (255, 255, 255))
    converted = Image.new("LAB", (20, 20), (255, 128, 128)) if mode == "LAB" else white.convert(mode)
    # Pillow before 13 cannot read back the YCbCr pictures that it stores uncompressed
    converted.save(tmp_path / "a.tiff", compression="tiff_lzw")
    assert one_image(tmp_path / "a.tiff").mean() > 0.9


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_deep_greyscale_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    half = np.full((20, 20), 32768, np.uint16)
    Image.fromarray(half).save(tmp_path / f"a.{suffix}")
    assert abs(one_image(tmp_path / f"a.{suffix}").mean()) < 0.02


def test_float_image_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 0.5, np.float32)).save(tmp_path / "a.tiff")
    assert abs(one_image(tmp_path / "a.tiff").mean()) < 0.02


def test_animation_given_as_photo_gives_its_first_picture(tmp_path: Path) -> None:
    first, second = Image.fromarray(quarters(32, 32)), Image.new("RGB", (32, 32), "white")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], duration=100)
    assert corners(one_image(tmp_path / "a.gif")) == QUARTERS


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (37, 23), (2400, 3600)])
def test_any_size_is_read(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.new("RGB", shape, (255, 0, 0)).save(tmp_path / "a.jpg")
    tensor = one_image(tmp_path / "a.jpg", (48, 32))
    assert tensor[0].min() > 0.9 and tensor[1:].max() < -0.9


def test_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "too large" in why_not(tmp_path / "a.png")


def test_damaged_photos_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a photo\n")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    Image.fromarray(noise(1)[0]).save(tmp_path / "cut.jpg")
    cut(tmp_path / "cut.jpg", 0.5)
    assert "not an image" in why_not(tmp_path / "text.jpg")
    assert "empty file" in why_not(tmp_path / "empty.jpg")
    assert "export it as JPEG" in why_not(tmp_path / "phone.heic")
    assert "cut short" in why_not(tmp_path / "cut.jpg")


def test_unreadable_files_are_skipped_and_named(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c"):  # no suffix is fine: the reader decides
        Image.new("RGB", (8, 8)).save(tmp_path / name, format="PNG")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "captions.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_text("hello")
    (tmp_path / "more").mkdir()
    loaded = load_images(tmp_path, size=(8, 8), minimum=3)
    assert [path.name for path in loaded.used] == ["a.png", "b.png", "c"]
    assert loaded.skipped == [(tmp_path / "text.jpg", "not an image")]
    assert loaded.digests[1] == hashlib.sha256((tmp_path / "b.png").read_bytes()).hexdigest()
    assert len(loaded.tensors) == len(loaded.digests) == 3


def test_too_few_readable_photos(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(
        UsageError, match=r"Only 1 readable photo.*3 needed \(text.jpg: not an image\)"
    ) as caught:
        load_images(tmp_path, size=(8, 8), minimum=3)
    assert "at least 3" in caught.value.hint


def test_nothing_readable_names_some_and_counts_the_rest(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_text("hello")
    with pytest.raises(UsageError, match=r"No readable photo .*0.jpg: not an image;.*and 3 more\)"):
        load_images(tmp_path, size=(8, 8))


def test_missing_empty_and_nested_folders(tmp_path: Path) -> None:
    for find in (find_images, find_videos):
        with pytest.raises(UsageError, match="There is no folder"):
            find(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="in folder") as caught:
            find(tmp_path / "empty")
        assert caught.value.hint
        with pytest.raises(UsageError) as caught:
            find(tmp_path)
        assert "not searched" in caught.value.hint


def test_a_single_file_stands_for_a_folder(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert find_images(tmp_path / "a.png") == [tmp_path / "a.png"]
    assert len(load_images(tmp_path / "a.png", size=(8, 8)).used) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_skipped(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    assert "no permission" in why_not(tmp_path / "a.png")
