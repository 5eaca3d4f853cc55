"""Clips and pictures as data URIs, as long as they fit."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

_MIME = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp", ".png": "image/png"}
_THUMB = 320  # pixels: the longer side of a source image


@dataclass(frozen=True)
class Clip:
    """A clip in the page: `still` (its first frame) and `data` are data URIs; `width`, `height` in pixels."""

    data: str
    still: str
    video: bool
    width: int
    height: int


class Budget:
    """Bytes that pictures may take in the page. `left_out` counts what did not fit, `unread` what could not be read."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used, self.left_out, self.unread = limit, 0, 0, 0

    def _take(self, *uris: str) -> bool:
        size = sum(map(len, uris))
        if self.used + size > self.limit:
            self.left_out += 1
            return False
        self.used += size
        return True

    def clip(self, path: Path) -> Clip | None:
        """None if it is gone, cannot be read or does not fit."""
        suffix = path.suffix.lower()
        if suffix not in _MIME or not path.is_file():
            return None
        if self.used + path.stat().st_size > self.limit:  # not read in vain
            self.left_out += 1
            return None
        try:
            still, width, height = _first_frame(path)
            data = _uri(path.read_bytes(), _MIME[suffix])
        except (OSError, ValueError, IndexError):  # av's errors are OSErrors or ValueErrors
            self.unread += 1
            return None
        return Clip(data, still, suffix == ".mp4", width, height) if self._take(data, still) else None

    def picture(self, path: Path) -> str | None:
        """A small copy of a picture; None if it is none or does not fit."""
        from PIL import Image

        try:
            with Image.open(path) as image:
                uri, _, _ = _small(image)
        except (OSError, ValueError):
            return None  # a text, or a clip
        return uri if self._take(uri) else None


def _first_frame(path: Path) -> tuple[str, int, int]:
    from PIL import Image

    if path.suffix.lower() != ".mp4":
        with Image.open(path) as image:
            return _small(image)
    import av

    with av.open(str(path)) as container:
        return _small(next(iter(container.decode(video=0))).to_image())


def _small(image) -> tuple[str, int, int]:  # type: ignore[no-untyped-def]  # Pillow is imported late
    copy = image.convert("RGB")
    copy.thumbnail((_THUMB, _THUMB))
    buffer = io.BytesIO()
    copy.save(buffer, "WEBP", quality=80)
    return _uri(buffer.getvalue(), "image/webp"), copy.width, copy.height


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
