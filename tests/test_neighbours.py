"""Whether other programs keep cores busy, and when that is worth a word."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccvd_cli import neighbours
from ccvd_cli.commands.opening import open_base
from ccvd_cli.neighbours import Reading, crowded, others
from ccvd_cli.session import Session


def test_what_others_do_is_seen_and_what_this_process_does_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        time.sleep(0.3)
        before, used = neighbours.reading(), psutil.Process(neighbour.pid).cpu_times().user
        time.sleep(1)
        used = psutil.Process(neighbour.pid).cpu_times().user - used
        found = others(before, neighbours.reading())
        neighbour.kill()
    assert found > 0.8 * used > 0
    assert others(Reading(10, 100, 5), Reading(12, 103, 6)) == 1.0
    assert (
        others(Reading(10, 100, 5), Reading(12, 101, 6)) == others(Reading(1, 1, 1), Reading(1, 9, 1)) == 0.0
    )


@given(threads=st.integers(1, 64), cores=st.integers(1, 64), busy=st.floats(0, 80))
def test_who_follows_the_advice_meets_nobody_as_far_as_that_can_be(
    threads: int, cores: int, busy: float
) -> None:
    free = crowded(threads, cores, busy)
    if free is None:
        return
    assert 1 <= free < threads and threads + busy > cores + 0.5
    assert free == 1 or free + busy <= cores + 0.5
    assert crowded(free, cores, busy) is None


@pytest.mark.parametrize(
    ("threads", "cores", "busy", "advised"),
    [(2, 2, 1.0, 1), (8, 8, 0.9, 7), (8, 8, 0.4, None), (4, 8, 2.0, None), (2, 2, 5.0, 1), (1, 2, 5.0, None)],
)
def test_what_is_advised(threads: int, cores: int, busy: float, advised: int | None) -> None:
    assert crowded(threads, cores, busy) == advised


@pytest.mark.parametrize(
    ("busy", "threads", "device", "advised"),
    [(1.2, 2, "cpu", "OMP_NUM_THREADS=1"), (0.3, 2, "cpu", ""), (1.2, 1, "cpu", ""), (1.2, 2, "cuda:0", "")],
)
def test_a_word_is_said_where_threads_would_wait(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    busy: float,
    threads: int,
    device: str,
    advised: str,
) -> None:
    readings = iter([Reading(0, 0, 0), Reading(1, busy, 0)])
    monkeypatch.setattr(neighbours, "reading", lambda: next(readings))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("ccvd_cli.engine.bases.choose_device", lambda _: device)
    monkeypatch.setattr("ccvd_cli.engine.bases.open_base", lambda *_, **__: SimpleNamespace())
    monkeypatch.delenv("OMP_NUM_THREADS")
    open_base(Session(), "mini", None, None)
    said = capsys.readouterr().err
    assert advised in said and ("keep 1.2 of 2 cores busy" in said) == bool(advised)


def test_who_chose_threads_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = iter([Reading(0, 0, 0), Reading(1, 64, 0)])
    monkeypatch.setattr(neighbours, "reading", lambda: next(readings))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr("ccvd_cli.engine.bases.open_base", lambda *_, **__: SimpleNamespace())
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    open_base(Session(), "mini", "cpu", None)
    assert "OMP" not in capsys.readouterr().err
