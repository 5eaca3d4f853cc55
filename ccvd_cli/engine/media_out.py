"""Frames -> files: clips that players open, and contact sheets. A file appears whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..outputs import check_suffix, frame_paths, whole
from .clip_reader import Pixels

_MARGIN = 6  # pixels around the rows of a contact sheet
_LABEL_SIZE = 14  # pixels
_BT601 = 6  # FFmpeg's AVCOL_SPC_SMPTE170M


def write_clip(
    frames: Tensor,
    path: Path,
    fps: float,
    *,
    scale: int = 1,
    size: tuple[int, int] | None = None,
    held: Sequence[int] | None = None,
) -> list[Path]:
    """Writes `frames` (F, 3, H, W) in [0, 1] as the suffix of `path` says (see `outputs.SUFFIXES`).

    Args:
        fps: frames per second. GIF counts in hundredths of a second and shows at most 50 a second.
        scale: every pixel becomes a square of `scale` pixels, so that a 64x64 clip can be seen.
        size: (height, width) that frames are resized to instead. H.264 needs even sides: odd ones grow by a pixel.
        held: for how many frames of an .mp4 each is shown; 1, unless told.

    Returns:
        The files written: one, or one per frame for .png.

    Raises:
        UsageError: unknown suffix.
        CcvdError: the file system refuses. Nothing is left behind.
    """
    suffix = check_suffix(path)
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be above 0, not {fps}")
    pixels = _to_pixels(frames, scale)
    if size is not None:
        pixels = _resized(pixels, *size)
    if suffix == ".png":
        targets = frame_paths(path, len(pixels))
        with whole(*targets) as parts:
            _save_frames(pixels, parts)
        return targets
    with whole(path) as (part,):
        if suffix == ".mp4":
            _save_mp4(pixels, part, fps, held or [1] * len(pixels))
        else:
            {".gif": _save_gif, ".webp": _save_webp}[suffix](pixels, part, fps)
    return [path]


def contact_sheet(
    clips: Sequence[tuple[str, Tensor]],
    path: Path,
    *,
    frames_per_row: int = 8,
    scale: int = 2,
    columns: int = 1,
) -> Path:
    """Writes a PNG with a strip of evenly spaced frames for each clip, its label above it.

    Args:
        clips: label and frames (F, 3, H, W) in [0, 1]; they may differ in length and size.
        frames_per_row: how many frames of a longer clip are shown.
        scale: every pixel becomes a square of `scale` pixels.
        columns: so many strips beside each other.

    Raises:
        ValueError: no clips.
        CcvdError: the file system refuses. Nothing is left behind.
    """
    if not clips:
        raise ValueError("a contact sheet needs at least one clip")
    strips = [(label, _strip(_to_pixels(frames, scale), frames_per_row)) for label, frames in clips]
    font = ImageFont.load_default(_LABEL_SIZE)
    width = max(strip.width for _, strip in strips)
    cells = [(_wrap(label, font, width), strip) for label, strip in strips]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    line = _LABEL_SIZE + 4
    labels = [line * max(len(lines) for lines, _ in row) for row in rows]
    heights = [
        label + max(strip.height for _, strip in row) + _MARGIN
        for label, row in zip(labels, rows, strict=True)
    ]
    across = _MARGIN + len(rows[0]) * (width + _MARGIN)
    sheet = Image.new("RGB", (across, _MARGIN + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    y = _MARGIN
    for row, label, height in zip(rows, labels, heights, strict=True):
        for k, (lines, strip) in enumerate(row):
            x = _MARGIN + k * (width + _MARGIN)
            for n, text in enumerate(lines):
                draw.text((x, y + n * line), text, fill="black", font=font)
            sheet.paste(strip, (x, y + label))
        y += height
    with whole(path) as (part,):
        sheet.save(part, format="PNG")
    return path


def _to_pixels(frames: Tensor, scale: int) -> Pixels:
    """uint8 (F, H * scale, W * scale, 3)."""
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must have shape (F, 3, H, W), not {tuple(frames.shape)}")
    if scale < 1:
        raise ValueError(f"scale must be at least 1, not {scale}")
    pixels = frames.detach().to("cpu", torch.float32).nan_to_num(0.0).clamp(0, 1).mul(255).round()
    array = pixels.to(torch.uint8).movedim(1, -1).numpy()
    return array.repeat(scale, axis=1).repeat(scale, axis=2)


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[1:3] == (height, width):
        return pixels
    method = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height), method)) for x in pixels])


def _save_frames(pixels: Pixels, parts: list[Path]) -> None:
    for picture, part in zip(pixels, parts, strict=True):
        Image.fromarray(picture).save(part, format="PNG")


def _save_mp4(pixels: Pixels, part: Path, fps: float, held: Sequence[int]) -> None:
    """H.264, 4:2:0: the one kind that every player and browser shows. It needs even sides."""
    import av

    pixels = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2), (0, pixels.shape[2] % 2), (0, 0)), mode="edge")
    with av.open(str(part.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=_rate(fps))
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "preset": "medium"}
        # swscale's own matrix, written down: else players guess it from the height of the picture.
        stream.codec_context.colorspace = _BT601
        for picture, times in zip(pixels, held, strict=True):
            for _ in range(times):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _rate(fps: float) -> Fraction:
    """A fraction of small numbers, as containers want them, however slow the clip."""
    return (
        Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)
    )


def _save_gif(pixels: Pixels, part: Path, fps: float) -> None:
    """One palette for the whole clip and no dithering: neither colours nor dots flicker."""
    count, height, width, _ = pixels.shape
    palette = Image.fromarray(pixels.reshape(count * height, width, 3)).quantize(256)
    images = [Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in pixels]
    duration = max(20, round(100 / fps) * 10)  # milliseconds; viewers slow down anything faster than 20
    images[0].save(part, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)


def _save_webp(pixels: Pixels, part: Path, fps: float) -> None:
    images = [Image.fromarray(x) for x in pixels]
    images[0].save(
        part,
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=max(1, round(1000 / fps)),
        loop=0,
        quality=92,
    )


def _strip(pixels: Pixels, frames_per_row: int) -> Image.Image:
    count = min(len(pixels), max(frames_per_row, 1))
    shown = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)]
    return Image.fromarray(np.concatenate(list(np.pad(shown, ((0, 0), (0, 0), (0, 1), (0, 0)))), axis=1))


def _wrap(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Breaks `label` at spaces so that it fits into `width` pixels, word by word."""
    lines: list[str] = []
    for word in label.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
