"""Help, errors and exit codes: what is true of every command."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_material import Ccvd
from PIL import Image

from ccvd_cli.__main__ import main
from ccvd_cli.app import app
from ccvd_cli.commands import demo
from ccvd_cli.output import emit_json, emit_table
from ccvd_registry import Registry

ROOT = Path(__file__).parents[2]


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        yield (*path, name)


COMMANDS = sorted(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_every_help_has_an_example_and_room(
    ccvd: Ccvd, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = ccvd(*command, "--help")
    assert run.code == 0
    assert "…" not in run.out  # what is cut short cannot be typed
    example = run.out[run.out.index("Example") :]
    assert " ".join(["ccvd", *command]) in " ".join(example.split())


def test_every_command_is_in_the_readme() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README yet")
    text = readme.read_text(encoding="utf-8")
    groups = {command[:-1] for command in COMMANDS}
    missing = [" ".join(c) for c in COMMANDS if c not in groups and f"ccvd {' '.join(c)}" not in text]
    assert missing == []


def test_alone_it_shows_its_help(ccvd: Ccvd) -> None:
    assert "learn-subject" in ccvd().out


def test_version(ccvd: Ccvd) -> None:
    run = ccvd("--version")
    assert run.code == 0 and re.fullmatch(r"ccvd \d+\.\d+\.\d+\n", run.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("genrate",), "genrate"),
        (("list", "concept"), "concept"),
        (("list", "concepts", "--jsn"), "--jsn"),
        (("learn-subject",), "'--images'"),
        (("list", "concepts", "--kind", "smell"), "'smell'"),
    ],
)
def test_a_mistyped_command_line(ccvd: Ccvd, arguments: tuple[str, ...], said: str) -> None:
    run = ccvd(*arguments)
    assert (run.code, run.out) == (2, "")
    error, hint = run.err.splitlines()
    assert error.startswith("error: ") and said in error
    assert hint.startswith("hint: ") and "--help" in hint


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "error: Interrupted."),
        (RuntimeError("first line\nsecond line"), 1, "error: Unexpected RuntimeError: first line."),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device."),
        (MemoryError(), 1, "error: Out of memory."),
    ],
)
def test_no_traceback_unless_debugging(
    ccvd: Ccvd, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Registry, "list", raises)
    run = ccvd("list", "concepts")
    assert (run.code, run.out, run.err.splitlines()[0]) == (code, "", said)
    assert "Traceback" not in run.err
    if not isinstance(error, KeyboardInterrupt):
        assert "Traceback" in ccvd("--debug", "list", "concepts").err


@pytest.mark.skipif(os.name == "nt", reason="pipes")
def test_a_reader_that_goes_away_is_no_drama(ccvd_home: Path) -> None:
    code = "import sys; from ccvd_cli.__main__ import main; sys.exit(main(['list', 'concepts', '--json']))"
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "registry")]),
            "PYTHONUNBUFFERED": "",  # so that the pipe is noticed as late as it can be
        },
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (run.returncode, run.stderr) == (1, "")


def test_main_reads_the_process_own_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ccvd", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ccvd ")


def _apart(code: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "registry")])
    env = {**os.environ, "PYTHONPATH": path, **how.pop("env", {})}
    return subprocess.run([sys.executable, "-c", code], env=env, text=True, capture_output=True, **how)


LISTING = "from ccvd_cli.__main__ import main; sys.exit(main(['list', 'concepts']))"


def test_closed_streams_swallow_what_is_said(ccvd_home: Path) -> None:
    run = _apart(f"import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None; {LISTING}")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_what_an_encoding_lacks_is_escaped(teach: Any) -> None:
    teach("V1", noun="caf\xe9")
    run = _apart(f"import sys; {LISTING}", env={"PYTHONIOENCODING": "ascii:strict"})
    assert (run.returncode, run.stderr) == (0, "") and r"caf\xe9" in run.stdout


def test_a_path_may_begin_with_a_tilde(ccvd: Ccvd, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(cwd / "me"))
    assert ccvd("world", "subject", "--count", 1, "--out", "~/photos").code == 0
    assert len(list((cwd / "me" / "photos").glob("*.png"))) == 1 and not (cwd / "~").exists()
    assert ccvd("list", "concepts", "--home", "~nobody-is-called-so/x").code == 0


def test_json_has_no_nan_and_tables_no_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"a": float("nan"), "b": [1.5, (float("inf"),)]})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": None, "b": [1.5, [None]]}
    emit_table(("PROMPT",), [("a\ndog\x1b[2J",)])
    assert capsys.readouterr().out.splitlines() == ["PROMPT", r"a\ndog\x1b[2J"]


def test_the_demo_runs_what_it_says(
    ccvd: Ccvd, tiny: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "QUICK", demo.Plan(1, 1, 1, 1, 2))
    run = ccvd("demo", "--quick", "--base", tiny, "--seed", 3)
    assert run.code == 0, run.err
    lines = [shlex.split(line[2:]) for line in run.err.splitlines() if line.startswith("$ ccvd ")]
    assert [line[1] for line in lines] == [
        *["world", *["learn-subject"]] * 2,
        "world",
        "learn-motion",
        *["generate"] * 5,
    ]
    assert run.out.splitlines()[-1] == str(Path("ccvd-demo/sheet.png"))
    with Image.open(cwd / "ccvd-demo/sheet.png") as sheet:
        assert sheet.height > 5 * 64
    concepts = json.loads(ccvd("list", "concepts", "--home", "ccvd-demo/home", "--json").out)
    assert [(c["name"], c["kind"]) for c in concepts] == [
        ("V1", "subject"),
        ("V2", "subject"),
        ("V3", "motion"),
    ]
    # Copied, a line makes the same clip again.
    made = cwd / "ccvd-demo/clip-3.mp4"
    first = made.read_bytes()
    made.unlink()
    again = ccvd(*lines[-3][1:])
    assert again.code == 0 and made.read_bytes() == first, again.err


def test_a_demo_can_be_quiet(ccvd: Ccvd, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "QUICK", demo.Plan(1, 1, 1, 1, 1))
    run = ccvd("demo", "--quick", "--base", tiny, "--quiet")
    assert (run.code, run.err) == (0, "")


@pytest.mark.parametrize(
    ("out", "says"), [("file", "is not a folder"), ("full", "is not empty"), ("x" * 300, "too long")]
)
def test_a_demo_needs_a_new_folder(ccvd: Ccvd, cwd: Path, out: str, says: str) -> None:
    (cwd / "file").write_text("")
    (cwd / "full").mkdir()
    (cwd / "full" / "photo.png").write_text("mine")
    run = ccvd("demo", "--out", out)
    assert run.code == 2 and says in run.err and "--out" in run.err, run.err


def test_the_folder_of_nobody_is_no_folder(ccvd: Ccvd) -> None:
    run = ccvd("generate", "a dog", "--base", "~nobody-here/model")
    assert run.code == 2 and "~nobody-here/model" in run.err, run.err


def test_quiet_hushes_downloads(ccvd: Ccvd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS")
    assert ccvd("list", "concepts").code == 0 and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ
    assert ccvd("list", "concepts", "--quiet").code == 0
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
