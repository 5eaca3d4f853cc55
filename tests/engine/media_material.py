"""Pictures and clips made for the tests of reading and writing media."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from ccvd_cli.engine.media import load_images, load_videos
from ccvd_cli.errors import UsageError

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
QUARTERS = [RED, GREEN, BLUE, BLACK]  # top left, top right, bottom left, bottom right


def quarters(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that tells where up is."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    return picture


def corners(pixels: torch.Tensor) -> list[tuple[int, ...]]:
    """Colours of the four quarters of (3, H, W) in [-1, 1], each channel rounded to 0 or 255."""
    _, height, width = pixels.shape
    places = [(height // 8, width // 8), (height // 8, -width // 8)]
    places += [(-height // 8, width // 8), (-height // 8, -width // 8)]
    return [tuple(255 if value > 0 else 0 for value in pixels[:, y, x].tolist()) for y, x in places]


def write_video(
    path: Path,
    pictures: list[np.ndarray],
    *,
    fps: int = 8,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    faststart: bool = False,
) -> Path:
    flags = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=flags) as container:
        stream = container.add_stream(codec, rate=Fraction(fps))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def ramp(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames whose brightness tells their time: from black to white."""
    return [np.full((height, width, 3), round(255 * i / max(count - 1, 1)), np.uint8) for i in range(count)]


def noise(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def brightness(clip: torch.Tensor) -> np.ndarray:
    """(F,) in [0, 1]."""
    return ((clip.mean(dim=(1, 2, 3)) + 1) / 2).numpy()


def turn(path: Path, degrees: int) -> None:
    """Writes the display matrix a phone would: show the clip turned clockwise by `degrees`."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def one_image(path: Path, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    loaded = load_images(path, size=size)
    assert loaded.skipped == []
    (tensor,) = loaded.tensors
    assert tensor.shape == (3, *size)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.min() >= -1 and tensor.max() <= 1
    return tensor


def one_clip(path: Path, size: tuple[int, int] = (32, 32), frames: int = 8, fps: int = 8) -> torch.Tensor:
    loaded = load_videos(path, size=size, frames=frames, fps=fps)
    assert loaded.skipped == []
    (tensor,) = loaded.tensors
    assert tensor.shape == (frames, 3, *size)
    assert tensor.dtype == torch.float32
    return tensor


def why_not(path: Path) -> str:
    """The reason why the clip or photo at `path` is refused."""
    with pytest.raises(UsageError) as caught:
        if path.suffix in {".jpg", ".png", ".heic"}:
            load_images(path, size=(32, 32))
        else:
            load_videos(path, size=(32, 32), frames=8, fps=8)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value.message
