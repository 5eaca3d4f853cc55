"""How well concepts go together, and how well they outlast others: figures and sheets.

Held-out concepts of the world (split `test`) are learned once, by the default recipes, into the registry `--home`, and used from there; what
is there already is not learned again. A judge trained on rendered truth says who is seen in every region's box, strictly ("somebody else" and
"nobody" are among its answers) and as the nearest of the ten.

    python examples/compose.py together --home runs/compose --subjects 2    two subjects side by side; then 3
    python examples/compose.py three-kinds --home runs/compose              a subject performing a motion in a style
    python examples/compose.py forgetting --home runs/compose               a subject after ten further tasks
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.media_out import contact_sheet
from ccvd_cli.engine.retention import Earlier, stored_subspaces
from ccvd_cli.engine.sample import generate
from ccvd_cli.prompts import told_apart
from ccvd_cli.regions import side_by_side
from ccvd_cli.registering import new_concept
from ccvd_cli.settings import RECIPES, SAMPLING, Kind, SampleSettings
from ccvd_cli.world import heldout
from ccvd_cli.world.adherence import Rate
from ccvd_cli.world.captions import TOGETHER, sentence
from ccvd_cli.world.judge import Autoencoder, Judge, attribute_judge, identity_judge, judges_folder
from ccvd_cli.world.judge_material import OTHER
from ccvd_cli.world.parts import pixels
from ccvd_cli.world.scenes import PLACES
from ccvd_registry import Registry

CPU = torch.device("cpu")


@dataclass
class Collection:
    """Concepts by name ("dog-10", "zigzagging", "sepia"), learned when they are first asked for."""

    base: Any
    registry: Registry
    split: heldout.Split

    def __getitem__(self, name: str) -> Learner:
        known = {c.name: c for c in self.registry.list(base=self.base.fingerprint)}
        if name not in known:
            print(f"learning {name}", flush=True)
            learner = self._learn(name)
            self.registry.add(new_concept(learner, self.base, RECIPES["mini"][learner.kind]))
            known = {c.name: c for c in self.registry.list(base=self.base.fingerprint)}
        return Learner.load(known[name], self.base)

    @cached_property
    def subjects(self) -> list[heldout.HeldoutSubject]:
        return [heldout.subject(i) for i in heldout.indices(self.split, 10)]

    def material(self, name: str) -> tuple[Kind, str, list[Tensor]]:
        """Kind, class noun, and what it is learned from."""
        if name in heldout.MOTION_SPLITS["dev"] + heldout.MOTION_SPLITS["test"]:
            return "motion", name, list(pixels(heldout.motion_clips(name, 4), CPU))
        if name in heldout.STYLE_SPLITS["dev"] + heldout.STYLE_SPLITS["test"]:
            return "style", "", list(pixels(heldout.style_images(name, 5), CPU))
        noun, _, index = name.partition("-")
        return "subject", noun, list(pixels(heldout.subject_images(int(index), 5), CPU))

    def _learn(self, name: str) -> Learner:
        kind, noun, material = self.material(name)
        earlier = Earlier()
        for concept in self.registry.list(kind=kind, base=self.base.fingerprint):
            earlier.add(stored_subspaces(concept))
        how: dict[str, Any] = {
            "name": name,
            "class_noun": noun,
            "recipe": RECIPES["mini"][kind],
            "earlier": earlier.to(self.base.device) if earlier.count else None,
        }
        if kind == "motion":
            return learn_motion(self.base, material, **how)
        return learn_subject(self.base, material, kind=kind, **how)


@dataclass
class Tally:
    """Right answers by what they are about."""

    right: dict[str, int]
    total: dict[str, int]

    @classmethod
    def empty(cls) -> Tally:
        return cls({}, {})

    def add(self, key: str, right: bool) -> None:
        self.right[key] = self.right.get(key, 0) + right
        self.total[key] = self.total.get(key, 0) + 1

    def lines(self) -> Iterator[str]:
        for key, total in self.total.items():
            rate = Rate(self.right[key], total)
            low, high = rate.interval
            yield f"{key:52} {rate.right:3}/{rate.total:<3} = {rate.value:4.0%}  (95% {low:.0%} - {high:.0%})"


def identities(judge: Judge, clip: Tensor, boxes: Sequence[tuple[float, ...]]) -> list[tuple[str, str]]:
    """Who is seen in each box of a clip (F, 3, H, W): the judge's answer, and the nearest of the subjects."""
    names = judge.classes["identity"]
    chances = judge.log_probabilities(
        clip.expand(len(boxes), *clip.shape), windows=torch.tensor(boxes, dtype=torch.float32)
    )["identity"]
    own = [k for k, name in enumerate(names) if name != OTHER]
    return [(names[int(c.argmax())], names[own[int(c[own].argmax())]]) for c in chances]


def groups(subjects: list[heldout.HeldoutSubject], size: int) -> list[list[heldout.HeldoutSubject]]:
    """Ten in groups, nobody twice unless the last group lacks one."""
    ring = subjects + subjects
    return [ring[i : i + size] for i in range(0, len(subjects), size)]


def together(collection: Collection, judge: Judge, args: argparse.Namespace) -> dict[str, Any]:
    """Named subjects side by side, with regions and with their switches off one by one, and without regions."""
    conditions: dict[str, dict[str, Any]] = {
        "regions": {},
        "regions, no noise guidance": {"noise_guidance": False},
        "regions, no region attention": {"region_attention": False},
        "no regions": {"regions": ()},
    }
    tally, rows = Tally.empty(), []
    for g, group in enumerate(groups(collection.subjects, args.subjects)[: args.groups]):
        learners = [collection[who.name] for who in group]
        scene, motion = list(PLACES)[g % len(PLACES)], TOGETHER[g % len(TOGETHER)]
        said = " and ".join(f"a <{who.name}> {who.noun}" for who in group)
        prompt = sentence(said, "" if motion == "standing still" else motion, scene)
        row = side_by_side(told_apart(prompt, {who.name: who.noun for who in group}))
        boxes = [r.box_at(0) for r in row]
        for seed in range(args.seeds):
            for label, how in conditions.items():
                clip = generate(
                    collection.base, prompt, learners, _sampling(args, seed, **{"regions": tuple(row), **how})
                )
                seen = identities(judge, clip, boxes)
                strict = [s == who.name for (s, _), who in zip(seen, group, strict=True)]
                near = [n == who.name for (_, n), who in zip(seen, group, strict=True)]
                tally.add(f"{label}: each in its box", all(strict))
                tally.add(f"{label}: each the nearest in its box", all(near))
                for right in strict:
                    tally.add(f"{label}: boxes", right)
                print(f"{prompt} [{label}, seed {seed}]: {', '.join(s for s, _ in seen)}", flush=True)
                if seed == 0:
                    rows.append((f"{label}: {prompt}", clip))
    contact_sheet(rows, args.out / f"together-{args.subjects}.png", frames_per_row=8, scale=1)
    return _told(tally)


def three_kinds(collection: Collection, judge: Judge, args: argparse.Namespace) -> dict[str, Any]:
    """A subject performing a motion in a style: who, what and how are each recognised?"""
    reads = attribute_judge(Autoencoder.of(collection.base), judges_folder(None))
    tally, rows = Tally.empty(), []
    motions, styles = heldout.MOTION_SPLITS[args.split], heldout.STYLE_SPLITS[args.split]
    for g, who in enumerate(collection.subjects[: args.groups]):
        motion, style = motions[g % len(motions)], styles[g % len(styles)]
        learners = [collection[name] for name in (who.name, motion, style)]
        prompt = f"a <{who.name}> {who.noun} performing <{motion}> in <{style}> style"
        for seed in range(args.seeds):
            clip = generate(collection.base, prompt, learners, _sampling(args, seed))
            ((strict, near),) = identities(judge, clip, [(0.0, 0.0, 1.0, 1.0)])
            (seen,) = reads.read(clip[None])
            right = {"motion": seen["motion"] == motion, "style": seen["style"] == style}
            tally.add("subject", strict == who.name)
            tally.add("subject, nearest of ten", near == who.name)
            for key, value in right.items():
                tally.add(key, value)
            tally.add("all three (subject: nearest)", near == who.name and all(right.values()))
            print(f"{prompt} [seed {seed}]: {strict}, {seen['motion']}, {seen['style']}", flush=True)
            if seed == 0:
                rows.append((prompt, clip))
    contact_sheet(rows, args.out / "three-kinds.png", frames_per_row=8, scale=1)
    return _told(tally)


def forgetting(collection: Collection, judge: Judge, args: argparse.Namespace) -> dict[str, Any]:
    """The first subject right after it was learned, and after ten further tasks, by four ways to keep what was learned.

    `fine-tuning`: one adapter goes from task to task, tokens are kept. The others use the registry: named and relevance are this project's
    modes of aggregation, mean is the merge of LoRA-M.
    """
    base, first = collection.base, collection.subjects[0]
    stream = [who.name for who in collection.subjects] + [heldout.subject(first.index + 20).name]
    prompts = heldout.subject_prompts(first.index, first.name, args.prompts)
    reference = _references(collection, first)
    found: dict[str, dict[str, float]] = {}
    rows: list[tuple[str, Tensor]] = []

    def measure(label: str, learners: list[Learner], **how: Any) -> None:
        scores = []
        for prompt in prompts:
            for seed in range(args.seeds):
                clip = generate(base, prompt.text, learners, _sampling(args, seed, **how))
                ((strict, near),) = identities(judge, clip, [(0.0, 0.0, 1.0, 1.0)])
                likeness = float((base.embed_images(clip * 2 - 1) @ reference.T).mean())
                scores.append((strict == first.name, near == first.name, likeness))
                if seed == 0 and prompt is prompts[0]:
                    rows.append((f"{label}: {prompt.text}", clip))
        strict_, near_, likeness_ = (sum(s) / len(s) for s in zip(*scores, strict=True))
        found[label] = {"recognised": strict_, "nearest": near_, "clip_i": likeness_}
        print(
            f"{label:40} recognised {strict_:.0%}, nearest {near_:.0%}, CLIP-I {likeness_:.3f}  (n = {len(scores)})",
            flush=True,
        )

    everybody = [collection[name] for name in stream]
    measure("right after learning", everybody[:1])
    measure("named, after ten further tasks", everybody)
    measure("relevance, after ten further tasks", everybody, aggregation="relevance", top_k=len(stream))
    measure("mean, after ten further tasks", everybody, aggregation="mean")
    tuned = _fine_tuned(collection, stream)
    measure("fine-tuning, right after learning", [tuned[0]])
    measure("fine-tuning, after ten further tasks", [replace(tuned[0], adapters=tuned[-1].adapters)])
    contact_sheet(rows, args.out / "forgetting.png", frames_per_row=8, scale=1)
    return found


def _fine_tuned(collection: Collection, stream: list[str]) -> list[Learner]:
    """The same tasks with one adapter that goes from one to the next, and no orthogonal loss."""
    learned: list[Learner] = []
    for name in stream:
        kind, noun, material = collection.material(name)
        print(f"fine-tuning on {name}", flush=True)
        learned.append(
            learn_subject(
                collection.base,
                material,
                name=name,
                class_noun=noun,
                recipe=RECIPES["mini"][kind],
                onto=learned[-1].adapters if learned else None,
            )
        )
    return learned


def _references(collection: Collection, who: heldout.HeldoutSubject) -> Tensor:
    embeds: Tensor = collection.base.embed_images(torch.stack(collection.material(who.name)[2]))
    return embeds


def _sampling(args: argparse.Namespace, seed: int, **how: Any) -> SampleSettings:
    return SAMPLING["mini"].model_copy(update={"seed": seed, **how})


def _told(tally: Tally) -> dict[str, Any]:
    for line in tally.lines():
        print(line)
    return {key: [tally.right[key], total] for key, total in tally.total.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tests: dict[str, Callable[[Collection, Judge, argparse.Namespace], dict[str, Any]]] = {
        "together": together,
        "three-kinds": three_kinds,
        "forgetting": forgetting,
    }
    parser.add_argument("test", choices=list(tests))
    parser.add_argument("--home", type=Path, required=True, help="registry of the concepts")
    parser.add_argument("--out", type=Path, default=Path("outputs"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--subjects", type=int, choices=[2, 3], default=2)
    parser.add_argument("--groups", type=int, default=10, help="so many groups, or subjects, at most")
    parser.add_argument("--prompts", type=int, default=4, help="of forgetting")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    base = open_base(args.base)
    with Registry(args.home) as registry:
        collection = Collection(base, registry, args.split)
        judge = identity_judge(heldout.indices(args.split, 10), Autoencoder.of(base), judges_folder(None))
        print(f"judge's own accuracy on rendered truth: {judge.accuracy['identity']:.1%}")
        found = tests[args.test](collection, judge, args)
    name = f"{args.test}-{args.subjects}" if args.test == "together" else args.test
    (args.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
