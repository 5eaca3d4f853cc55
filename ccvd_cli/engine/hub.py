"""Models that are not in the package: folders on this disk, or on the hub and in its cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError


def model_folder(source: str, what: str, wanted: Sequence[str]) -> Path:
    """The folder of a model: `source` itself, or, for a hub id, the snapshot of its files `wanted` (patterns). HF_HUB_OFFLINE is honoured.

    Raises:
        UsageError: there is neither; `what` says in it what was looked for.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        known = "mini, " if what == "base" else ""
        raise UsageError(
            f"there is no {what} {source!r}", f"give {known}a model folder, or a hub id such as owner/name"
        )
    from huggingface_hub import snapshot_download

    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    try:
        return Path(snapshot_download(source, allow_patterns=list(wanted), local_files_only=offline))
    except Exception as error:
        where = "in the local cache (HF_HUB_OFFLINE is set)" if offline else "on the hub"
        reason = str(error).strip().splitlines()[0][:160]
        raise UsageError(
            f"{what} {source!r} was not found {where}: {reason}",
            "give a model folder, or check the name and the network",
        ) from error
