"""A judge belongs to the autoencoder whose pictures it was trained on."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny_models import build_mini

from ccvd_cli.engine.bases import open_base
from ccvd_cli.world.judge_making import Autoencoder


def test_another_autoencoder_has_another_digest_and_another_denoiser_has_not(tmp_path: Path) -> None:
    one = build_mini(tmp_path / "one")
    other_vae, other_unet = tmp_path / "vae", tmp_path / "unet"
    for copy, part in ((other_vae, "vae"), (other_unet, "unet")):
        shutil.copytree(one, copy)
        weights = copy / part / "diffusion_pytorch_model.safetensors"
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    digests = [Autoencoder.of(open_base(str(f), device="cpu")).digest for f in (one, other_vae, other_unet)]
    assert digests[0] != digests[1] and digests[0] == digests[2]
