"""What is drawn on the CPU, so that a seed means the same on every device, gets to the device without anybody waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device) -> Tensor:
    """`x` on a device. CUDA copies from pinned memory behind what it is at; from any other, the CPU would wait until it has done that."""
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def picked(x: Tensor, *index: Tensor) -> Tensor:
    """x[index], with indices from the CPU."""
    return x[tuple(sent(i, x.device) for i in index)]
