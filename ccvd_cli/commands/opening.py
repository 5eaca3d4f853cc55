"""Opening a base for a command. Finding it is cheap; torch is loaded by what comes after."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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
    return bases.open_base(source, device=where, dtype=dtype)
