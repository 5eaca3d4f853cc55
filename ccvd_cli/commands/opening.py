"""Opening a base for a command: the first place where torch is loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..session import Session
from .options import Device, DType

if TYPE_CHECKING:
    from ..engine.bases import Base

# The libraries' own chatter would garble the progress.
_HUSH = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def open_base(session: Session, source: str, device: Device | None, dtype: DType | None) -> Base:
    """Loads the base `source` ('mini', or a folder).

    Raises:
        UsageError: there is no such base, or this machine has no such device.
    """
    for name, value in _HUSH.items():
        os.environ.setdefault(name, value)
    from ..engine import bases

    bases.resolve_base(source)
    where = pick_device(device or Device.auto)
    session.say(f"Loading the base {source} on {where} ...")
    precision = None if dtype in (None, DType.auto) else dtype.value
    return bases.open_base(source, device=where, dtype=precision)


def pick_device(wanted: Device) -> str:
    """'auto' is CUDA, else Apple's GPU, else the CPU. Raises UsageError for a device that is not here."""
    import torch

    here = {
        Device.cuda: torch.cuda.is_available(),
        Device.mps: torch.backends.mps.is_available(),
        Device.cpu: True,
    }
    if wanted is Device.auto:
        return next(device.value for device, present in here.items() if present)
    if not here[wanted]:
        raise UsageError(f"--device {wanted.value}: this machine has none.", "Use --device auto, or cpu.")
    return wanted.value
