"""Clips as people have them: any container, held sideways, long, short, cut. Every file is made here."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media_material import (
    QUARTERS,
    brightness,
    corners,
    cut,
    noise,
    one_clip,
    quarters,
    ramp,
    turn,
    why_not,
    write_video,
)
from PIL import Image

from ccvd_cli.engine.clip_reader import evenly_at, frames_at, read_at
from ccvd_cli.engine.media import load_film, load_videos

CODECS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("b.avi", "mjpeg", "yuvj420p"),
    ("a.mkv", "libx264", "yuv420p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.gif", "gif", "rgb8"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), CODECS)
def test_every_container_is_read(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    write_video(tmp_path / name, [quarters()] * 10, codec=codec, pix_fmt=pix_fmt)
    for frame in one_clip(tmp_path / name):
        assert corners(frame) == QUARTERS


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("reader", ["decord", "av", "no decord"])
def test_turned_clip_is_shown_upright(
    tmp_path: Path, degrees: int, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader == "av":
        monkeypatch.setattr("ccvd_cli.engine.clip_reader._read_with_decord", _give_up)
    elif reader == "no decord":
        monkeypatch.setitem(sys.modules, "decord", None)
    stored = np.ascontiguousarray(np.rot90(quarters(64, 96), degrees // 90))
    path = write_video(tmp_path / "a.mp4", [stored] * 4)
    turn(path, degrees)
    # A wide crop of a wide clip: if sides were swapped, the quarters would not reach the corners.
    assert corners(one_clip(path, (32, 48), frames=4)[0]) == QUARTERS


def _give_up(*_: object) -> None:
    raise RuntimeError("decord cannot read this")


def test_long_clip_is_covered_from_first_to_last_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", ramp(121), fps=25)
    seen = brightness(one_clip(path, frames=9))
    np.testing.assert_allclose(seen, np.linspace(0, 1, 9), atol=0.03)


def test_clip_of_the_right_length_keeps_every_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", ramp(16), fps=8)
    np.testing.assert_allclose(brightness(one_clip(path, frames=16)), np.linspace(0, 1, 16), atol=0.03)


def test_which_frames_are_taken() -> None:
    even = np.arange(240) / 24
    assert frames_at(even, 5, 8).tolist() == [0, 60, 120, 179, 239]
    # Short: slowed to half speed, then held.
    assert frames_at(np.arange(3) / 8, 8, 8).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    # A phone's uneven time stamps: time counts, not the number of frames.
    assert frames_at(np.array([0.0, 0.1, 0.2, 10.0]), 3, 8).tolist() == [0, 2, 3]
    assert frames_at(even, 1, 8).tolist() == [0]


def test_equal_parts_of_a_clip() -> None:
    def spans(*ends: float) -> np.ndarray:
        return np.stack([[0.0, *ends[:-1]], ends], axis=1)

    even = spans(*(np.arange(1, 13) / 6))
    assert evenly_at(even, 12).tolist() == list(range(12)) == evenly_at(even, 99).tolist()
    assert evenly_at(even, 4).tolist() == [1, 4, 7, 10]
    # A long last frame: time counts, not the number of frames.
    assert evenly_at(spans(0.4, 0.5, 1.2), 3).tolist() == [0, 2, 2]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), CODECS)
def test_a_film_is_read_from_its_beginning_to_its_end(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    path = write_video(tmp_path / name, [quarters()] * 10, fps=5, codec=codec, pix_fmt=pix_fmt)
    film = load_film(path, size=(16, 48), most=4)
    assert film.frames.shape == (4, 3, 16, 48) and film.count == 10 and film.size == (48, 64)
    assert film.seconds == pytest.approx(2, abs=0.02) and film.fps == pytest.approx(5, abs=0.02)
    assert corners(film.frames[0]) == QUARTERS
    assert film.taken == (1, 3, 6, 8)
    assert film.held == [3, 2, 3, 2]


def test_a_film_is_squeezed_not_cropped(tmp_path: Path) -> None:
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :16] = picture[:, -16:] = 255
    film = load_film(write_video(tmp_path / "a.mp4", [picture] * 3), size=(24, 24), most=3)
    bright = film.frames[0].mean((0, 1)) > 0
    assert bright[:3].all() and bright[-3:].all() and not bright[5:-5].any()


def test_a_film_held_sideways_is_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(quarters(64, 96), 1))] * 4)
    turn(path, 90)
    film = load_film(path, size=(32, 32), most=4)
    assert film.size == (64, 96) and corners(film.frames[0]) == QUARTERS


def test_decord_and_av_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [np.roll(quarters(90, 130), i, axis=1) for i in range(40)]
    path = write_video(tmp_path / "a.mp4", pictures)
    fast = one_clip(path)
    monkeypatch.setattr("ccvd_cli.engine.clip_reader._read_with_decord", _give_up)
    assert (one_clip(path) - fast).abs().mean() < 0.02


@pytest.mark.parametrize("shape", [(2, 4), (47, 63), (10, 600), (600, 10), (720, 1280)])
def test_clips_of_any_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write_video(tmp_path / "a.mp4", ramp(6, *shape), pix_fmt="yuv444p")
    seen = brightness(one_clip(path, (24, 40), frames=4))
    assert seen[0] < 0.05 and seen[-1] > 0.95


def test_gif_with_a_long_last_picture_is_not_called_cut(tmp_path: Path) -> None:
    pictures = [Image.new("L", (16, 16), 20 * i) for i in range(12)]
    durations = [50] * 11 + [1000]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=durations)
    one_clip(tmp_path / "a.gif")


def test_odd_names_are_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", ramp(4)).rename(tmp_path / "http: 100% ü, 'x'")
    one_clip(path)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_one_frame_is_no_motion(tmp_path: Path, name: str, codec: str) -> None:
    assert "one frame" in why_not(write_video(tmp_path / name, ramp(1), codec=codec))


@pytest.mark.parametrize(
    ("name", "codec", "faststart"),
    [
        ("a.mp4", "libx264", False),
        ("a.mp4", "libx264", True),
        ("a.avi", "mpeg4", False),
        ("a.webm", "libvpx", False),
        ("a.mkv", "libx264", False),
    ],
)
def test_truncated_clip(tmp_path: Path, name: str, codec: str, faststart: bool) -> None:
    path = write_video(tmp_path / name, noise(24), codec=codec, faststart=faststart)
    one_clip(path)
    cut(path, 0.6)
    assert "cut short" in why_not(path)


def test_hole_in_a_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noise(24), faststart=True)
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    data[half : half + 5000] = bytes(5000)
    path.write_bytes(data)
    assert "damaged" in why_not(path)


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", noise(24))
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ"))
    assert "unknown codec" in why_not(path)


def test_what_is_no_clip(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello\n")
    (tmp_path / "notes.txt").write_text("hello\n")  # FFmpeg would play it as a terminal recording
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1\nhttp://127.0.0.1:9/a.ts\n")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "not a video" in why_not(tmp_path / "text.mp4")
    assert "not a video" in why_not(tmp_path / "notes.txt")
    assert "not a video" in why_not(tmp_path / "list.mp4")
    assert "empty file" in why_not(tmp_path / "empty.mp4")
    assert "no video in it" in why_not(tmp_path / "sound.mp4")


def test_bad_clips_leave_stderr_clean(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "good.mp4", ramp(8))
    cut(write_video(tmp_path / "cut.mp4", noise(24), faststart=True), 0.6)
    cut(write_video(tmp_path / "cut.avi", noise(24), codec="mpeg4"), 0.6)
    (tmp_path / "text.mp4").write_text("hello\n")
    capfd.readouterr()  # the encoders' own chatter
    loaded = load_videos(tmp_path, size=(32, 32), frames=8, fps=8)
    assert [path.name for path in loaded.used] == ["good.mp4"]
    assert [path.name for path, _ in loaded.skipped] == ["cut.avi", "cut.mp4", "text.mp4"]
    assert capfd.readouterr() == ("", "")


def test_frames_at_shares_of_a_clip_are_small_and_few(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", ramp(9, 48, 96))
    found = read_at(path, (0, 0.5, 1, 1), 32)
    assert [i for i, _ in found] == [0, 4, 8]
    assert all(frame.shape == (16, 32, 3) for _, frame in found)
    assert [round(float(frame.mean()) / 255, 1) for _, frame in found] == [0.0, 0.5, 1.0]
