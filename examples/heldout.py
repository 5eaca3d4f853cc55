"""Are concepts that pretraining never saw really learned? The figures and sheets of the README.

Each held-out subject is learned from 5 pictures, each held-out motion from 4 clips, by the default recipes; clips are generated for
prompts over scenes and motions, and judges trained on rendered truth say what they show: which of the ten subjects, or somebody else (and
which is nearest, if it must be one of the ten), and which of all motions. Concepts come from the `test` split; recipes
were chosen on `dev`.

    python examples/heldout.py subjects --out outputs/subjects
    python examples/heldout.py motions --out outputs/motions
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.media_out import contact_sheet
from ccvd_cli.engine.sample import generate_batch
from ccvd_cli.settings import RECIPES, SAMPLING, Recipe
from ccvd_cli.world import heldout
from ccvd_cli.world.adherence import Rate
from ccvd_cli.world.judge import Autoencoder, Judge, attribute_judge, identity_judge, judges_folder
from ccvd_cli.world.judge_material import OTHER
from ccvd_cli.world.parts import pixels

CPU = torch.device("cpu")


def subjects(
    base: Any, judge: Judge, moves: Judge, args: argparse.Namespace, recipe: Recipe
) -> dict[str, Any]:
    rows, found = [], {}
    for i in heldout.indices(args.split, args.concepts):
        who, started = heldout.subject(i), time.monotonic()
        images = list(pixels(heldout.subject_images(i, 5), CPU))
        learner = learn_subject(base, images, name="V1", class_noun=who.noun, recipe=recipe)
        seconds = time.monotonic() - started
        prompts = heldout.subject_prompts(i, "V1", args.prompts)
        sampling = SAMPLING["mini"].model_copy(update={"subject_schedule": args.schedule})
        clips = generate_batch(base, [p.text for p in prompts], [learner], sampling)
        seen, nearest = identities(judge, clips)
        moved = [answer["motion"] for answer in moves.read(clips)]
        found[who.name] = {
            "seen": seen,
            "right": seen.count(who.name),
            "nearest": nearest.count(who.name),
            "moves": sum(m == p.shows.motion for m, p in zip(moved, prompts, strict=True)),
            "of": len(seen),
            "seconds": round(seconds, 1),
        }
        print(
            f"{who.name:12} {seen.count(who.name)}/{len(seen)}, nearest of the ten {nearest.count(who.name)}, "
            f"moves as asked {found[who.name]['moves']}  {seconds:.0f} s  {', '.join(seen)}",
            flush=True,
        )
        rows.append((f"{who.name}: pictures", (torch.stack(images) + 1) / 2))
        rows += [(p.text, clip) for p, clip in zip(prompts[: args.rows], clips, strict=False)]
    contact_sheet(rows, args.out / "subjects.png", frames_per_row=8, scale=1)
    return found


def identities(judge: Judge, clips: torch.Tensor) -> tuple[list[str], list[str]]:
    """Whom the judge sees in each clip, 'other' among the answers; and who of the subjects is nearest."""
    names, chances = judge.classes["identity"], judge.log_probabilities(clips)["identity"]
    subjects = [k for k, name in enumerate(names) if name != OTHER]
    seen = [names[k] for k in chances.argmax(-1)]
    return seen, [names[subjects[k]] for k in chances[:, subjects].argmax(-1)]


def motions(base: Any, judge: Judge, args: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    rows, found = [], {}
    for name in heldout.MOTION_SPLITS[args.split][: args.concepts]:
        started = time.monotonic()
        clips = list(pixels(heldout.motion_clips(name, 4), CPU))
        learner = learn_motion(base, clips, name="V3", class_noun=name, recipe=recipe)
        seconds = time.monotonic() - started
        prompts = heldout.motion_prompts(name, "V3", args.prompts)
        made = generate_batch(base, [p.text for p in prompts], [learner], SAMPLING["mini"])
        seen = [answer["motion"] for answer in judge.read(made)]
        found[name] = {"seen": seen, "right": seen.count(name), "of": len(seen), "seconds": round(seconds, 1)}
        print(f"{name:14} {seen.count(name)}/{len(seen)}  {seconds:.0f} s  {', '.join(seen)}", flush=True)
        rows.append((f"{name}: a clip it was learned from", (clips[0] + 1) / 2))
        rows += [(p.text, clip) for p, clip in zip(prompts[: args.rows], made, strict=False)]
    contact_sheet(rows, args.out / "motions.png", frames_per_row=16, scale=1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["subjects", "motions"])
    parser.add_argument("--out", type=Path, default=Path("outputs"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--concepts", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rows", type=int, default=2, help="clips of each concept on the sheet")
    parser.add_argument("--recipe", type=json.loads, default={}, help="overrides as JSON")
    parser.add_argument("--schedule", default="1", help="weight of subjects over the sampling steps")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    base = open_base(args.base)
    kind = "subject" if args.kind == "subjects" else "motion"
    recipe = RECIPES["mini"][kind].model_copy(update=args.recipe)  # type: ignore[index]
    autoencoder, folder = Autoencoder.of(base), judges_folder(None)
    if args.kind == "subjects":
        judge = identity_judge(heldout.indices(args.split, 10), autoencoder, folder)
        found = subjects(base, judge, attribute_judge(autoencoder, folder), args, recipe)
    else:
        judge = attribute_judge(autoencoder, folder)
        found = motions(base, judge, args, recipe)
    rate = Rate(sum(f["right"] for f in found.values()), sum(f["of"] for f in found.values()))
    low, high = rate.interval
    own = judge.accuracy["identity" if args.kind == "subjects" else "motion"]
    seconds = sorted(f["seconds"] for f in found.values())[len(found) // 2]
    print(
        f"{args.kind} recognised: {rate.right}/{rate.total} = {rate.value:.0%} (95% {low:.0%} - {high:.0%})"
    )
    print(f"judge's own accuracy on rendered truth {own:.1%}; median seconds to learn {seconds}")
    if args.kind == "subjects":
        for key, says in (
            ("nearest", "without 'other' among the judge's answers"),
            ("moves", "moves as asked"),
        ):
            other = Rate(sum(f[key] for f in found.values()), rate.total)
            print(f"{says}: {other.right}/{other.total} = {other.value:.0%}")
    summary = {
        "recipe": recipe.model_dump(),
        "schedule": args.schedule,
        "rate": rate.value,
        "ci95": [low, high],
        "judge": own,
        "concepts": found,
    }
    (args.out / f"{args.kind}.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
