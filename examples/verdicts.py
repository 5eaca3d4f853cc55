"""Where a method is not the best of those that learn continually, or more than 3% below each concept learned alone (`joint`).

Of every score but how consistent and how lively clips are, which a frozen picture and a shaking one win. Rows are Markdown.

python examples/verdicts.py --stream toy35
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccvd_cli.measure.results import Standing, read, standings
from ccvd_cli.metric_names import SAID

ALONE, WITHIN = "joint", 0.97  # of what it scores
RATED = [metric for metric in SAID if metric not in ("t_cons", "dynamic")]
Scores = dict[str, dict[str, float]]  # by method and metric


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", default="toy10")
    parser.add_argument("--method", default="ccvd", help="whose verdict")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "benchmark")
    args = parser.parse_args()
    found = [s for s in standings(read(args.out)[0]) if s.stream == args.stream and s.seeds]
    print(f"| | | `{args.method}` | best of the others | `{ALONE}` |\n| --- | --- | --- | --- | --- |")
    for where, scores in parts(found, args.method):
        for row in rows(args.method, scores):
            print(f"| {where} | {row}")


def parts(found: Sequence[Standing], method: str) -> Iterator[tuple[str, Scores]]:
    """Of one concept, of what was lost since it was best (of which less is better, so its sign is turned) and of several concepts in one prompt.
    The method without some of its parts is no other.
    """
    others = [s for s in found if s.method == method or not s.method.startswith(f"{method} ")]
    yield "one concept", {s.method: {m: e.mean for m, e in s.scores.items()} for s in others}
    yield "forgotten", {s.method: {m: -f.since_best for m, f in s.forgotten.items()} for s in others}
    for kind in dict.fromkeys(kind for s in others for kind in s.composed):
        yield kind, {s.method: {m: e.mean for m, e in s.composed.get(kind, {}).items()} for s in others}


def rows(method: str, scores: Scores) -> Iterator[str]:
    """Metric by metric, what it has, the best of the others has, and whoever learns alone, if either has more."""
    for metric in RATED:
        has = {name: of[metric] for name, of in scores.items() if metric in of}
        if method not in has:
            continue
        mine, alone = has.pop(method), has.pop(ALONE, None)
        best = max(has, key=lambda name: has[name], default=None)
        beaten = best is not None and round(has[best], 3) > round(mine, 3)
        behind = alone is not None and mine < alone - (1 - WITHIN) * abs(alone)
        if beaten or behind:
            cells = [
                f"{mine:.3f}",
                f"{has[best]:.3f} (`{best}`)" if best and beaten else "",
                f"{alone:.3f}" if alone is not None and behind else "",
            ]
            yield " | ".join([SAID[metric], *cells]) + " |"


if __name__ == "__main__":
    main()
