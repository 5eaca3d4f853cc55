from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import build_mini, build_unet3d, build_wan

from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.bases.contract import Base


@pytest.fixture(scope="session")
def mini_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_mini(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def unet3d_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_unet3d(tmp_path_factory.mktemp("unet3d"))


@pytest.fixture(scope="session")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="session", params=["mini", "unet3d", "wan"])
def base(request: pytest.FixtureRequest) -> Base:
    """Each family in turn, in float32 so that equalities are tight."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    return open_base(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="session", params=["mini", "unet3d"])
def unet(request: pytest.FixtureRequest) -> Base:
    """The families that are U-Nets, told by CLIP's text states."""
    return open_base(str(request.getfixturevalue(f"{request.param}_folder")), device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(0)
    yield
