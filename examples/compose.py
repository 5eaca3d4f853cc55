"""How well concepts go together: figures and sheets.

Held-out concepts of the world (split `test`) are learned once, by the default recipes, into the registry `--home`, and used from there. A
judge trained on rendered truth says who is seen in every region's box, strictly ("somebody else" and "nobody" are among its answers) and
as the nearest of the ten; another one, where the clip is. How pairs move is not judged: judges know single actors.

    python examples/compose.py two --home runs/test            two subjects side by side
    python examples/compose.py three --home runs/test          three
    python examples/compose.py two-kinds --home runs/test      a subject performing a motion
    python examples/compose.py three-kinds --home runs/test    the same in a style
    python examples/compose.py merged --home runs/test         each of the ten while the others act too
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from collection import Bench, Measurement, measure

from ccvd_cli.engine.compose import generate, generate_batch
from ccvd_cli.estimates import estimate
from ccvd_cli.measure.metrics import image_alignment
from ccvd_cli.prompts import told_apart
from ccvd_cli.row import in_a_row, side_by_side
from ccvd_cli.world import heldout
from ccvd_cli.world.captions import TOGETHER, sentence
from ccvd_cli.world.scenes import PLACES

CONDITIONS: dict[str, dict[str, Any]] = {
    "regions": {},
    "no regions": {"regions": ()},
    "regions in one frame": {"windows": False},
    "regions, no region attention": {"region_attention": False},
    "regions in one frame, no noise guidance": {"windows": False, "noise_guidance": False},
    "regions in one frame, no region attention": {"windows": False, "region_attention": False},
    "regions in one frame, neither": {"windows": False, "region_attention": False, "noise_guidance": False},
}
LED: dict[str, dict[str, Any]] = {"default": {}, "nobody led": {"path_strength": 0.0}}
KINDS: dict[str, dict[str, Any]] = {
    **LED,
    "together": {"style_guidance": 0.0},
    "together, each in full": {"style_guidance": 0.0, "aggregation": "off"},
    # As where others may join, though nobody does; then styles are not guided apart.
    "together, sharing the weight": {"relevance_threshold": 1.0},
}


def together(bench: Bench, size: int) -> None:
    """Named subjects side by side, with regions and with their switches off one by one, and without regions."""
    for g, group in enumerate(groups(bench.collection.subjects, size)[: bench.args.concepts]):
        learners = [bench.collection[who.name] for who in group]
        scene, motion = list(PLACES)[g % len(PLACES)], TOGETHER[g % len(TOGETHER)]
        said = " and ".join(f"a <{who.name}> {who.noun}" for who in group)
        prompt = sentence(said, "" if motion == "standing still" else motion, scene)
        texts = told_apart(prompt, {who.name: who.noun for who in group})
        boxes = [r.box_at(0) for r in side_by_side(texts)]
        for seed in range(bench.args.seeds):
            for label, how in bench.compared(CONDITIONS):
                sampling = bench.sampling(seed, **how)
                if "regions" not in how:
                    sampling = in_a_row(sampling, texts, bench.collection.base.own_size)
                clip = generate(bench.collection.base, prompt, learners, sampling)
                seen = bench.judges.who(clip, boxes)
                strict = [s == who.name for (s, _), who in zip(seen, group, strict=True)]
                near = [n == who.name for (_, n), who in zip(seen, group, strict=True)]
                bench.tally.add(f"{label}: each in its box", all(strict))
                bench.tally.add(f"{label}: each the nearest in its box", all(near))
                (shown,) = bench.judges.attributes.read(clip[None])
                bench.tally.add(f"{label}: where it was asked", shown["scene"] == scene)
                for one, nearest in zip(strict, near, strict=True):
                    bench.tally.add(f"{label}: boxes", one)
                    bench.tally.add(f"{label}: boxes, nearest", nearest)
                said_of = (*(s for s, _ in seen), shown["scene"])
                print(f"{prompt} [{label}, seed {seed}]: {', '.join(said_of)}", flush=True)
                if seed == 0:
                    bench.rows.append((f"{label}: {prompt}", clip))


def groups(subjects: list[heldout.HeldoutSubject], size: int) -> list[list[heldout.HeldoutSubject]]:
    """Ten in groups, nobody twice unless the last group lacks one."""
    ring = subjects + subjects
    return [ring[i : i + size] for i in range(0, len(subjects), size)]


def kinds(bench: Bench, *, styled: bool) -> None:
    """A subject performing a motion, in a style: who, what and how are each recognised?"""
    motions, styles = bench.collection.motions, bench.collection.styles
    for g, who in enumerate(bench.collection.subjects[: bench.args.concepts]):
        motion, style = motions[g % len(motions)], styles[g % len(styles)] if styled else None
        learners = [bench.collection[name] for name in (who.name, motion, style) if name]
        prompt = f"a <{who.name}> {who.noun} performing <{motion}>" + f" in <{style}> style" * styled
        for seed in range(bench.args.seeds):
            for label, how in bench.compared(KINDS if styled else LED):
                clip = generate(bench.collection.base, prompt, learners, bench.sampling(seed, **how))
                ((strict, near),) = bench.judges.who(clip)
                (seen,) = bench.judges.attributes.read(clip[None])
                right = {
                    "subject": strict == who.name,
                    "subject, nearest of ten": near == who.name,
                    "motion": seen["motion"] == motion,
                    "style": seen["style"] == (style or "none"),
                }
                for key, value in right.items():
                    bench.tally.add(f"{label}: {key}", value)
                del right["subject"]
                bench.tally.add(f"{label}: all of it (subject: nearest)", all(right.values()))
                print(
                    f"{prompt} [{label}, seed {seed}]: {strict}, {seen['motion']}, {seen['style']}",
                    flush=True,
                )
                if seed == 0:
                    bench.rows.append((f"{label}: {prompt}", clip))


def merged(bench: Bench) -> None:
    """Each subject in prompts of its own, alone and while all ten act; `--recipe '{"orthogonal_weight": 0}'` shows what that loss does."""
    everybody = [bench.collection[who.name] for who in bench.collection.subjects]
    for who, learner in zip(bench.collection.subjects[: bench.args.concepts], everybody, strict=False):
        prompts = [p.text for p in heldout.subject_prompts(who.index, who.name, bench.args.prompts)]
        photos = bench.collection.base.embed_images(torch.stack(bench.collection.material(who.name)[2]))
        for label, learners, how in (
            ("named", [learner], {}),
            ("relevance", everybody, {"aggregation": "relevance", "top_k": len(everybody)}),
            ("mean", everybody, {"aggregation": "mean"}),
        ):
            for seed in range(bench.args.seeds):
                clips = generate_batch(bench.collection.base, prompts, learners, bench.sampling(seed, **how))
                for clip in clips:
                    ((strict, near),) = bench.judges.who(clip)
                    bench.tally.add(f"{label}: recognised", strict == who.name)
                    bench.tally.add(f"{label}: nearest of ten", near == who.name)
                    likeness = image_alignment(bench.collection.base.embed_images(clip * 2 - 1), photos)
                    bench.facts.setdefault(f"{label}: CLIP-I of each clip", []).append(likeness)
                if seed == 0:
                    bench.rows.append((f"{label}: {prompts[0]}", clips[0]))
        print(f"{who.name} is done", flush=True)
    for label in ("named", "relevance", "mean"):
        found = estimate(bench.facts[f"{label}: CLIP-I of each clip"])
        print(f"{label:20} CLIP-I {found.mean:.3f}  (95% {found.low:.3f} - {found.high:.3f})", flush=True)


MEASUREMENTS: dict[str, Measurement] = {
    "two": partial(together, size=2),
    "three": partial(together, size=3),
    "two-kinds": partial(kinds, styled=False),
    "three-kinds": partial(kinds, styled=True),
    "merged": merged,
}

if __name__ == "__main__":
    measure(MEASUREMENTS, __doc__)
