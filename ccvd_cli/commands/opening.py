"""Opening a base for a command. Finding it is cheap; torch is loaded by what comes after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
    with _looking_around(session) if _threads_count(where) else nullcontext():
        return bases.open_base(source, device=where, dtype=dtype)


def _threads_count(device: str) -> bool:
    """Whether threads are in use, and nobody has said how many."""
    return device.startswith("cpu") and "OMP_NUM_THREADS" not in os.environ


@contextmanager
def _looking_around(session: Session) -> Iterator[None]:
    """Says afterwards if fewer threads would be faster, as others have kept cores busy meanwhile."""
    import torch

    before = neighbours.reading()
    yield
    after = neighbours.reading()
    if before is None or after is None:
        return
    threads, busy = torch.get_num_threads(), neighbours.others(before, after)
    if (free := neighbours.crowded(threads, after.cores, busy)) is not None:
        session.say(
            f"Other programs seem to keep {busy:.1f} of {after.cores} cores busy, and {threads} threads wait for each other then: "
            f"OMP_NUM_THREADS={free} in the environment may be faster."
        )
