"""Clips and pictures inside the page: each embedded once, however often it is shown, as long as they fit."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_MIME = {".mp4": "video/mp4", ".gif": "image/gif", ".webp": "image/webp", ".png": "image/png"}
_THUMB = 320  # pixels: the longer side of a still picture


@dataclass(frozen=True)
class Still:
    """A picture in the page, by its key; `width`, `height` in pixels."""

    key: str
    width: int
    height: int


@dataclass(frozen=True)
class Clip:
    """A clip in the page, by its key, and its first frame; `video` is false for what an <img> moves."""

    key: str
    still: Still
    video: bool


@dataclass
class Media:
    """What is embedded: data URIs by key. `left_out` did not fit, `unread` is damaged: file, then the part of the page that wanted it."""

    limit: int
    stills: dict[str, tuple[str, Still]] = field(default_factory=dict)
    moving: dict[str, str] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    unread: dict[Path, str] = field(default_factory=dict)
    held: dict[Path, Clip] = field(default_factory=dict)
    used: int = 0

    def part(self, name: str, share: float = 1) -> Part:
        return Part(self, name, int(self.limit * share))


@dataclass(frozen=True)
class Part:
    """A part of the page, which may fill `media` up to `cap` bytes. Asked again, what is embedded already costs nothing."""

    media: Media
    name: str
    cap: int

    def clip(self, path: Path) -> Clip | None:
        """None if it is gone, cannot be read or does not fit."""
        return self.together({"": path}).get("")

    def together(self, paths: Mapping[str, Path]) -> dict[str, Clip]:
        """Those that are there and can be read; none of them if they do not fit together."""
        there = {n: p for n, p in paths.items() if p.suffix.lower() in _MIME and p.is_file()}
        wanted = [p for p in there.values() if p not in self.media.held]
        if not self._fits(sum(p.stat().st_size for p in wanted) * 4 // 3):  # not read in vain
            return self._leave_out(wanted)
        clips, stills, moving = dict(self.media.held), {}, {}
        for path in wanted:
            try:
                uri, still = _picture(_frames(path, (0,))[0][1])
                data = _uri(path.read_bytes(), _MIME[path.suffix.lower()])
            except Exception:  # decoders say in many ways that a file is damaged
                self.media.unread[path] = self.name
                continue
            clips[path] = Clip(_key(data), still, path.suffix.lower() == ".mp4")
            stills[still.key], moving[clips[path].key] = (uri, still), data
        if not self._embed(stills, moving):
            return self._leave_out(wanted)
        for path in wanted:
            self.media.left_out.pop(path, None)
        self.media.held = clips
        return {name: clips[path] for name, path in there.items() if path in clips}

    def pictures(self, path: Path, at: tuple[float, ...]) -> list[tuple[int, Still]]:
        """A clip's frames at shares of its length, numbered from 0; all or none of them. A picture has one."""
        try:
            found = [(i, *_picture(frame)) for i, frame in _frames(path, at)]
        except Exception:
            self.media.unread[path] = self.name
            return []
        if not self._embed({still.key: (uri, still) for _, uri, still in found}, {}):
            self._leave_out([path])
            return []
        self.media.left_out.pop(path, None)
        return [(i, still) for i, _, still in found]

    def _fits(self, size: int) -> bool:
        return self.media.used + size <= self.cap

    def _embed(self, stills: Mapping[str, tuple[str, Still]], moving: Mapping[str, str]) -> bool:
        media = self.media
        size = sum(len(uri) for key, (uri, _) in stills.items() if key not in media.stills)
        size += sum(len(uri) for key, uri in moving.items() if key not in media.moving)
        if not self._fits(size):
            return False
        media.used += size
        media.stills.update(stills)
        media.moving.update(moving)
        return True

    def _leave_out(self, paths: list[Path]) -> dict[str, Clip]:
        self.media.left_out.update(dict.fromkeys(paths, self.name))
        return {}


def _frames(path: Path, at: Sequence[float]) -> list[tuple[int, Image]]:
    """Those at shares of its length, numbered from 0: as learning reads them, upright and whole. Raises Unreadable."""
    from PIL.Image import fromarray

    from ...engine.clip_reader import Unreadable, read_at
    from ...engine.picture_reader import read_picture

    try:
        return read_picture(path, lambda image: _at(image, at))
    except Unreadable:  # no picture: a clip, if anything
        return [(i, fromarray(frame)) for i, frame in read_at(path, at, _THUMB)]


def _at(image: Image, shares: Sequence[float]) -> list[tuple[int, Image]]:
    from ...engine.picture_reader import whole

    last = getattr(image, "n_frames", 1) - 1
    found = []
    for i in dict.fromkeys(round(share * last) for share in shares):
        image.seek(i)
        found.append((i, whole(image)))
    return found


def _picture(image: Image) -> tuple[str, Still]:
    """A small copy, as a data URI."""
    copy = image.convert("RGB")
    copy.thumbnail((_THUMB, _THUMB))
    buffer = io.BytesIO()
    copy.save(buffer, "WEBP", quality=80)
    uri = _uri(buffer.getvalue(), "image/webp")
    return uri, Still(_key(uri), copy.width, copy.height)


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _key(uri: str) -> str:
    return f"m{hashlib.sha256(uri.encode()).hexdigest()[:16]}"  # an id begins with a letter


__all__ = ["Clip", "Media", "Part", "Still"]
