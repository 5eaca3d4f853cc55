"""What the measuring programs share: held-out concepts learned once into a registry, judges, tallies and arguments."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ccvd_cli.choices import Kind
from ccvd_cli.engine.bases import open_base
from ccvd_cli.engine.concept import Learner
from ccvd_cli.engine.cotrain import Subject, learn_subjects_together
from ccvd_cli.engine.learn import learn_motion, learn_subject
from ccvd_cli.engine.media_out import contact_sheet
from ccvd_cli.engine.retention import Earlier, stored_subspaces
from ccvd_cli.estimates import Rate
from ccvd_cli.measure.exact import Exact
from ccvd_cli.registering import new_concept
from ccvd_cli.settings import RECIPES, SAMPLING, Recipe, SampleSettings
from ccvd_cli.world import heldout
from ccvd_cli.world.judge import Judge
from ccvd_cli.world.judge_making import judges_folder
from ccvd_cli.world.judge_material import WHOLE
from ccvd_cli.world.parts import pixels
from ccvd_registry import Registry

CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass
class Collection:
    """Concepts by name ("dog-10", "zigzagging", "sepia"), learned one after the other when they are first asked for."""

    base: Any
    registry: Registry
    split: heldout.Split
    recipes: Mapping[Kind, Recipe]
    masks: bool = False  # subjects are learned within their true masks
    pairs: bool = False  # two subjects at a time, side by side

    def __getitem__(self, name: str) -> Learner:
        """Raises SystemExit if the registry has it by another recipe, or learned in another way."""
        known = {c.name: c for c in self.registry.list(base=self.base.fingerprint)}
        if name not in known:
            started = time.monotonic()
            learners = self._learn(name)
            names = " and ".join(learner.name for learner in learners)
            print(f"learned {names} in {time.monotonic() - started:.0f} s", flush=True)
            new = [new_concept(x, self.base, self.recipes[x.kind], how=self._how(x.kind)) for x in learners]
            self.registry.add_all(new)
            known |= {c.name: c for c in self.registry.find(x.name for x in learners)}
        kind = self.material(name)[0]
        recipe = self.recipes[kind].model_dump(mode="json")
        # Registries from before there was `how` have it among the data; and not all that recipes have now.
        learned = Recipe(**known[name].recipe).model_dump(mode="json")
        if (learned, known[name].how, known[name].data) != (recipe, self._how(kind), []):
            raise SystemExit(f"{name} was learned in another way: take another --home")
        return Learner.load(known[name], self.base)

    @cached_property
    def subjects(self) -> list[heldout.HeldoutSubject]:
        return [heldout.subject(i) for i in heldout.indices(self.split, 10)]

    @property
    def motions(self) -> tuple[str, ...]:
        return heldout.MOTION_SPLITS[self.split]

    @property
    def styles(self) -> tuple[str, ...]:
        return heldout.STYLE_SPLITS[self.split]

    def material(self, name: str) -> tuple[Kind, str, list[Tensor]]:
        """Kind, class noun, and what it is learned from."""
        if name in self.motions:
            return "motion", name, list(pixels(heldout.motion_clips(name, 4), CPU))
        if name in self.styles:
            return "style", "", list(pixels(heldout.style_images(name, 5), CPU))
        who = heldout.subject(heldout.index_of(name))
        return "subject", who.noun, list(pixels(heldout.subject_images(who.index, 5), CPU))

    def _learn(self, name: str) -> list[Learner]:
        kind, noun, material = self.material(name)
        earlier = Earlier()
        for concept in self.registry.list(kind=kind, base=self.base.fingerprint):
            earlier.add(stored_subspaces(concept, self.base.sites))
        how: dict[str, Any] = {
            "recipe": self.recipes[kind],
            "earlier": earlier.to(self.base.device) if earlier.count else None,
        }
        names = [who.name for who in self.subjects]
        if self.pairs and name in names:
            at = names.index(name) // 2 * 2
            pair = [self._pupil(who) for who in self.subjects[at : at + 2]]
            return learn_subjects_together(self.base, pair, **how)
        how |= {"name": name, "class_noun": noun}
        if kind == "motion":
            return [learn_motion(self.base, material, **how)]
        if kind == "subject":
            how["masks"] = self._masks(name)
        return [learn_subject(self.base, material, kind=kind, **how)]

    def _how(self, kind: str) -> dict[str, bool]:
        """How it is learned besides the recipe, as the registry keeps it."""
        ways = {"true masks": self.masks, "pairs": self.pairs}
        return {way: True for way, taken in ways.items() if taken and kind == "subject"}

    def _pupil(self, who: heldout.HeldoutSubject) -> Subject:
        return Subject(who.name, who.noun, self.material(who.name)[2], self._masks(who.name))

    def _masks(self, name: str) -> Sequence[Tensor]:
        if not self.masks:
            return ()
        masks = heldout.subject_masks(heldout.index_of(name), 5)
        return list(torch.from_numpy(masks)[:, None].float() / 255)


@dataclass
class Judges:
    """Who, and what; each is trained on rendered truth when it is first asked."""

    collection: Collection

    @cached_property
    def exact(self) -> Exact:
        return Exact(self.collection.base, heldout.indices(self.collection.split, 10), judges_folder(None))

    @cached_property
    def attributes(self) -> Judge:
        _tell(self.exact.attributes)
        return self.exact.attributes

    @cached_property
    def identity(self) -> Judge:
        _tell(self.exact.identity)
        return self.exact.identity

    def who(self, clip: Tensor, boxes: Sequence[tuple[float, ...]] = (WHOLE,)) -> list[tuple[str, str]]:
        """Who is seen in each box of a clip (F, 3, H, W): the judge's answer, and the nearest of the subjects."""
        assert self.identity  # says how good it is before its first answer
        return self.exact.who(clip, boxes)


def _tell(judge: Judge) -> None:
    told = ", ".join(f"{key} {value:.1%}" for key, value in judge.accuracy.items())
    print(f"the judge is right on rendered truth: {told}", flush=True)


@dataclass
class Tally:
    """Right answers by what they are about."""

    right: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, right: bool) -> None:
        self.right[key] = self.right.get(key, 0) + right
        self.total[key] = self.total.get(key, 0) + 1

    def lines(self) -> Iterator[str]:
        for key, total in self.total.items():
            rate = Rate(self.right[key], total)
            low, high = rate.interval
            yield f"{key:52} {rate.right:3}/{rate.total:<3} = {rate.value:4.0%}  (95% {low:.0%} - {high:.0%})"

    def facts(self) -> dict[str, list[int]]:
        return {key: [self.right[key], total] for key, total in self.total.items()}


@dataclass
class Bench:
    """What a measurement has at hand, and what it leaves: lines, rows of a sheet, and facts."""

    collection: Collection
    judges: Judges
    args: argparse.Namespace
    tally: Tally = field(default_factory=Tally)
    rows: list[tuple[str, Tensor]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def sampling(self, seed: int, **how: Any) -> SampleSettings:
        return SAMPLING["mini"].model_copy(update={"seed": seed, **self.args.sampling, **how})

    def compared(self, conditions: Mapping[str, T]) -> Iterable[tuple[str, T]]:
        """What is measured side by side, as much of it as was asked for."""
        return islice(conditions.items(), self.args.conditions)

    def write(self, name: str) -> None:
        for line in self.tally.lines():
            print(line)
        contact_sheet(self.rows, self.args.out / f"{name}.png", frames_per_row=8, scale=1)
        facts = {
            "recipes": {kind: recipe.model_dump() for kind, recipe in self.collection.recipes.items()},
            **{key: vars(self.args)[key] for key in ("sampling", "masks", "pairs", "seeds")},
            "rates": self.tally.facts(),
            **self.facts,
        }
        (self.args.out / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


Measurement = Callable[[Bench], None]


def measure(measurements: Mapping[str, Measurement], description: str | None) -> None:
    """The command line of a measuring program."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("test", choices=list(measurements))
    parser.add_argument("--home", type=Path, required=True, help="registry of the concepts")
    parser.add_argument("--out", type=Path, default=Path("outputs"))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--split", choices=["dev", "test"], default="test", help="recipes are chosen on dev")
    parser.add_argument("--concepts", type=int, default=10, help="so many concepts, or groups, at most")
    parser.add_argument("--prompts", type=int, default=4, help="of each concept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--conditions", type=int, help="so many of the conditions that are compared, at most")
    parser.add_argument("--recipe", type=json.loads, default={}, help="changes to every recipe as JSON")
    parser.add_argument("--masks", action="store_true", help="subjects are learned within their true masks")
    parser.add_argument("--pairs", action="store_true", help="subjects are learned in pairs, side by side")
    parser.add_argument("--sampling", type=json.loads, default={}, help="changes to sampling as JSON")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    recipes = {kind: recipe.model_copy(update=args.recipe) for kind, recipe in RECIPES["mini"].items()}
    with Registry(args.home) as registry:
        collection = Collection(open_base(args.base), registry, args.split, recipes, args.masks, args.pairs)
        bench = Bench(collection, Judges(collection), args)
        measurements[args.test](bench)
        bench.write(args.test)
