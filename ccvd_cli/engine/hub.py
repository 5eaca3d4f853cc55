"""Models as folders: on this disk, or on the hub and in its cache; and what tells two of them apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from ..errors import UsageError
from ..paths import as_text, expanded

_HASHED = {".json", ".txt", ".safetensors"}
_VARIANTS = "*.*.safetensors"  # model.fp16.safetensors beside model.safetensors: nobody loads it


def model_folder(source: str, what: str, wanted: Sequence[str], besides: str = "") -> Path:
    """The folder of a model: `source` itself, or, for a hub id, the snapshot of its files `wanted` (patterns). HF_HUB_OFFLINE is honoured.

    Raises:
        UsageError: there is neither; `what` says in it what was looked for, `besides` what else could be given ("mini, ").
    """
    folder = expanded(Path(source))
    if folder.is_dir():
        if as_text(folder) != str(folder):  # registries and sidecars say where a model was
            raise UsageError(f"the name of {what} {source!r} is not UTF-8", "rename the folder")
        return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UsageError(
            f"there is no {what} {source!r}", f"give {besides}a model folder, or a hub id such as owner/name"
        )
    from huggingface_hub.errors import LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    try:
        return _snapshot(source, tuple(wanted), offline)
    except Exception as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise UsageError(
                f"{what} {source!r} was not found in the local cache{', and HF_HUB_OFFLINE is set' * offline}",
                f"give a model folder, or {'unset HF_HUB_OFFLINE' if offline else 'check the name and the network'}",
            ) from error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise UsageError(
            f"{what} {source!r} was not found: {reason}",
            "give a model folder, or check the name and the network",
        ) from error


@cache
def _snapshot(source: str, wanted: tuple[str, ...], offline: bool) -> Path:
    """Asked for once: a command looks for its base several times, and the hub may move on between two of them."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            source, allow_patterns=list(wanted), ignore_patterns=[_VARIANTS], local_files_only=offline
        )
    )


def hub_id(folder: Path) -> str | None:
    """What people call a model whose `folder` is a snapshot in the hub's cache: .../models--owner--name/snapshots/commit."""
    repository = folder.parent.parent.name.split("--")
    if folder.parent.name == "snapshots" and repository[0] == "models" and len(repository) == 3:
        return "/".join(repository[1:])
    return None


def fingerprint(folder: Path, parts: Sequence[str]) -> str:
    """The identity of a model's parts ("." is its folder itself).

    sha256 over configurations and, of every weight file that is loaded, its size, first and last MiB.
    Reading all of a multi-gigabyte base at each start would cost more than sampling; a safetensors header, which the first MiB holds,
    names and sizes every tensor.
    """
    digest = hashlib.sha256()
    folders = [folder / p for p in parts if (folder / p).is_dir()]
    files = sorted(p for part in folders for p in part.iterdir() if p.suffix in _HASHED and not _variant(p))
    files += [p for p in [folder / "model_index.json"] if p.exists()]
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()}:{size}\n".encode())
        with path.open("rb") as f:
            digest.update(f.read(1 << 20))
            if size > 1 << 20:
                f.seek(max(1 << 20, size - (1 << 20)))
                digest.update(f.read())
    return digest.hexdigest()


def _variant(path: Path) -> bool:
    """Weights in another precision, and their index: model.safetensors.index.fp16.json."""
    return fnmatch(path.name, _VARIANTS) or fnmatch(path.name, "*.index.*.json")
