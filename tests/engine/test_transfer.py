"""What is drawn on the CPU gets to the device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ccvd_cli.engine.transfer import picked, sent


def test_a_gpu_is_sent_pinned_memory_and_nobody_waits() -> None:
    """Asked of a stand-in: there need be no GPU here."""
    asked: list[tuple[Any, ...]] = []

    def to(device: torch.device, non_blocking: bool = False) -> str:
        asked.append((device.type, non_blocking))
        return "there"

    pinned = SimpleNamespace(to=to)
    drawn: Any = SimpleNamespace(device=torch.device("cpu"), pin_memory=lambda: pinned)
    assert sent(drawn, torch.device("cuda")) == "there" and asked == [("cuda", True)]
    there: Any = SimpleNamespace(device=torch.device("cuda"), to=to)
    assert sent(there, torch.device("cuda")) == "there"  # only what lies on the CPU can be pinned


def test_what_is_picked_is_what_indexing_gives() -> None:
    x = torch.randn(5, 4, 3)
    rows, columns = torch.tensor([4, 0, 4]), torch.tensor([[1], [2], [0]])
    assert torch.equal(picked(x, rows), x[rows])
    assert torch.equal(picked(x, rows[:, None], columns), x[rows[:, None], columns])
