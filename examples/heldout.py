"""Are concepts that pretraining never saw really learned? Figures and sheets of README.md.

Each held-out subject is learned from 5 pictures, each motion from 4 clips, each style from 5 pictures, by the default recipes and one after
the other, into the registry `--home`; what is there already is not learned again. Judges trained on rendered truth say what the clips made
with them show: which of the ten subjects, or somebody else (and which is nearest, if it must be one of the ten); which of all motions; which
of all styles. Concepts come from the `test` split; recipes were chosen on `dev`.

    python examples/heldout.py subjects --home runs/test
    python examples/heldout.py motions --home runs/test
    python examples/heldout.py styles --home runs/test
    python examples/heldout.py masks --home runs/test       learns nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from collection import Bench, measure
from torch import Tensor

from ccvd_cli.engine.compose import generate_batch
from ccvd_cli.engine.contrast import seen_by
from ccvd_cli.estimates import estimate
from ccvd_cli.measure.metrics import image_alignment
from ccvd_cli.world import heldout
from ccvd_cli.world.heldout import Prompt


def subjects(bench: Bench) -> None:
    for who in bench.collection.subjects[: bench.args.concepts]:
        prompts = heldout.subject_prompts(who.index, who.name, bench.args.prompts)
        photos = bench.collection.base.embed_images(torch.stack(bench.collection.material(who.name)[2]))
        seen, alike = [], []
        for prompt, clip in _made(bench, who.name, prompts):
            ((strict, nearest),) = bench.judges.who(clip)
            (what,) = bench.judges.attributes.read(clip[None])
            seen.append(strict)
            alike.append(image_alignment(bench.collection.base.embed_images(clip * 2 - 1), photos))
            bench.tally.add(who.name, strict == who.name)
            bench.tally.add("recognised", strict == who.name)
            bench.tally.add("nearest of the ten", nearest == who.name)
            bench.tally.add("moves as asked", what["motion"] == prompt.shows.motion)
            bench.tally.add("where asked", what["scene"] == prompt.shows.scene)
        bench.facts.setdefault("CLIP-I of each clip", {})[who.name] = alike
        print(f"{who.name}: {', '.join(seen)}; CLIP-I {sum(alike) / len(alike):.3f}", flush=True)
    found = estimate([sum(of) / len(of) for of in bench.facts["CLIP-I of each clip"].values()])
    print(f"CLIP-I {found.mean:.3f}  (95% over subjects {found.low:.3f} - {found.high:.3f})", flush=True)


def motions(bench: Bench) -> None:
    _read_off(bench, "motion", bench.collection.motions, heldout.motion_prompts)


def styles(bench: Bench) -> None:
    _read_off(bench, "style", bench.collection.styles, heldout.style_prompts)


def masks(bench: Bench) -> None:
    """How well the base finds subjects in their pictures: asked for the noun, and for a thing, as where nobody says what it is."""
    ways = {"the noun": True, "a thing": True, "the noun, in whole cells": False}
    shown: dict[str, list[Tensor]] = {label: [] for label in ways}
    for who in bench.collection.subjects[: bench.args.concepts]:
        pictures = bench.collection.material(who.name)[2]
        true = torch.from_numpy(heldout.subject_masks(who.index, len(pictures)))[:, None] > 127
        for label, outline in ways.items():
            noun = "thing" if label == "a thing" else who.noun
            found = torch.stack(seen_by(bench.collection.base, pictures, noun, outline=outline))[:, :1] > 0
            both, either = float((found & true).sum()), float((found | true).sum())
            shown[label].append(torch.tensor([both / float(true.sum()), both / either]))
            bench.rows.append(
                (f"{who.name}: {label}", torch.stack(pictures).add(1).div(2) * (0.2 + 0.8 * found))
            )
    for label, shares in shown.items():
        covered, alike = torch.stack(shares).mean(0).tolist()
        bench.facts[label] = {"covered": covered, "intersection over union": alike}
        print(f"{label}: {covered:.0%} of the subjects are found; intersection over union {alike:.2f}")


def _read_off(
    bench: Bench, kind: str, names: Sequence[str], asked: Callable[[str, str, int], list[Prompt]]
) -> None:
    """Concepts that the judge of attributes knows by name."""
    for name in names[: bench.args.concepts]:
        seen = []
        for prompt, clip in _made(bench, name, asked(name, name, bench.args.prompts)):
            (what,) = bench.judges.attributes.read(clip[None])
            seen.append(what[kind])
            bench.tally.add(name, what[kind] == name)
            bench.tally.add("recognised", what[kind] == name)
            bench.tally.add("moves as asked", what["motion"] == prompt.shows.motion)
            bench.tally.add("by whom was asked", what["noun"] == prompt.shows.actors[0].noun)
        print(f"{name}: {', '.join(seen)}", flush=True)


def _made(bench: Bench, name: str, prompts: list[Prompt]) -> Iterator[tuple[Prompt, Tensor]]:
    """A concept's clips, (F, 3, H, W) each. The first two go on the sheet, below what it was learned from."""
    learner = bench.collection[name]
    kind, _, material = bench.collection.material(name)
    shown = material[0] if kind == "motion" else torch.stack(material)
    bench.rows.append((f"{name}: learned from", (shown + 1) / 2))
    for seed in range(bench.args.seeds):
        clips = generate_batch(
            bench.collection.base, [p.text for p in prompts], [learner], bench.sampling(seed)
        )
        if not seed:
            bench.rows += [(p.text, clip) for p, clip in zip(prompts[:2], clips, strict=False)]
        yield from zip(prompts, clips, strict=True)


MEASUREMENTS = {"subjects": subjects, "motions": motions, "styles": styles, "masks": masks}

if __name__ == "__main__":
    measure(MEASUREMENTS, __doc__)
