"""Opening a base by name, folder or hub id. Finding it is cheap; torch loads only with the model itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...choices import Family
from ...errors import CcvdError, UsageError
from ..hub import hub_id, model_folder

if TYPE_CHECKING:
    from .contract import Base

EMBEDDED = Path(__file__).resolve().parents[2] / "world" / "mini"
_FAMILIES: dict[str, Family] = {"UNetMotionModel": "mini", "UNet3DConditionModel": "unet3d"}
_WANTED = ("*/*.json", "*/*.txt", "*/*.safetensors", "*.json")
_VOCABULARIES = ("tokenizer.json", "vocab.json")
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True)
class Found:
    """A base on this disk, not loaded yet."""

    name: str
    family: Family
    folder: Path

    @property
    def stride(self) -> int:
        """Pixels of a frame per cell of its latents, in each direction. Raises UsageError if the base does not say."""
        try:
            return stride(json.loads((self.folder / "vae" / "config.json").read_text()))
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"base {self.name!r}: vae/config.json cannot be read ({error})") from error

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the frames that it was trained on, in pixels, if it says."""
        cells = own_cells(self._unet)
        return (cells[0] * self.stride, cells[1] * self.stride) if cells else None

    def check_size(self, height: int, width: int) -> None:
        """Raises UsageError for a frame that the base cannot make."""
        check_sides(self.stride, self._unet, height, width)

    @property
    def _unet(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "unet" / "config.json").read_text())
        return found


def own_cells(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width of the latents that a denoiser of this configuration was trained on, if it says."""
    size = config.get("sample_size")
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if size else None


def stride(config: Mapping[str, Any]) -> int:
    """That of an autoencoder's configuration: every level but the first halves the picture."""
    levels = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return 2 ** (len(levels) - 1)


def check_sides(stride: int, unet: Mapping[str, Any], height: int, width: int) -> None:
    """Latents are halved at every level of the denoiser but the first. Raises UsageError for sides, in pixels, of which that leaves a rest."""
    multiple = stride * 2 ** (len(unet["block_out_channels"]) - 1)
    for side, value in (("height", height), ("width", width)):
        if value % multiple:
            near = max(multiple, round(value / multiple) * multiple)
            raise UsageError(f"{side} {value} is not a multiple of {multiple}", f"try {near}")


def find_base(source: str) -> Found:
    """Where the base `source` is: `mini`, a folder in diffusers' layout, or a hub id.

    Raises:
        UsageError: there is no such base, a part is missing, or its denoiser is of no known family.
    """
    folder = EMBEDDED if source == "mini" else model_folder(source, "base", _WANTED, "mini, ")
    missing = [p for p in _PARTS if not (folder / p).is_dir()]
    if missing:
        raise UsageError(
            f"base {source!r} has no folder {', '.join(missing)}",
            f"a base in diffusers' layout holds {', '.join(_PARTS)}",
        )
    if not any((folder / "tokenizer" / name).is_file() for name in _VOCABULARIES):
        raise UsageError(
            f"base {source!r} has no words in its folder tokenizer", f"it holds {' or '.join(_VOCABULARIES)}"
        )
    try:
        kind = json.loads((folder / "unet" / "config.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"base {source!r}: unet/config.json cannot be read ({error})") from error
    if kind not in _FAMILIES:
        raise UsageError(f"base {source!r} is a {kind}", f"known denoisers: {', '.join(_FAMILIES)}")
    # A hub snapshot's folder is named after its commit; the id is what people know it by.
    name = "mini" if source == "mini" else hub_id(folder.absolute()) or folder.resolve().name
    return Found(name, _FAMILIES[kind], folder.resolve())


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
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        return "float16"
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"


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
    if found.family == "mini":
        from .mini import MotionModelBase as Family_
    else:
        from .unet3d import UNet3DBase as Family_  # type: ignore[assignment]
    try:
        return Family_(found.folder, found.name, torch.device(where), precision)
    except (CcvdError, torch.OutOfMemoryError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CcvdError(
            f"base {source!r} cannot be loaded: {reason}", "its parts must be complete and in safetensors"
        ) from error


def _quiet() -> None:
    """Loading reports of the libraries below are not for this program's users."""
    import diffusers
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
