"""Every test has its own home, and none reaches for the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # as is this by torch: processes that each take all cores stand in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def ccvd_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry of this test. It does not exist yet."""
    home = tmp_path / "ccvd-home"
    monkeypatch.setenv("CCVD_HOME", str(home))
    return home
