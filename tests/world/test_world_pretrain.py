"""All stages of pretraining, a few seconds each, from nothing to a folder that opens as a base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ccvd_cli.engine.bases import open_base
from ccvd_cli.measure.encoders import Embedded
from ccvd_cli.world import denoising, kept_latents, pretrain
from ccvd_cli.world.corpus import described, varied


@pytest.mark.slow
def test_every_stage_leaves_what_the_next_one_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        kept_latents, "MATERIAL", [replace(part, count=250) for part in kept_latents.MATERIAL]
    )
    monkeypatch.setattr(denoising, "POSE_STEPS", 10)
    monkeypatch.setattr(pretrain, "described", lambda n, *a, **k: described(min(n, 250), *a, **k))
    monkeypatch.setattr(pretrain, "varied", lambda n, seed: varied(min(n, 1_000), seed))
    device = torch.device("cpu")
    for stage in ("vae", "text", "captions", "image", "video"):
        pretrain.STAGES[stage](tmp_path, device, 0.1, 0)
    base = open_base(str(tmp_path / "model"), device="cpu")
    assert base.tells_moments
    x = torch.randn(1, *base.latent_shape(4, 64, 64))
    seen = base.predict(x, torch.tensor([500]), base.encode_text(["a red dog jumping"]))
    assert seen.shape == x.shape and seen.isfinite().all()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    said = {
        stage: {key for line in log if line["stage"] == stage for key in line} for stage in pretrain.STAGES
    }
    assert "psnr_world" in said["vae"]
    assert "poses_alone" in said["image"] and any("picture" in key for key in said["image"])
    assert any("clip" in key for key in said["video"])
    texts = Embedded(base).texts(["a red dog", "a blue cat"])
    assert texts.shape == (2, base.image_width) and not torch.allclose(texts[0], texts[1])
    text, boxes = base.encode_text(["a red dog"])[:, :, None], torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])
    assert not torch.allclose(base.situate(text, boxes), text, atol=1e-3)
