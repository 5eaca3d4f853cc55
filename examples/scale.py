"""Does a collection of a thousand concepts cost anything? Steps of learning beside it, and generating out of it.

Concepts are made up: random tokens and prototypes for each, and one of ten random adapters. Learning: the median seconds of a step
of `learn-subject` with 0, 35 and N earlier subjects, in turns. Generating: `ccvd generate` names two of 2 and two of N concepts, each in a
process of its own, in turns: seconds until the first step, median seconds of a step, and peak memory.

    python examples/scale.py --concepts 1000
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

LIMITS = {"learning": 0.05, "step": 0.03, "memory": 0.10, "start": 0.5}  # shares, and seconds


def invent(home: Path, count: int) -> None:
    """A registry with so many subjects of `mini`."""
    import torch

    from ccvd_cli.engine.bases import open_base
    from ccvd_cli.engine.concept import Learner, fresh_adapters
    from ccvd_cli.registering import new_concept
    from ccvd_cli.settings import RECIPES
    from ccvd_registry import Registry

    base, recipe = open_base("mini"), RECIPES["mini"]["subject"]
    torch.manual_seed(0)
    adapters = []
    for _ in range(10):
        made = fresh_adapters(base.sites_of("spatial"), recipe.bottleneck)
        for adapter in made.values():
            torch.nn.init.normal_(adapter.up.weight, std=0.02)
        adapters.append({site.name: adapter for site, adapter in made.items()})
    with Registry(home) as registry:
        for i in range(1, count + 1):
            tokens = 0.02 * torch.randn(base.text_layers, base.token_width)
            prototypes, picture = torch.randn_like(tokens), torch.randn(5, base.image_width)
            learner = Learner(f"V{i}", "subject", "dog", tokens, adapters[i % 10], prototypes, picture)
            learner.loss_curve = [0.1] * 140
            registry.add(new_concept(learner, base, recipe))


def learning(home: Path, counts: list[int], steps: int, rounds: int) -> dict[int, float]:
    """Median seconds of a step beside so many earlier subjects."""
    import torch

    from ccvd_cli.engine import learn
    from ccvd_cli.engine.bases import open_base
    from ccvd_cli.engine.optimise import REPORT_EVERY
    from ccvd_cli.engine.retention import Earlier, stored_subspaces
    from ccvd_cli.settings import RECIPES
    from ccvd_registry import Registry

    base = open_base("mini")
    recipe = RECIPES["mini"]["subject"].model_copy(update={"token_steps": 0, "adapter_steps": steps})
    images = list(torch.rand(5, 3, 64, 64) * 2 - 1)
    concepts = Registry(home).list()
    earlier: dict[int, Earlier | None] = {}
    for count in counts:
        earlier[count] = Earlier() if count else None
        for concept in concepts[:count]:
            earlier[count].add(stored_subspaces(concept, base.sites))  # type: ignore[union-attr]
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            seen = [time.perf_counter()]
            learn.learn_subject(
                base,
                images,
                name="new",
                class_noun="dog",
                recipe=recipe,
                on_step=lambda report, seen=seen: seen.append(time.perf_counter()),  # type: ignore[misc]
                earlier=earlier[count],
            )
            seconds[count] += [(b - a) / REPORT_EVERY for a, b in pairwise(seen[1:])]
    return {count: statistics.median(s) for count, s in seconds.items()}


def generating(home: Path) -> dict[str, float]:
    """One `ccvd generate` that names two concepts, in this process."""
    started = time.perf_counter()
    from ccvd_cli.__main__ import main
    from ccvd_cli.engine.bases.latent import LatentBase

    seen, predict = [], LatentBase.predict

    def timed(self: Any, *args: Any) -> Any:
        seen.append(time.perf_counter())
        return predict(self, *args)

    setattr(LatentBase, "predict", timed)  # noqa: B010
    out = home / "clip.gif"
    prompt = "a <V1> dog and a <V2> dog on the beach"
    code = main(["generate", prompt, "--home", str(home), "--out", str(out), "--seed", "0", "--quiet"])
    if code:
        sys.exit(code)
    return {
        "start": seen[0] - started,
        "step": statistics.median(b - a for a, b in pairwise(seen)),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_turns(homes: list[Path], rounds: int) -> list[dict[str, float]]:
    """The least of each figure over the rounds: what disturbs a process only ever makes it slower."""
    found: list[list[dict[str, float]]] = [[] for _ in homes]
    for _ in range(rounds):
        for home, runs in zip(homes, found, strict=True):
            run = subprocess.run(
                [sys.executable, __file__, "--child", str(home)], check=True, capture_output=True, text=True
            )
            runs.append(json.loads(run.stdout.splitlines()[-1]))
    return [{k: min(run[k] for run in runs) for k in runs[0]} for runs in found]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concepts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of learning, per round")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(generating(args.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        for home, count in ((few, 2), (many, args.concepts)):
            subprocess.run(
                [sys.executable, "-c", _INVENT, str(Path(__file__).parent), str(home), str(count)], check=True
            )
        two, all_ = in_turns([few, many], args.rounds)
        steps = learning(many, [0, 35, args.concepts], args.steps, args.rounds)
    ok = True
    fastest, slowest = min(steps.values()), max(steps.values())
    rows = [(f"learning beside {n}: seconds a step", f"{s:.4f}") for n, s in steps.items()]
    rows += [
        (f"generating out of {n}: {k}", f"{found[k]:.3f}")
        for k in ("start", "step", "memory")
        for n, found in ((2, two), (args.concepts, all_))
    ]
    for what, value in rows:
        print(f"{what:52} {value}")
    for what, grown, limit in (
        ("learning, slowest over fastest", slowest / fastest - 1, LIMITS["learning"]),
        ("generating, step", all_["step"] / two["step"] - 1, LIMITS["step"]),
        ("generating, memory", all_["memory"] / two["memory"] - 1, LIMITS["memory"]),
        ("generating, seconds until the first step", all_["start"] - two["start"], LIMITS["start"]),
    ):
        ok &= grown <= limit
        print(f"{what:52} {grown:+.3f}  (limit {limit:+.2f}) {'' if grown <= limit else 'TOO MUCH'}")
    return 0 if ok else 1


_INVENT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pathlib import Path; import scale; scale.invent(Path(sys.argv[2]), int(sys.argv[3]))"
)

if __name__ == "__main__":
    sys.exit(main())
