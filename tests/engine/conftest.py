from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import build_mini, build_unet3d

from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.bases.contract import Base


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def unet3d_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_unet3d(tmp_path_factory.mktemp("unet3d"))


@pytest.fixture(scope="session", params=["mini", "unet3d"])
def base(request: pytest.FixtureRequest, mini_folder: Path, unet3d_folder: Path) -> Base:
    """Each family in turn, in float32 so that equalities are tight."""
    folder = mini_folder if request.param == "mini" else unet3d_folder
    return open_base(str(folder), device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
