"""Who may import whom; and what a process that only lists or explains must not load."""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PATH = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "registry")])}
_HEAVY = ("torch", "diffusers", "transformers", "numpy", "PIL", "decord", "av", "sqlmodel", "alembic")
_SHELL = {"typer", "click", "rich"}
_UPPER = ("app", "__main__", "session", "output", "progress", "commands", "measure")


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Absolute dotted names of everything that a file imports, those inside functions too."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{module}.{name.name}" for name in node.names)


def _found(folder: str, root: Path = ROOT) -> dict[str, set[str]]:
    return {
        path.relative_to(ROOT).as_posix(): set(_imports(path, root)) for path in (root / folder).rglob("*.py")
    }


def _offending(found: dict[str, set[str]], *forbidden: str) -> list[tuple[str, str]]:
    return [
        (file, name)
        for file, names in found.items()
        for name in sorted(names)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def test_the_imports_are_read() -> None:
    assert "ccvd_cli.errors.UsageError" in _found("ccvd_cli")["ccvd_cli/outputs.py"]
    assert "ccvd_cli.engine.bases.contract.Base" in _found("ccvd_cli")["ccvd_cli/engine/sample.py"]


def test_the_engine_knows_neither_shell_nor_registry() -> None:
    upper = [f"ccvd_cli.{name}" for name in _UPPER]
    assert _offending(_found("ccvd_cli/engine"), *_SHELL, "ccvd_registry", *upper) == []


def test_the_engine_does_not_know_the_world() -> None:
    assert _offending(_found("ccvd_cli/engine"), "ccvd_cli.world") == []


def test_what_measures_does_not_know_the_shell() -> None:
    upper = [f"ccvd_cli.{name}" for name in _UPPER if name != "measure"]
    assert _offending(_found("ccvd_cli/measure"), *_SHELL, *upper) == []


def test_only_bases_know_a_family() -> None:
    """Learners and samplers see the contract; families see each other not at all, but for what they share."""
    families = [f"ccvd_cli.engine.bases.{family}" for family in ("mini", "unet3d", "wan", "latent")]
    outside = {
        file: names
        for file, names in _found("ccvd_cli").items()
        if not file.startswith(("ccvd_cli/engine/bases/", "ccvd_cli/world/"))
    }
    assert _offending(outside, *families) == []
    inside = _found("ccvd_cli/engine/bases")
    for family in ("mini", "unet3d", "wan"):
        others = [name for name in families if not name.endswith((family, "latent"))]
        assert _offending({family: inside[f"ccvd_cli/engine/bases/{family}.py"]}, *others) == []


def test_the_registry_knows_neither_torch_nor_the_command_line() -> None:
    found = _found("ccvd_registry", ROOT / "registry")
    assert found
    assert _offending(found, "torch", "diffusers", "transformers", "ccvd_cli", *_SHELL) == []


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        (["--help"], (*_HEAVY, "pydantic")),
        (["list", "concepts"], _HEAVY),  # Typer reads paths with pydantic
        (["list", "concepts", "--json"], _HEAVY),
    ],
)
def test_light_commands_load_nothing_heavy(arguments: list[str], spared: tuple[str, ...]) -> None:
    code = (
        f"import sys, json; from ccvd_cli.__main__ import main; code = main({arguments!r});"
        f"print(json.dumps([name for name in {spared!r} if name in sys.modules]), file=sys.stderr);"
        "sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **_PATH}, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stderr.splitlines()[-1]) == []


@pytest.mark.parametrize(("arguments", "limit"), [(["--help"], 0.35), (["list", "concepts"], 0.6)])
def test_light_commands_are_fast(arguments: list[str], limit: float) -> None:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ccvd_cli", *arguments],
            env={**os.environ, **_PATH},
            capture_output=True,
            check=True,
        )
        return time.perf_counter() - start

    seconds = statistics.median(once() for _ in range(5))
    print(f"ccvd {' '.join(arguments)}: {seconds:.2f} s")
    assert seconds < 3 * limit  # a busy machine is no defect; three times over is
