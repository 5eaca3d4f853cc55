"""How long the commands take and how much memory they need: whole processes, medians of `--runs`.

python examples/speed.py
python examples/speed.py --runs 1 --beside 1                      a core is somebody else's
OMP_NUM_THREADS=1 python examples/speed.py --runs 1 --beside 1    the same by one thread
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LIMITS = {  # seconds, megabytes
    "ccvd --help": (0.35, 3000),
    "ccvd list concepts": (0.6, 3000),
    "ccvd learn-subject": (150, 3000),
    "ccvd learn-motion": (300, 3000),
    "ccvd generate": (20, 3000),
}


def run(line: str) -> tuple[float, float]:
    """Seconds and peak megabytes of one `ccvd` process."""
    started = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere:
        actions = [(os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1), (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2)]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "ccvd_cli", *shlex.split(line)],
            dict(os.environ),
            file_actions=actions,
        )
        _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"ccvd {line} failed")
    return time.perf_counter() - started, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


@contextmanager
def neighbour() -> Iterator[None]:
    """Another process that keeps a core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--beside", type=int, default=0, help="so many processes that keep a core busy")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in LIMITS}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as neighbours:
        for _ in range(args.beside):
            neighbours.enter_context(neighbour())
        os.chdir(folder)
        os.environ["CCVD_HOME"] = str(Path(folder, "home"))
        run("world subject --out photos --index 10")
        run("world motion --out clips --name zigzagging --count 4")
        for i in range(args.runs):
            subject, motion = f"S{i}", f"M{i}"
            commands = {
                "ccvd learn-subject": f"learn-subject --images photos --name {subject} --no-preview",
                "ccvd learn-motion": f"learn-motion --videos clips --name {motion} --no-preview",
                "ccvd generate": f"generate 'a <{subject}> performing <{motion}>' --out {i}.mp4",
                "ccvd list concepts": "list concepts",
                "ccvd --help": "--help",
            }
            for name, line in commands.items():
                measured[name].append(run(line))
    rows = {
        name: {
            "seconds": round(statistics.median(s for s, _ in runs), 2),
            "megabytes": round(max(m for _, m in runs)),
            "limit_seconds": LIMITS[name][0],
        }
        for name, runs in measured.items()
    }
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'command':22}{'median s':>10}{'limit s':>10}{'peak MB':>10}")
    for name, row in rows.items():
        print(f"{name:22}{row['seconds']:>10}{row['limit_seconds']:>10}{row['megabytes']:>10}")


if __name__ == "__main__":
    main()
