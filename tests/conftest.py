"""Every test has its own home, and none reaches for the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is first imported


@pytest.fixture(autouse=True)
def ccvd_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The registry of this test. It does not exist yet."""
    home = tmp_path / "ccvd-home"
    monkeypatch.setenv("CCVD_HOME", str(home))
    return home
