"""Methods of continual learning, by name. To add one: a file, and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .c_lora import CLora
from .ccvd import ABLATIONS, Ablation, Ccvd
from .contract import LESSONS, UNUSED_TO_LEARN, Common, Method, Part
from .dreamvideo import DreamVideo
from .ewc import Ewc
from .finetune import Finetune
from .joint import Joint
from .l2dm import L2dm
from .lora_merge import LoraMerge
from .lwf import Lwf

METHODS: dict[str, type[Method]] = {
    "ccvd": Ccvd,
    "joint": Joint,
    "finetune": Finetune,
    "ewc": Ewc,
    "lwf": Lwf,
    "lora-merge": LoraMerge,
    "c-lora": CLora,
    "l2dm": L2dm,
    "dreamvideo": DreamVideo,
}


def make(
    name: str, common: Common, without: Sequence[Ablation] = (), changes: Mapping[str, Any] | None = None
) -> Method:
    """A method that has learned nothing yet; `without` is for ccvd alone, `changes` are to a method's own settings.

    Raises:
        ValidationError: a setting that it has not, or a value that does not fit.
    """
    own = METHODS[name].Own(**changes or {})
    return Ccvd(common, own, without) if name == "ccvd" else METHODS[name](common, own)


def method_in(folder: str) -> str | None:
    """Whose results a folder has: `ewc`, `ewc-weight=100.0` or `ccvd-without-regions+noise`; None if nobody's."""
    called = folder.partition("-without-")[0]
    while called not in METHODS and "=" in called.rpartition("-")[2]:
        called = called.rpartition("-")[0]
    return called if called in METHODS else None


__all__ = [
    "ABLATIONS",
    "LESSONS",
    "METHODS",
    "UNUSED_TO_LEARN",
    "Ablation",
    "Common",
    "Method",
    "Part",
    "make",
    "method_in",
]
