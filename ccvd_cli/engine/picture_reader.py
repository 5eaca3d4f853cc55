"""One picture file -> what is needed of it, upright and in eight bits. No torch here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .clip_reader import Unreadable

Taken = TypeVar("Taken")


def read_picture(path: Path, take: Callable[[Image.Image], Taken]) -> Taken:
    """What `take` makes of the picture in a file, which is open while it does. Raises Unreadable."""
    with warnings.catch_warnings():
        # Pillow warns of large photos and broken metadata; the photo is fine, and stderr is for progress.
        warnings.simplefilter("ignore")
        try:
            if path.stat().st_size == 0:
                raise Unreadable("empty file")
            with Image.open(path) as image:
                return take(image)
        except Unreadable:
            raise
        except PermissionError as error:
            raise Unreadable("no permission to read it") from error
        except UnidentifiedImageError as error:
            heic = path.suffix.lower() in {".heic", ".heif"}
            raise Unreadable("HEIC: export it as JPEG" if heic else "not an image") from error
        except (Image.DecompressionBombError, MemoryError) as error:
            raise Unreadable("too large: more pixels than any photo has") from error
        except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
            raise Unreadable("cut short or damaged") from error


def whole(image: Image.Image) -> Image.Image:
    """All of the picture that an open file is at, upright, RGB; what is transparent is white."""
    return on_white(_eight_bit(_upright(image)))


def fitted(image: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """Centre crop of `size` (height, width), upright, RGB or RGBA; and how large (width, height) the upright picture is itself.

    Of an animation this is the first picture.
    """
    height, width = size
    side = 2 * max(height, width)
    own = image.size
    image.draft(None, (side, side))  # a large JPEG is decoded at a fraction of its size
    upright = _upright(image)
    if upright.size != image.size:
        own = own[::-1]
    return ImageOps.fit(_eight_bit(upright), (width, height), Image.Resampling.LANCZOS), own


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that cannot be parsed says nothing about orientation
        return image


def on_white(image: Image.Image) -> Image.Image:
    """RGB or RGBA -> RGB."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB, or RGBA if anything is transparent. Deep greyscale is scaled; Pillow's convert would clip it."""
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image).astype(np.float32)
        top = float(np.nan_to_num(grey).max(initial=0.0))
        if image.mode == "F":
            white = 1.0 if top <= 1 else 255.0 if top <= 255 else top
        else:
            white = 255.0 if image.mode == "I" and top <= 255 else max(65535.0, top)
        return Image.fromarray((np.nan_to_num(grey) / white * 255).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
