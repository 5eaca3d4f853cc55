"""What clips score that show exactly what a toy stream asks for, as the world itself draws them: encoders and judges have limits too.

And what their first frames score, standing still: a measure of motion says little where they do nearly as well.

python examples/truth.py --stream toy35
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from ccvd_cli.engine.bases import open_base
from ccvd_cli.measure.encoders import Embedded
from ccvd_cli.measure.evaluate import Examiner, Held, References
from ccvd_cli.measure.exact import Exact, shown_by
from ccvd_cli.measure.known import Judges
from ccvd_cli.measure.streams import TOY, material, open_stream, questions
from ccvd_cli.session import default_home
from ccvd_cli.settings import SAMPLING
from ccvd_cli.world.judge_making import judges_folder
from ccvd_cli.world.parts import pixels
from ccvd_cli.world.render import render


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", choices=TOY, default="toy10")
    parser.add_argument("--prompts", type=int, default=4, help="of each concept")
    parser.add_argument("--base", default="mini", help="whose encoders look")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    base, stream = open_base(args.base, device="cpu"), open_stream(args.stream)
    exact = Exact(base, stream.subjects, judges_folder(default_home()))
    examiner = Examiner(Embedded(base), judges=Judges.alone(exact))
    scores: dict[str, dict[str, list[float]]] = {}  # by what is shown and metric, of every clip
    for task in stream.tasks:
        shown = material(task, SAMPLING["mini"])
        held = [Held(References.of(task.kind, shown, "", examiner.of_pictures))]
        for question, prompt in questions(task, "mini", args.prompts):
            assert prompt is not None  # a toy's have all one
            clip = (pixels(render(prompt.shows), torch.device("cpu")) + 1) / 2
            asked = replace(question, shown=shown_by(prompt))
            for metric, score in examiner.scores(clip, asked, held).items():
                for what in ("all", task.kind):
                    scores.setdefault(what, {}).setdefault(metric, []).append(score)
            for metric, score in examiner.scores(clip[:1].expand_as(clip), asked, held).items():
                scores.setdefault("frozen", {}).setdefault(metric, []).append(score)
    found: dict[str, dict[str, Any]] = {
        what: {metric: round(fmean(values), 3) for metric, values in of.items()}
        for what, of in scores.items()
    }
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for what, of in found.items():
        print(f"{what}: " + ", ".join(f"{metric} {mean:.3f}" for metric, mean in of.items()))


if __name__ == "__main__":
    main()
