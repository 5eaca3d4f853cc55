"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

QUICK = ("--steps", "2", "--token-steps", "2", "--batch-size", "2")


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str


Ccvd = Callable[..., Run]
