"""Whether other programs keep this machine's cores busy.

The threads that share one product wait for each other. One whose core is another program's too holds up all the rest, and these spin meanwhile:
on two cores of which one is taken, a step of learning takes three times as long by two threads as by one (examples/README.md).
"""

from __future__ import annotations

import time
from typing import NamedTuple

SHARED = 0.5  # of a core: what a desktop does by the way is less


class Reading(NamedTuple):
    """Seconds: of the clock, that all cores were busy, and of these for this process."""

    at: float
    busy: float
    own: float


def reading() -> Reading:
    import psutil

    times = psutil.cpu_times()
    busy = times.user + times.system + getattr(times, "nice", 0.0)  # guests are among the first and the last
    return Reading(time.monotonic(), busy, time.process_time())


def others(since: Reading, now: Reading) -> float:
    """So many cores were busy for other processes, on the mean."""
    passed = now.at - since.at
    return max(0.0, (now.busy - since.busy - (now.own - since.own)) / passed) if passed > 0 else 0.0


def crowded(threads: int, cores: int, busy: float) -> int | None:
    """So many threads would not get in the way of others who keep so many cores `busy`; None if these do not, either."""
    free = max(1, cores - round(busy))
    return free if free < threads and threads + busy > cores + SHARED else None
