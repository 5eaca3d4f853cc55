"""Clips and sheets that are written: readable by others, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from media_material import (
    BLUE,
    GREEN,
    QUARTERS,
    RED,
    corners,
    one_clip,
    quarters,
)
from PIL import Image

from ccvd_cli.engine import media_out
from ccvd_cli.engine.media_out import contact_sheet, write_clip
from ccvd_cli.errors import CcvdError, UsageError
from ccvd_cli.outputs import SUFFIXES, check_output


def frames_out(count: int = 6, height: int = 32, width: int = 48) -> torch.Tensor:
    """(F, 3, H, W) in [0, 1]: the quarters, wandering a little."""
    pictures = np.stack([np.roll(quarters(height, width), i, axis=1) for i in range(count)])
    return torch.from_numpy(pictures).movedim(-1, 1).float() / 255


@pytest.mark.parametrize("shape", [(32, 48), (33, 47)])
def test_mp4_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, int]) -> None:
    frames = frames_out(6, *shape)
    (path,) = write_clip(frames, tmp_path / "new" / "a.mp4", 8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 8)
        back = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert len(back) == 6
    assert back.shape[1] % 2 == back.shape[2] % 2 == 0
    back = back[:, : shape[0], : shape[1]]
    wanted = (frames * 255).movedim(1, -1).numpy()
    assert np.abs(back - wanted).mean() < 8  # the colours are halved in resolution at hard edges
    assert np.abs(back[0, 4, 4] - wanted[0, 4, 4]).max() < 4
    assert corners(one_clip(path, shape, frames=6)[0]) == QUARTERS


@pytest.mark.parametrize("fps", [16 / 7, 0.03, 61.5])
def test_mp4_takes_as_long_as_its_fps_says(tmp_path: Path, fps: float) -> None:
    (path,) = write_clip(frames_out(), tmp_path / "a.mp4", fps, size=(50, 33))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.height, stream.width) == (6, 50, 34)
        assert float(stream.duration * stream.time_base) == pytest.approx(6 / fps, rel=0.01)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".GIF"])
def test_animations_keep_frames_time_and_colours(tmp_path: Path, suffix: str) -> None:
    (path,) = write_clip(frames_out(), tmp_path / f"a{suffix}", 10, scale=2)
    with Image.open(path) as image:
        assert image.n_frames == 6
        assert image.size == (96, 64)
        image.seek(1)
        image.load()  # WebP tells the duration only then
        assert image.info["duration"] == 100
        assert image.info.get("loop") == 0
        shown = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0) / 127.5 - 1
    assert corners(shown) == QUARTERS


def test_png_frames_are_exact_and_numbered(tmp_path: Path) -> None:
    frames = torch.rand(3, 3, 5, 7)
    paths = write_clip(frames, tmp_path / "a.png", 8, scale=3)
    assert [path.name for path in paths] == ["a_000.png", "a_001.png", "a_002.png"]
    back = np.asarray(Image.open(paths[1]))
    assert back.shape == (15, 21, 3)
    np.testing.assert_array_equal(back[::3, ::3], (frames[1] * 255).round().byte().movedim(0, -1).numpy())
    np.testing.assert_array_equal(back[1::3, 2::3], back[::3, ::3])


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    for suffix in (".mp4", ".gif", ".webp"):
        (one,) = write_clip(frames_out(), tmp_path / f"one{suffix}", 8)
        (two,) = write_clip(frames_out(), tmp_path / f"two{suffix}", 8)
        assert one.read_bytes() == two.read_bytes()


def test_values_out_of_range_are_clamped(tmp_path: Path) -> None:
    frames = torch.tensor([-1.0, 2.0, float("nan")]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    (path,) = write_clip(frames, tmp_path / "a.png", 8)
    assert np.asarray(Image.open(path))[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize("suffix", list(SUFFIXES))
def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old, *_) = write_clip(frames_out(1), tmp_path / f"a{suffix}", 8)
    before = old.read_bytes()

    def disk_full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", disk_full)
    with pytest.raises(CcvdError, match="No space left") as caught:
        write_clip(frames_out(2) * 0.5, tmp_path / f"a{suffix}", 8)
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == before


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    for frames in (torch.rand(3, 8, 8), torch.rand(2, 4, 8, 8), torch.rand(0, 3, 8, 8)):
        with pytest.raises(ValueError, match=r"\(F, 3, H, W\), not"):
            write_clip(frames, tmp_path / "a.gif", 8)
    for fps, scale in ((0, 1), (8, 0)):
        with pytest.raises(ValueError, match=r"(at least 1|above 0), not 0"):
            write_clip(frames_out(), tmp_path / "a.gif", fps, scale=scale)
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet(tmp_path: Path) -> None:
    rows = [
        ("a <V1> dog on the beach, which is a rather long label that must wrap", frames_out(20)),
        ("short", frames_out(3, 20, 20)),
        ("", torch.zeros(1, 3, 8, 8)),
    ]
    path = contact_sheet(rows, tmp_path / "new" / "sheet.png", frames_per_row=4, scale=2)
    with Image.open(path) as sheet:
        assert sheet.width == 4 * (48 * 2 + 1) + 12
        assert sheet.height > 2 * (32 + 20 + 8)
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1 << 20)}
    assert {RED, GREEN, BLUE} <= colours
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="at least one clip"):
        contact_sheet([], tmp_path / "none.png")


def test_contact_sheet_with_strips_beside_each_other(tmp_path: Path) -> None:
    clips = [(str(k), torch.full((2, 3, 8, 8), k / 5)) for k in range(5)]
    with Image.open(contact_sheet(clips, tmp_path / "s.png", scale=4, columns=2)) as sheet:
        strip = 2 * (8 * 4 + 1)
        assert sheet.width == 2 * strip + 3 * 6
        row = sheet.height // 3
        grey = [sheet.getpixel((10 + (k % 2) * (strip + 6), row * (k // 2) + 40)) for k in range(5)]
        assert grey == [(51 * k,) * 3 for k in range(5)]
        assert sheet.getpixel((10 + strip + 6, row * 2 + 40)) == (255, 255, 255)


def test_long_label_wraps_within_the_sheet() -> None:
    font = media_out.ImageFont.load_default(14)
    lines = media_out._wrap("one two three four five six seven", font, 80)
    assert len(lines) > 1
    assert all(font.getlength(line) <= 80 for line in lines)
    assert " ".join(lines) == "one two three four five six seven"


@pytest.mark.parametrize("name", ["a.mp4", "a.GIF", "a.webp", "new/folder/a.png"])
def test_good_outputs_pass_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_bad_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    for name, message in {
        "a.mov": "Unknown suffix '.mov'",
        "a": "No suffix",
        "folder.mp4": "is a folder",
        "file/a.mp4": "is not a folder",
        "x" * 300 + ".mp4": "too long",
    }.items():
        with pytest.raises(UsageError, match=message) as caught:
            check_output(tmp_path / name)
        assert caught.value.hint
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="no permission"):
        check_output(tmp_path / "a.mp4")


def test_outputs_are_checked_without_torch() -> None:
    code = "import sys, ccvd_cli.outputs; sys.exit(bool({'torch', 'numpy', 'PIL', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
