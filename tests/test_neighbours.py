"""Whether other programs keep cores busy, and when that is worth a word."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
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


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_what_others_do_is_seen_and_what_this_process_does_is_not() -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        before, used = neighbours.reading(), psutil.Process(neighbour.pid).cpu_times().user
        spin(0.6)
        used = psutil.Process(neighbour.pid).cpu_times().user - used
        now = neighbours.reading()
    finally:
        neighbour.kill()
        neighbour.wait()
    assert before and now and now.own - before.own >= 0.6
    assert now.busy - before.busy >= 0.8 * (used + 0.6)
    assert others(before, now) > 0.8 * used / (now.at - before.at) > 0


@pytest.mark.parametrize(
    ("since", "now", "busy"),
    [
        (Reading(10, 100, 5, 2), Reading(12, 103, 6, 2), 1.0),
        (Reading(10, 100, 5, 2), Reading(12, 101, 6, 2), 0.0),
        (Reading(10, 100, 5, 2), Reading(12, 100, 6, 2), 0.0),  # clocks are coarse
        (Reading(10, 100, 5, 2), Reading(10.1, 101, 5, 2), 0.0),  # too short to tell
    ],
)
def test_how_many_cores_others_have(since: Reading, now: Reading, busy: float) -> None:
    assert others(since, now) == pytest.approx(busy)


def test_only_cores_count_that_this_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    times = SimpleNamespace(user=3.0, system=1.0, nice=0.5)
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [times] * 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {5, 9}, raising=False)
    found = neighbours.reading()
    assert found and (found.cores, found.busy) == (2, 9.0)
    monkeypatch.delattr("os.sched_getaffinity")
    found = neighbours.reading()
    assert found and (found.cores, found.busy) == (64, 64 * 4.5)


@given(threads=st.integers(1, 64), cores=st.integers(1, 64), busy=st.floats(0, 80))
def test_who_follows_the_advice_meets_nobody_as_far_as_that_can_be(
    threads: int, cores: int, busy: float
) -> None:
    free = crowded(threads, cores, busy)
    if free is None:
        return
    assert 1 <= free < threads and threads + busy >= cores + 0.5
    assert free == 1 or free + busy <= cores + 0.5
    assert crowded(free, cores, busy) is None


@pytest.mark.parametrize(
    ("threads", "cores", "busy", "advised"),
    [(2, 2, 1.0, 1), (8, 8, 0.9, 7), (8, 8, 0.4, None), (4, 8, 2.0, None), (2, 2, 5.0, 1), (1, 2, 5.0, None)],
)
def test_what_is_advised(threads: int, cores: int, busy: float, advised: int | None) -> None:
    assert crowded(threads, cores, busy) == advised


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said when a base is opened on two cores beside others."""

    def said(busy: float, threads: int = 2, device: str = "cpu", chosen: str | None = None) -> str:
        readings = iter([Reading(0, 0, 0, 2), Reading(1, busy, 0, 2)])
        monkeypatch.setattr(neighbours, "reading", lambda: next(readings))
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr("ccvd_cli.engine.bases.choose_device", lambda _: device)
        monkeypatch.setattr("ccvd_cli.engine.bases.open_base", lambda *_, **__: SimpleNamespace())
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if chosen:
            monkeypatch.setenv("OMP_NUM_THREADS", chosen)
        open_base(Session(), "mini", None, None)
        return capsys.readouterr().err

    return said


def test_a_word_is_said_where_threads_would_wait(opened: Callable[..., str]) -> None:
    said = opened(1.2)
    assert "OMP_NUM_THREADS=1" in said and "1.2 of 2 cores busy" in said
    for how in ({"busy": 0.3}, {"threads": 1}, {"device": "cuda:0"}, {"chosen": "2"}):
        assert "OMP" not in opened(**{"busy": 1.2, **how})


def test_a_system_that_does_not_say_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsaid(percpu: bool) -> None:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", unsaid)
    monkeypatch.setattr("ccvd_cli.engine.bases.open_base", lambda *_, **__: SimpleNamespace())
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    open_base(Session(), "mini", "cpu", None)
    assert capsys.readouterr().err == "Loading base mini on cpu ...\n"
