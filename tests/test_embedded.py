"""The base that ships with the package: complete, small, safe to load, and it works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from ccvd_cli.engine.bases import EMBEDDED, open_base
from ccvd_cli.engine.bases.contract import Base
from ccvd_cli.engine.compose import generate
from ccvd_cli.settings import SAMPLING


@pytest.fixture(scope="module")
def mini() -> Base:
    return open_base("mini", device="cpu")


def test_it_is_small_and_only_half_precision_safetensors() -> None:
    files = [p for p in EMBEDDED.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 40_000_000
    assert {p.suffix for p in files} <= {".json", ".txt", ".md", ".safetensors"}
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as tensors:
                kinds = {str(tensors.get_slice(k).get_dtype()) for k in tensors.keys()}  # noqa: SIM118
            assert kinds <= {"F16", "I64"}, path.name


def test_its_configurations_name_no_place_on_somebodys_disk() -> None:
    for path in EMBEDDED.rglob("*.json"):
        assert '": "/' not in path.read_text(), path


def test_the_model_card_says_how_it_was_made() -> None:
    card = (Path(EMBEDDED) / "README.md").read_text()
    for word in ("Data", "Steps", "Hardware", "adherence"):
        assert word in card


def test_it_generates_what_its_seed_says(mini: Base) -> None:
    settings = SAMPLING["mini"].model_copy(update={"steps": 2})
    clip = generate(mini, "a red dog on the beach", [], settings)
    assert clip.shape == (16, 3, 64, 64) and torch.isfinite(clip).all()
    assert torch.equal(generate(mini, "a red dog on the beach", [], settings), clip)


def test_scenes_are_told_apart_in_a_few_steps(mini: Base) -> None:
    """The desert is warm and the sea is blue: a sanity check of the weights, not of their quality."""
    settings = SAMPLING["mini"].model_copy(update={"steps": 8})
    desert = generate(mini, "a red dog in the desert", [], settings).mean((0, 2, 3))
    sea = generate(mini, "a red dog under the sea", [], settings).mean((0, 2, 3))
    assert desert[0] - desert[2] > 0.15 and sea[2] - sea[0] > 0.15


def test_the_autoencoder_keeps_colours(mini: Base) -> None:
    from ccvd_cli.world.heldout import subject_images

    frames = torch.from_numpy(subject_images(0, 4)).movedim(-1, 1).float()[None] / 127.5 - 1
    seen = mini.decode_video(mini.encode_video(frames))
    assert 10 * torch.log10(4 / (seen - frames).square().mean()) > 22
