"""Prompts, file names, numbers for people, progress."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli import clips, output
from ccvd_cli.commands.overrides import override
from ccvd_cli.errors import UsageError
from ccvd_cli.progress import progress
from ccvd_cli.prompts import check_kinds, named
from ccvd_cli.session import Session
from ccvd_cli.settings import SampleSettings
from ccvd_registry.names import is_legal

KINDS = {"V1": "subject", "V3": "motion", "V7": "style"}


def test_names_come_in_order_and_once() -> None:
    assert named("a <V2> dog and <my-cat> and <V2>") == ["V2", "my-cat"]
    assert named("a dog") == []


@given(st.text(max_size=40))
def test_a_placeholder_is_what_the_registry_calls_a_name(name: str) -> None:
    try:
        assert named(f"a <{name}> dog") == [name]
        assert is_legal(name)
    except UsageError:
        assert not is_legal(name)


@pytest.mark.parametrize(
    "prompt",
    [
        "a <V1> dog performing <V3> in <V7> style",
        "a dog in the <V7> style, performing  <V3>",
        "In a <V7> style: a <V1> and a <V1> sitting in <V3>",  # no role that we know
        "a dog performing  a <V3> dance, a <V7> painting",
        "a <V1> dog dancing the <V3>",
        "a dog performing <V9> in <V9> style",  # whether there is a V9 is not asked here
    ],
)
def test_each_kind_in_its_place(prompt: str) -> None:
    check_kinds(prompt, KINDS)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a dog performing <V7>", "'performing <V7>' in the prompt: V7 is a style, not a motion."),
        ("a dog Performing  <V1>", "'Performing  <V1>' in the prompt: V1 is a subject, not a motion."),
        ("a dog in <V3> style", "'in <V3> style' in the prompt: V3 is a motion, not a style."),
        ("a dog in the <V1> style", "V1 is a subject, not a style."),
        ("a dog performing the <V7>", "'performing the <V7>' in the prompt: V7 is a style, not a motion."),
        ("a dog in the style of <V1>", "'style of <V1>' in the prompt: V1 is a subject, not a style."),
        ("a <V3> dog", "'a <V3>' in the prompt: V3 is a motion, not a subject."),
        ("a dog doing a <V7>", "'doing a <V7>' in the prompt: V7 is a style, not a motion."),
        ("<V3> performing <V3> in <V7> style and in <V3> style", "V3 is a motion, not a style."),
    ],
)
def test_a_kind_in_the_place_of_another(prompt: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_kinds(prompt, KINDS)
    assert said in caught.value.message


def test_slugs_and_numbers() -> None:
    assert clips.default_path("a <V1> dog, surfing!", 7) == Path("ccvd-a-v1-dog-surfing-7.mp4")
    assert clips.default_path("???", 0) == Path("ccvd-clip-0.mp4")
    assert clips.numbered(Path("x/a.gif"), 1) == [Path("x/a.gif")]
    assert clips.numbered(Path("x/a.gif"), 2) == [Path("x/a_000.gif"), Path("x/a_001.gif")]
    assert clips.default_scale(SampleSettings()) == 4
    assert clips.default_scale(SampleSettings(height=256, width=256)) == 1
    assert clips.default_scale(SampleSettings(height=64, width=208)) == 4  # four subjects in a row


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**6, "2.0 MB"), (10**13, "10000.0 GB")],
)
def test_sizes(count: int, said: str) -> None:
    assert output.size(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59, "59 s"), (65, "1 min 05 s"), (3660, "1 h 01 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert output.duration(seconds) == said


def test_an_option_out_of_range_is_quoted_as_it_was_typed() -> None:
    assert override(SampleSettings(), {"steps": 3, "fps": None}).steps == 3
    with pytest.raises(UsageError, match=r"^--guidance-scale -1\.0: should be greater than or equal to 0\.$"):
        override(SampleSettings(), {"guidance_scale": -1.0})


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=False) as report:
        for stage in ("tokens", "adapter"):
            for step in range(1, 101):
                report(stage, step, 100, 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "tokens 1/100",
        "tokens 100/100",
        "adapter 1/100",
        "adapter 100/100",
    ]
    assert "loss 0.5000" in lines[1] and "steps/s" in lines[1]


def test_a_stage_that_comes_again_has_a_clock_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done between two rounds of the same name is no step of the second."""
    clock = 0.0
    monkeypatch.setattr("ccvd_cli.progress.time.monotonic", lambda: clock)
    with progress(quiet=False) as report:
        for begun in (0.0, 1000.0):
            for step in range(1, 5):
                clock = begun + step
                report("scoring two", step, 4)
    assert "1.0 steps/s" in capsys.readouterr().err.splitlines()[-1]


def test_on_a_terminal_there_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress(quiet=False) as report:
        for step in range(1, 4):
            report("sampling", step, 3)
    assert "sampling" in capsys.readouterr().err


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as report:
        report("sampling", 1, 1)
    assert capsys.readouterr().err == ""


def test_a_prompt_in_another_encoding_is_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        named("a caf\udce9")


def test_what_a_terminal_would_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_facts({"learned from": "a\x1b]0;mine\x07.png"})
    output.fail("No file 'b\x1b[2J'", "c\x1b[2J")
    said = capsys.readouterr()
    assert "\x1b]0" not in said.out and "a\\x1b]0;mine\\x07.png" in said.out
    assert "\\x1b[2J'" in said.err and said.err.count("\x1b[2J") == 0


def test_a_command_to_go_on_with_names_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCVD_HOME", "usual")
    assert Session(Path("usual")).command("show", "V1") == "ccvd show V1"
    assert Session(Path("my home")).command("generate", "a <V1> dog") == (
        "ccvd generate 'a <V1> dog' --home 'my home'"
    )
