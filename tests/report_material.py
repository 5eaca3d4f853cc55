"""What the tests of reports share: moving pictures, and results as a benchmark writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def animated(path: Path, seed: int = 0, side: int = 16, frames: int = 3) -> Path:
    """Noise in so many frames, other noise by every seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
    first, *more = [Image.fromarray(frame) for frame in noise]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=more, duration=100)
    return path


def result(
    folder: Path,
    method: str,
    order: int,
    scores: dict[str, float],
    *,
    seed: int = 0,
    prompt: str = "a dog",
    clip: int = 0,
    **more: Any,
) -> Path:
    """Of a stream called toy; its means of CLIP-T by concept, and one clip that was drawn with seed `clip`."""
    run = folder / "toy" / "-without-".join([method, *more.get("ablated", [])]) / f"seed{seed}"
    animated(run / "clips" / f"{order}.gif", clip)
    found: dict[str, Any] = {
        **{"format": 1, "stream": "toy", "method": method, "seed": seed, "task": {"order": order}},
        "scores": {
            name: {"clip_t": {"mean": v, "low": v, "high": v, "count": 1}} for name, v in scores.items()
        },
        "clips": [
            {"concept": "a", "prompt": prompt, "seed": seed, "file": f"clips/{order}.gif", "scores": {}}
        ],
        **more,
    }
    path = run / f"{order:02}-a.json"
    path.write_text(json.dumps(found))
    return path
