"""One clip file -> the frames that are needed, upright and small. Nothing is decoded whole.

decord does the reading, as it seeks and resizes while decoding. PyAV looks at the file first, because decord
prints C-level noise on files that are no video and does not tell how a phone held the camera; and it steps
in where decord 0.6 (with its FFmpeg 4) gives up: GIF, AV1, and frames of a few pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]
Spans = npt.NDArray[np.float64]  # (N, 2): begin and end of each frame of a clip, in seconds
Pick = Callable[[Spans], npt.NDArray[np.int64]]  # which of these frames to take

# No network: a playlist named .mp4 must not fetch anything.
_LOCAL_ONLY = {"protocol_whitelist": "file"}


class Unreadable(Exception):
    """One file cannot be used; the text is the reason, short enough to stand after the file's name."""


@dataclass(frozen=True)
class _Probe:
    """What the container says. `height` and `width` are as shown: turned upright, with square pixels."""

    height: int
    width: int
    rotation: int  # degrees counter-clockwise that turn a decoded frame upright
    seconds: float  # declared length; 0 if unknown


@dataclass(frozen=True)
class Whole:
    """A clip from its beginning to its end. `pixels` (F, height, width, 3) are F of its `count` frames, those of `taken`, for one duration each.

    `seconds` is how long it takes; `shown` is its own (height, width), upright and with square pixels.
    """

    pixels: Pixels
    taken: tuple[int, ...]
    count: int
    seconds: float
    shown: tuple[int, int]


def read_clip(path: Path, *, size: tuple[int, int], frames: int, fps: int) -> Pixels:
    """Reads `frames` frames of a clip, in order, as uint8 of shape (frames, height, width, 3).

    A clip longer than `frames / fps` seconds is sampled evenly from its first to its last frame, so that
    the whole motion is seen. A shorter one is slowed down to fill the time, at most to half speed; after
    that its last frame is held. Frames are cropped to the centre of the shape that `size` asks for.

    Args:
        size: (height, width) in pixels.
        fps: frames per second of the model that will learn from the clip.

    Raises:
        Unreadable: not a video, damaged, cut short, or of fewer than two frames.
    """
    picked, _ = _read(path, _probe(path), size, lambda spans: frames_at(spans[:, 0], frames, fps))
    height, width = size
    method = Image.Resampling.LANCZOS
    return np.stack([np.asarray(ImageOps.fit(Image.fromarray(x), (width, height), method)) for x in picked])


def seconds(path: Path) -> float:
    """How long a clip takes, as it says itself; 0 if it does not. Raises Unreadable."""
    return _probe(path).seconds


def read_whole(path: Path, *, size: tuple[int, int] | None = None, most: int) -> Whole:
    """Reads all frames of a clip, or `most` of them at equal distances, squeezed to `size`: nothing is cropped.

    Args:
        size: (height, width) in pixels; its own, unless told.

    Raises:
        Unreadable: as `read_clip`.
    """
    probe = _probe(path)
    height, width = size or (probe.height, probe.width)
    picked, spans = _read(path, probe, (height, width), partial(evenly_at, most=most))
    method = Image.Resampling.LANCZOS
    pixels = np.stack([np.asarray(Image.fromarray(x).resize((width, height), method)) for x in picked])
    taken = tuple(evenly_at(spans, most).tolist())
    return Whole(pixels, taken, len(spans), _seconds(spans), (probe.height, probe.width))


def evenly_at(spans: Spans, most: int) -> npt.NDArray[np.int64]:
    """Which frames to take: those shown in the middle of each of as many equal parts as there are frames, or `most`."""
    parts = min(most, len(spans))
    middles = (np.arange(parts) + 0.5) * _seconds(spans) / parts
    return np.searchsorted(spans[:, 0] - spans[0, 0], middles, side="right") - 1


def _seconds(spans: Spans) -> float:
    """How long a clip of two frames or more takes. Not every container says when its last frame ends."""
    begins = spans[:, 0] - spans[0, 0]
    last = spans[-1, 1] - spans[-1, 0]
    return float(begins[-1] + (last if last > 0 else begins[-1] / (len(begins) - 1)))


def read_at(path: Path, shares: Sequence[float], side: int) -> list[tuple[int, Pixels]]:
    """The frames at shares of a clip's length, each once, numbered from 0; (height, width, 3), neither side above `side` pixels.

    Raises:
        Unreadable: as `read_clip`, but one frame is enough.
    """
    probe = _probe(path)
    scale = min(1.0, side / max(probe.height, probe.width))
    height, width = (max(1, round(pixels * scale)) for pixels in (probe.height, probe.width))

    def pick(spans: Spans) -> npt.NDArray[np.int64]:
        return np.unique([round(share * (len(spans) - 1)) for share in shares])

    picked, spans = _read(path, probe, (height, width), pick, least=1)
    small = [np.asarray(Image.fromarray(x).resize((width, height))) for x in picked]
    return list(zip(pick(spans).tolist(), small, strict=True))


def frames_at(times: npt.NDArray[np.float64], frames: int, fps: int) -> npt.NDArray[np.int64]:
    """Which decoded frames to take: indices (frames,) into `times` (N,), seconds in ascending order."""
    elapsed = times - times[0]
    step = max(elapsed[-1] / max(frames - 1, 1), 0.5 / fps)
    targets = np.minimum(np.arange(frames) * step, elapsed[-1])
    return np.abs(elapsed[None, :] - targets[:, None]).argmin(axis=1)


def _probe(path: Path) -> _Probe:
    import av

    try:
        if path.stat().st_size == 0:
            raise Unreadable("empty file")
        with _open(path) as container:
            if container.format.name == "tty" or not container.streams.video:
                # FFmpeg plays plain text as a terminal recording; nobody means that.
                raise Unreadable("not a video" if container.format.name == "tty" else "no video in it")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # PyAV before 18.1 would crash on decoding it
                raise Unreadable("cut short or damaged" if _starts_as_mp4(path) else "in an unknown codec")
            seconds = _declared_seconds(container, stream)
            frame = next(container.decode(stream), None)
            aspect = stream.sample_aspect_ratio  # a closed container's streams are not to be asked
    except PermissionError as error:
        raise Unreadable("no permission to read it") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Unreadable("cut short or damaged" if _starts_as_mp4(path) else "not a video") from error
    if frame is None:
        raise Unreadable("has no frames")
    height, width = frame.height, frame.width
    if aspect:
        width = max(1, round(width * float(aspect)))
    # Phones store the sensor's rows and a display matrix; only quarter turns are meant.
    rotation = round(frame.rotation / 90) * 90
    if rotation % 180:
        height, width = width, height
    return _Probe(height, width, rotation, seconds)


def _open(path: Path) -> Any:
    import av

    # Absolute, or FFmpeg takes the part before a colon in a name for a protocol.
    return av.open(str(path.absolute()), options=_LOCAL_ONLY, metadata_errors="ignore")


def _declared_seconds(container: Any, stream: Any) -> float:
    declared = [0.0]
    if stream.duration and stream.time_base:
        declared.append(float(stream.duration * stream.time_base))
    if container.duration and len(container.streams) == 1:  # with sound it may be the sound's length
        declared.append(container.duration / 1e6)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        # FFmpeg shortens the duration of a cut AVI; the header's number of frames stays.
        declared.append(float(stream.frames / stream.average_rate))
    return max(declared)


def _starts_as_mp4(path: Path) -> bool:
    """An MP4 keeps its index at the end: cut short, it looks like any other file that is no video."""
    with path.open("rb") as file:
        return file.read(12)[4:8] == b"ftyp"


def _read(
    path: Path, probe: _Probe, size: tuple[int, int], pick: Pick, least: int = 2
) -> tuple[Pixels, Spans]:
    """The frames that `pick` chooses, upright and at least of `size`, and the spans of all, of which there are `least`."""
    try:
        return _read_with_decord(path, probe, size, pick, least)
    except Unreadable:
        raise
    except Exception:  # decord raises its own errors, RuntimeError, IndexError ...: none is the last word
        return _read_with_av(path, probe, size, pick, least)


def _read_with_decord(
    path: Path, probe: _Probe, size: tuple[int, int], pick: Pick, least: int
) -> tuple[Pixels, Spans]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    height, width = _decode_size(probe, size)
    # decord turns frames upright itself, but only when it is told the upright size.
    reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), width=width, height=height)
    count = len(reader)
    spans = np.asarray(reader.get_frame_timestamp(range(count)), dtype=np.float64).reshape(count, 2)
    if not np.all(np.isfinite(spans)) or np.any(np.diff(spans[:, 0]) <= 0):  # no usable time stamps
        spans = (np.arange(count)[:, None] + [0, 1]) / float(reader.get_avg_fps())
    _check_whole(spans, probe, least)
    wanted, inverse = np.unique(pick(spans), return_inverse=True)
    pictures = np.asarray(reader.get_batch(wanted.tolist()).asnumpy())
    if pictures.shape != (len(wanted), height, width, 3):
        raise ValueError(f"decord returned frames of shape {pictures.shape}")
    return pictures[inverse], spans


def _read_with_av(
    path: Path, probe: _Probe, size: tuple[int, int], pick: Pick, least: int
) -> tuple[Pixels, Spans]:
    """The slow way: decodes from the start, keeps only the wanted frames."""
    import av

    try:
        stamps, spans = _timeline_with_av(path)
        _check_whole(spans, probe, least)
        wanted = [stamps[i] for i in pick(spans)]
        kept = _frames_with_av(path, set(wanted), probe, size)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise Unreadable("cut short or damaged") from error
    return np.stack([kept[stamp] for stamp in wanted]), spans


def _timeline_with_av(path: Path) -> tuple[list[int], Spans]:
    """Time stamps (N,) in the stream's own unit, and spans (N, 2) in seconds. Decodes nothing."""
    ends: dict[int, int] = {}
    with _open(path) as container:
        stream = container.streams.video[0]
        unit = float(stream.time_base)
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                ends[packet.pts] = packet.pts + (packet.duration or 0)
    stamps = sorted(ends)
    spans = np.asarray([(stamp, ends[stamp]) for stamp in stamps], dtype=np.float64).reshape(-1, 2)
    return stamps, spans * unit


def _frames_with_av(path: Path, wanted: set[int], probe: _Probe, size: tuple[int, int]) -> dict[int, Pixels]:
    """The frames with the time stamps `wanted`, upright. Raises ValueError if one does not turn up."""
    height, width = _decode_size(probe, size)
    if probe.rotation % 180:
        height, width = width, height
    kept: dict[int, Pixels] = {}
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if frame.pts in wanted:
                small = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
                kept[frame.pts] = np.rot90(small.to_ndarray(), probe.rotation // 90)
                if len(kept) == len(wanted):
                    return kept
    raise ValueError(f"{len(kept)} of {len(wanted)} frames decoded")


def _decode_size(probe: _Probe, size: tuple[int, int]) -> tuple[int, int]:
    """Twice the size to come, so that the last resize can be a good one, but never above the clip's own."""
    scale = min(1.0, 2 * max(size[0] / probe.height, size[1] / probe.width))
    return max(1, round(probe.height * scale)), max(1, round(probe.width * scale))


def _check_whole(spans: Spans, probe: _Probe, least: int) -> None:
    """Raises Unreadable if frames are missing."""
    if len(spans) < least:
        raise Unreadable("has one frame" if len(spans) else "has no frames")
    there = spans.max() - spans[0, 0]
    if there < 0.9 * probe.seconds - 0.25:
        raise Unreadable(f"cut short: {there:.1f} of {probe.seconds:.1f} seconds are there")
