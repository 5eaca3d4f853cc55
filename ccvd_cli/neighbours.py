"""Whether other programs keep this machine's cores busy.

The threads that share one product wait for each other. One whose core is another program's too holds up all the rest, and these spin meanwhile:
on two cores of which one is taken, a step of learning takes three times as long by two threads as by one (examples/README.md). What a container
may have of the cores is not seen.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

LOOK = 0.5  # seconds: in less there is too little to tell


class Reading(NamedTuple):
    """Seconds: of the clock, that this process's cores were busy, and of these for itself; and how many these are."""

    at: float
    busy: float
    own: float
    cores: int


def reading() -> Reading | None:
    """None where the system does not say."""
    import psutil

    try:
        each = psutil.cpu_times(percpu=True)
    except (OSError, RuntimeError, psutil.Error):
        return None
    if hasattr(os, "sched_getaffinity"):  # those that it may run on; threads are as many
        its = os.sched_getaffinity(0)
        each = [times for core, times in enumerate(each) if core in its] or each
    # Who is a guest is counted among users too.
    busy = sum(times.user + times.system + getattr(times, "nice", 0.0) for times in each)
    return Reading(time.monotonic(), busy, time.process_time(), len(each))


def others(since: Reading, now: Reading) -> float:
    """So many cores were busy for other processes, on the mean."""
    passed = now.at - since.at
    return max(0.0, (now.busy - since.busy - (now.own - since.own)) / passed) if passed >= LOOK else 0.0


def crowded(threads: int, cores: int, busy: float) -> int | None:
    """So many threads would not get in the way of others who keep so many cores `busy`; None if these do not, either.

    Half a core does not count: a desktop does that by the way.
    """
    free = max(1, cores - round(busy))
    return free if free < threads else None
