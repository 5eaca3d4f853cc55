"""Masks beside photos: where in each of them the subject is. White is the subject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..outputs import whole
from ..paths import sha256
from .clip_reader import Unreadable
from .media import Loaded, find_images
from .picture_reader import fitted, read_picture

ALPHA = "alpha"
_BLACK = 128  # of 255: a mask that gets nowhere brighter shows no subject
_CUT_OUT = 0.01, 0.9  # of a photo that is cut out: less is a speck, more has round corners
_MANY = 5


@dataclass(frozen=True)
class Masks:
    """`tensors`: float32 (1, height, width) in [0, 1], one per photo; `used` and `digests` (sha256, hex): files, none for alpha."""

    tensors: list[Tensor]
    used: list[Path]
    digests: list[str]


def load_masks(photos: Loaded, source: str, *, size: tuple[int, int]) -> Masks:
    """The mask of every photo that was read, turned, cropped and resized as the photo was.

    Args:
        photos: what `load_images` gave.
        source: a folder with a picture for every photo, of the photo's size and with its name up to the suffix; or `alpha`: what a photo
            does not leave transparent is the subject.
        size: (height, width) in pixels, as for the photos.

    Raises:
        UsageError: a photo without a mask, a mask without a photo, one of another size than its photo, unreadable or black.
    """
    if source == ALPHA:
        return Masks([_alpha(path, size) for path in photos.used], [], [])
    folder = Path(source)
    masks = _by_stem(folder)
    _check_pairs(photos, masks, folder)
    used = [masks[path.stem] for path in photos.used]
    tensors = [_mask(mask, photo, size) for mask, photo in zip(used, photos.used, strict=True)]
    return Masks(tensors, used, [sha256(path) for path in used])


def own_sizes(photos: Sequence[Path], size: tuple[int, int]) -> list[tuple[int, int]]:
    """(width, height) of each, upright, before it was cropped to `size` (height, width). Raises UsageError for one that cannot be read."""
    sizes = []
    for photo in photos:
        try:
            sizes.append(read_picture(photo, partial(fitted, size=size))[1])
        except Unreadable as error:
            raise UsageError(f"Cannot read photo '{photo}': {error}.", "Save it as PNG.") from error
    return sizes


def write_masks(masks: Sequence[Tensor], sizes: Sequence[tuple[int, int]], files: Sequence[Path]) -> None:
    """Masks (1, h, w) in [0, 1] of photos that were cropped and resized, as `load_masks` reads them: each of its photo's own size.

    What the crop left out is black. Raises CcvdError if the file system refuses.
    """
    with whole(*files) as parts:
        for mask, own, part in zip(masks, sizes, parts, strict=True):
            height, width = mask.shape[-2:]
            scale = min(own[0] / width, own[1] / height)
            crop = max(1, round(width * scale)), max(1, round(height * scale))
            seen = Image.fromarray((mask[0].cpu().numpy() * 255).round().astype(np.uint8))
            image = Image.new("L", own)
            corner = (own[0] - crop[0]) // 2, (own[1] - crop[1]) // 2
            image.paste(seen.resize(crop, Image.Resampling.BICUBIC), corner)
            image.save(part, format="PNG")


def are_cut_out(photos: Iterable[Path], size: tuple[int, int]) -> bool:
    """Whether every photo that can be read, cropped to `size` (height, width), shows something and is transparent in a tenth of it at least."""
    shares = [share for path in photos if (share := _shown(path, size)) is not None]
    return bool(shares) and all(_CUT_OUT[0] < share < _CUT_OUT[1] for share in shares)


def _shown(photo: Path, size: tuple[int, int]) -> float | None:
    """How much of it is not transparent; None of what cannot be read. What has no transparency is not even decoded."""
    try:
        image = read_picture(
            photo, lambda image: fitted(image, size)[0] if image.has_transparency_data else None
        )
    except Unreadable:
        return None
    return float((np.asarray(image.getchannel("A")) >= _BLACK).mean()) if image else 1.0


def _by_stem(folder: Path) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for path in find_images(folder):
        if path.stem in masks:
            raise UsageError(
                f"Two masks are called '{path.stem}': {masks[path.stem].name} and {path.name}.", "Keep one."
            )
        masks[path.stem] = path
    return masks


def _check_pairs(photos: Loaded, masks: dict[str, Path], folder: Path) -> None:
    if any(path.absolute() == photo.absolute() for path in masks.values() for photo in photos.used):
        raise UsageError(
            f"'{folder}' holds the photos themselves, not their masks.",
            "Give the folder of the masks; or `--masks alpha`, if the photos are transparent around the subject.",
        )
    bare = [path.name for path in photos.used if path.stem not in masks]
    if bare:
        raise UsageError(
            f"No mask for {_listed(bare)} in '{folder}'.",
            f"Its name is that of the photo, such as {Path(bare[0]).stem}.png; white is the subject.",
        )
    known = {path.stem for path in photos.used} | {path.stem for path, _ in photos.skipped}
    lonely = [path.name for stem, path in masks.items() if stem not in known]
    if lonely:
        raise UsageError(
            f"No photo for mask {_listed(lonely)} of '{folder}'.", "Name it as its photo, or take it away."
        )


def _mask(path: Path, photo: Path, size: tuple[int, int]) -> Tensor:
    try:
        image, own = read_picture(path, lambda image: fitted(image, size))
    except Unreadable as error:
        raise UsageError(f"Cannot read mask '{path}': {error}.", "Save it as PNG.") from error
    (its,) = own_sizes([photo], size)
    if own != its:
        raise UsageError(
            f"Mask '{path}' is {own[0]}x{own[1]} pixels, its photo {photo.name} {its[0]}x{its[1]}.",
            "A mask is drawn on the whole photo, as a viewer shows it.",
        )
    return _checked(_grey(image), f"Mask '{path}'")


def _alpha(photo: Path, size: tuple[int, int]) -> Tensor:
    image = read_picture(photo, lambda image: fitted(image, size)[0])
    if image.mode != "RGBA":
        raise UsageError(
            f"Photo '{photo}' has no alpha channel to take its mask from.",
            "Give a folder of masks with --masks, or photos that are transparent around the subject.",
        )
    return _checked(image.getchannel("A"), f"The alpha channel of '{photo}'")


def _checked(mask: Image.Image, what: str) -> Tensor:
    pixels = np.asarray(mask)
    if pixels.max() < _BLACK:
        raise UsageError(
            f"{what} is black where the photo is looked at, its centre (at most {pixels.max()} of 255).",
            "White is the subject; crop the photo and its mask to it.",
        )
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def _grey(image: Image.Image) -> Image.Image:
    """Brightness; what is transparent is as good as black."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("L")


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(every[:_MANY]) + (f" and {len(every) - _MANY} more" if len(every) > _MANY else "")
