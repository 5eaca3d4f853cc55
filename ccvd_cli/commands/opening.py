"""Opening a base for a command. Finding it is cheap; torch is loaded by what comes after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import neighbours
from ..choices import DType
from ..session import Session

if TYPE_CHECKING:
    from ..engine.bases import Found
    from ..engine.bases.contract import Base


def find_base(source: str) -> Found:
    """Where the base `source` is and of what family. Raises UsageError if there is no such base."""
    from ..engine import bases

    return bases.find_base(source)


def open_base(session: Session, source: str, device: str | None, dtype: DType | None) -> Base:
    """Loads the base `source` (`mini`, a folder, a hub id).

    Raises:
        UsageError: there is no such base, or this machine has no such device.
        CcvdError: its weights cannot be loaded.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns of processes that fork later
    from ..engine import bases

    where = bases.choose_device(device or "auto")
    session.say(f"Loading base {source} on {where} ...")
    with _looking_around(session, where):
        return bases.open_base(source, device=where, dtype=dtype)


@contextmanager
def _looking_around(session: Session, device: str) -> Iterator[None]:
    """Says afterwards if fewer threads would be faster, as others have kept cores busy meanwhile. Left alone if threads were chosen."""
    import torch

    before = neighbours.reading()
    yield
    if not device.startswith("cpu") or "OMP_NUM_THREADS" in os.environ:
        return
    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    busy = neighbours.others(before, neighbours.reading())
    if (free := neighbours.crowded(threads, cores, busy)) is not None:
        session.say(
            f"Other programs keep {busy:.1f} of {cores} cores busy, and {threads} threads wait for each other then: "
            f"OMP_NUM_THREADS={free} in the environment may be faster."
        )
