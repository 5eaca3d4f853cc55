"""Small concepts with real safetensors bytes, for this folder's tests and the processes they start."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
from safetensors.numpy import save

from ccvd_registry import BaseFacts, NewConcept

MINI = BaseFacts(name="mini", family="mini", fingerprint="f" * 64, location="/models/mini")


def tensors(part: str, seed: int) -> bytes:
    values = np.random.default_rng(seed).standard_normal((4, 8), dtype=np.float32)
    return save({f"{part}.weight": values}, metadata={"part": part})


def concept(name: str, **changes: Any) -> NewConcept:
    """A subject on `mini`; its tensors depend on `tensor_seed`, by default on the name."""
    seed = changes.pop("tensor_seed", sum(name.encode()))
    fields: dict[str, Any] = {
        "name": name,
        "kind": "subject",
        "class_noun": "dog",
        "base": MINI,
        "seed": 7,
        "recipe": {"adapter_steps": 300, "adapter_lr": 2e-3},
        "how": {"height": 64, "width": 64},
        "data": [{"file": "00.jpg", "sha256": "a" * 64}],
        "loss_curve": [1.0, 0.5, 0.25],
        "adapter": tensors("adapter", seed),
        "embedding": tensors("embedding", seed),
        "prototype": tensors("prototype", seed),
        "sites": 16,
        "parameters": 1234,
        "started": datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    }
    return NewConcept(**{**fields, **changes})
