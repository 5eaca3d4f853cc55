"""Opening a base by name, folder or hub id. Finding it is cheap; torch loads only with the model itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...choices import Family
from ...errors import CcvdError, UsageError
from ..hub import fingerprint, hub_id, model_folder

if TYPE_CHECKING:
    import torch

    from .contract import Base

EMBEDDED = Path(__file__).resolve().parents[2] / "world" / "mini"
_FAMILIES: dict[str, Family] = {
    "UNetMotionModel": "mini",
    "UNet3DConditionModel": "unet3d",
    "WanTransformer3DModel": "wan",
}
_SHARED = ("scheduler", "text_encoder", "tokenizer", "vae")
PARTS: dict[Family, tuple[str, ...]] = {
    "mini": ("unet", *_SHARED),
    "unet3d": ("unet", *_SHARED),
    "wan": ("transformer", *_SHARED),
}
_MORE = ("atlas", "clock", "image_encoder")  # that a U-Net may have beside these
_WANTED = ("*/*.json", "*/*.txt", "*/*.safetensors", "*.json")
_VOCABULARIES = ("tokenizer.json", "vocab.json")


@dataclass(frozen=True)
class Found:
    """A base on this disk, not loaded yet."""

    name: str
    family: Family
    folder: Path

    @cached_property
    def fingerprint(self) -> str:
        """What tells its weights from others' (`hub.fingerprint`). Raises CcvdError if they cannot be read."""
        try:
            return fingerprint(self.folder, (*PARTS[self.family], *(_MORE if self.family != "wan" else ())))
        except OSError as error:
            raise CcvdError(f"base {self.name!r} cannot be read: {error.strerror or error}") from error

    @cached_property
    def denoiser(self) -> dict[str, Any]:
        """Its configuration."""
        return self._config(PARTS[self.family][0])

    @cached_property
    def stride(self) -> int:
        """Pixels of a frame per cell of its latents, in each direction: every level of the autoencoder but the first halves the picture.

        Raises:
            UsageError: the base does not say.
        """
        config = self._config("vae")
        for key in ("block_out_channels", "encoder_block_out_channels", "dim_mult"):
            if config.get(key):
                return 2 ** (len(config[key]) - 1)
        raise UsageError(f"base {self.name!r}: vae/config.json has no levels")

    @cached_property
    def frame_stride(self) -> int:
        """Frames of a clip per frame of its latents, which begin with one alone."""
        return int(2 ** sum(self._config("vae").get("temperal_downsample", ())))  # its spelling

    def frames_for(self, frames: int) -> int:
        """The least number of frames that such a base can make, so many or more."""
        return 1 + -(-(frames - 1) // self.frame_stride) * self.frame_stride

    @property
    def own_cells(self) -> tuple[int, int] | None:
        """Height and width of the latents that its denoiser was trained on, if it says."""
        size = self.denoiser.get("sample_size")
        if isinstance(size, int):
            return size, size
        return (int(size[0]), int(size[1])) if size else None

    @property
    def own_size(self) -> tuple[int, int] | None:
        """The same in pixels."""
        cells = self.own_cells
        return (cells[0] * self.stride, cells[1] * self.stride) if cells else None

    @property
    def is_another_wan(self) -> bool:
        """2.2 has two denoisers or an autoencoder that cuts frames into patches first, and some animate a given picture."""
        config = self.denoiser
        pictures = config.get("image_dim") or config.get("in_channels") != config.get("out_channels")
        two = (self.folder / "transformer_2").is_dir()
        return bool(two or pictures or self._config("vae").get("patch_size"))

    def check_size(self, height: int, width: int, frames: int = 1) -> None:
        """Raises UsageError for a clip that the base cannot make: sides are in pixels."""
        if self.family == "wan":
            multiple = self.stride * int(self._of_denoiser("patch_size")[-1])
        else:  # latents are halved at every level but the first
            multiple = self.stride * 2 ** (len(self._of_denoiser("block_out_channels")) - 1)
        for side, value in (("height", height), ("width", width)):
            if value % multiple:
                near = max(multiple, round(value / multiple) * multiple)
                raise UsageError(f"{side} {value} is not a multiple of {multiple}", f"try {near}")
        longest = self.denoiser.get("motion_max_seq_length") or frames
        if frames > longest:
            raise UsageError(
                f"{frames} frames are more than base {self.name} can make", f"ask for at most {longest}"
            )
        if (frames - 1) % self.frame_stride:
            near = 1 + max(1, round((frames - 1) / self.frame_stride)) * self.frame_stride
            raise UsageError(
                f"{frames} frames are not one more than a multiple of {self.frame_stride}", f"try {near}"
            )

    def _of_denoiser(self, key: str) -> Any:
        try:
            return self.denoiser[key]
        except KeyError as error:
            raise UsageError(
                f"base {self.name!r}: {PARTS[self.family][0]}/config.json has no {key}"
            ) from error

    def _config(self, part: str) -> dict[str, Any]:
        return _read_config(self.name, self.folder, part)


def _read_config(name: str, folder: Path, part: str) -> dict[str, Any]:
    """A part's config.json. Raises UsageError."""
    try:
        found = json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"base {name!r}: {part}/config.json cannot be read ({error})") from error
    return found


def find_base(source: str) -> Found:
    """Where the base `source` is: `mini`, a folder in diffusers' layout, or a hub id.

    Raises:
        UsageError: there is no such base, a part is missing, or its denoiser is of no known family.
    """
    folder = EMBEDDED if source == "mini" else model_folder(source, "base", _WANTED, "mini, ")
    denoiser = "transformer" if (folder / "transformer").is_dir() else "unet"
    missing = [p for p in (denoiser, *_SHARED) if not (folder / p).is_dir()]
    if missing:
        raise UsageError(
            f"base {source!r} has no folder {', '.join(missing)}",
            f"a base in diffusers' layout holds unet or transformer, {', '.join(_SHARED)}",
        )
    if not any((folder / "tokenizer" / name).is_file() for name in _VOCABULARIES):
        raise UsageError(
            f"base {source!r} has no words in its folder tokenizer", f"it holds {' or '.join(_VOCABULARIES)}"
        )
    kind = str(_read_config(source, folder, denoiser).get("_class_name"))
    if kind not in _FAMILIES:
        raise UsageError(f"base {source!r} is a {kind}", f"known denoisers: {', '.join(_FAMILIES)}")
    # A hub snapshot's folder is named after its commit; the id is what people know it by.
    name = "mini" if source == "mini" else hub_id(folder.absolute()) or folder.resolve().name
    found = Found(name, _FAMILIES[kind], folder.resolve())
    if found.family == "wan" and found.is_another_wan:
        raise UsageError(
            f"base {source!r} is another Wan than 2.1's text to video",
            "take Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        )
    return found


def choose_device(device: str) -> str:
    """`auto` -> the best device there is. Raises UsageError for one that is not there."""
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}", "choose auto, cpu, cuda, cuda:1 or mps") from error
    index = torch.device(device).index or 0
    if not there.get(kind, False) or (kind == "cuda" and index >= torch.cuda.device_count()):
        raise UsageError(f"device {device!r} is not available here", "choose auto or cpu")
    return device


def choose_dtype(dtype: str | None, device: str) -> str:
    """`auto` -> bfloat16 on CUDA that has it, else float16; float16 on mps; on CPUs bfloat16 only where the CPU computes in it."""
    import torch

    names = ("float32", "bfloat16", "float16")
    if dtype not in (None, "auto"):
        if dtype not in names:
            raise UsageError(f"unknown dtype {dtype!r}", f"choose auto, {', '.join(names)}")
        return str(dtype)
    if device.startswith("cuda"):
        with torch.cuda.device(torch.device(device)):  # of several, the one that is meant
            able = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if able else "float16"
    if device == "mps":
        return "float16"
    units: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if units.get("amx_bf16") or units.get("avx512_bf16") else "float32"


def open_base(source: str, *, device: str = "auto", dtype: str | None = None) -> Base:
    """Load a base's parts onto a device.

    Raises:
        UsageError: unknown base, device or dtype.
        CcvdError: the folder's weights do not fit their configuration, or are not safetensors.
    """
    import torch
    from safetensors import SafetensorError

    found = find_base(source)
    where = choose_device(device)
    precision = getattr(torch, choose_dtype(dtype, where))
    _quiet()
    try:
        return _class_of(found.family)(found, torch.device(where), precision)
    except (CcvdError, torch.OutOfMemoryError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CcvdError(
            f"base {source!r} cannot be loaded: {reason}", "its parts must be complete and in safetensors"
        ) from error


def _class_of(family: Family) -> Callable[[Found, torch.device, torch.dtype], Base]:
    if family == "mini":
        from .mini import MotionModelBase

        return MotionModelBase
    if family == "unet3d":
        from .unet3d import UNet3DBase

        return UNet3DBase
    from .wan import WanBase

    return WanBase


def _quiet() -> None:
    """Loading reports of the libraries below are not for this program's users."""
    import diffusers
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
