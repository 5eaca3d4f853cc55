from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccvd_registry import Registry


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet."""
    return tmp_path / "data" / "ccvd"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Registry(home) as registry:
        yield registry
