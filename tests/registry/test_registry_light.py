"""A listing is fast because of what it does not import. Measured in fresh processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from registry_material import concept

from ccvd_registry import Registry

_HEAVY = ("torch", "numpy", "alembic", "sqlalchemy", "sqlmodel", "pydantic", "ccvd_cli")

_LIST = "from pathlib import Path; from ccvd_registry import Registry; Registry(Path({home!r})).list()"
_WRITE = (
    "from pathlib import Path; from ccvd_registry import BaseFacts, Registry; "
    "Registry(Path({home!r})).record_generation(prompt='a dog', seed=0, settings={{}}, concepts=[], "
    "base=BaseFacts('mini', 'mini', 'f' * 64, '/models/mini'), output='a.mp4')"
)


@pytest.fixture
def filled(registry: Registry) -> Registry:
    for number in range(1, 11):
        registry.add(concept(f"V{number}", loss_curve=[0.5] * 300))
    registry.close()
    return registry


def _heavy_after(code: str, home: Path) -> list[str]:
    report = f"; import sys, json; print(json.dumps([name for name in {_HEAVY!r} if name in sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", code.format(home=str(home)) + report],
        capture_output=True,
        text=True,
        check=True,
    )
    imported: list[str] = json.loads(run.stdout)
    return imported


def _seconds(code: str) -> float:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return statistics.median(once() for _ in range(5))


def test_listing_imports_nothing_heavy(filled: Registry) -> None:
    assert _heavy_after(_LIST, filled.home) == []


def test_writing_at_head_imports_no_alembic(filled: Registry) -> None:
    assert set(_heavy_after(_WRITE, filled.home)) == {"sqlalchemy", "sqlmodel", "pydantic"}


def test_creating_a_registry_imports_no_torch(home: Path) -> None:
    imported = _heavy_after(_WRITE, home)
    assert "alembic" in imported
    assert "torch" not in imported


def test_listing_takes_little_time(filled: Registry) -> None:
    beyond = _seconds(_LIST.format(home=str(filled.home))) - _seconds("pass")
    print(f"import and list: {beyond * 1000:.0f} ms beyond the bare interpreter")
    assert beyond < 0.35
