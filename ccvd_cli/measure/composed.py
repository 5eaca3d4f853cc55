"""What concepts are asked to do together, several in one prompt: the same for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from ..choices import Family
from ..prompts import a_subject, named, plainly, told_apart
from ..regions import MOST, Box, Region
from ..row import side_by_side
from ..world.captions import TOGETHER, sentence
from ..world.scenes import PLACES
from .exact import shown_by
from .questions import Question

CONCEPTS_PER_PROMPT = 5  # of each kind, but two of a kind at least
_SCENES = ("on a beach", "in a park", "in the snow", "in a city street")  # for who knows more than the world
_SIZES = {2: "two", 3: "three", 4: "four"}


class Concept(Protocol):
    """As much of it as prompts need."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def noun(self) -> str: ...


@dataclass(frozen=True)
class Composed:
    """One prompt for several concepts; `kind` is two, three, subject+motion or subject+style, or the like.

    places: boxes side by side, one for each of several subjects, by name: there they are looked for, by all methods, whatever they were told.
    """

    kind: str
    names: tuple[str, ...]
    asked: Question
    places: Mapping[str, Region] = field(default_factory=dict)

    def box_of(self, name: str) -> Box | None:
        return self.places[name].box_at(0) if name in self.places else None


def composed(concepts: Sequence[Concept], family: Family, *, toy: bool = False) -> list[Composed]:
    """Prompts of each kind for which there are enough concepts, over different concepts; the more of them, the more prompts.

    Args:
        toy: concepts go by the names that the world gives them, so that it says what should be seen.
    """
    each = max(2, len(concepts) // CONCEPTS_PER_PROMPT)
    subjects, motions, styles = ([c for c in concepts if c.kind == k] for k in ("subject", "motion", "style"))
    asked: list[tuple[str, list[Concept]]] = []
    for size in (2, 3):
        groups = [subjects[i : i + size] for i in range(0, len(subjects) - size + 1, size)]
        asked += [(_all_of(group, k, family), group) for k, group in enumerate(groups[:each])]
    for others in (motions, styles):
        for k, (who, what) in enumerate(islice(zip(subjects, others, strict=False), each)):
            asked.append((_with(who, what, k, family), [who, what]))
    return [of_prompt(prompt, group, toy=toy) for prompt, group in asked]


def of_prompt(prompt: str, concepts: Sequence[Concept], *, toy: bool = False) -> Composed:
    """What a prompt asks of those of the concepts that it names."""
    about = {c.name: c for c in concepts}
    group = [about[name] for name in named(prompt)]
    plain = plainly(prompt, {c.name: (c.kind, c.noun) for c in group})
    subjects = {c.name: c.noun for c in group if c.kind == "subject"}
    row = side_by_side(told_apart(prompt, subjects)) if 1 < len(subjects) <= MOST else []
    places = {next(name for name in region.names if name in subjects): region for region in row}
    boxes = tuple((name, region.box_at(0)) for name, region in places.items())
    shown = replace(shown_by(prompt), boxes=boxes) if toy else None
    return Composed(_kind(group), tuple(c.name for c in group), Question(prompt, plain, shown), places)


def _kind(group: Sequence[Concept]) -> str:
    kinds = [kind for kind in ("subject", "motion", "style") for c in group if c.kind == kind]
    return _SIZES.get(len(kinds), "+".join(kinds)) if set(kinds) == {"subject"} else "+".join(kinds)


def _all_of(group: Sequence[Concept], k: int, family: Family) -> str:
    motion = TOGETHER[(1 + k) % len(TOGETHER)] if family == "mini" else ""
    return _sentence(" and ".join(map(_named, group)), motion, k, family)


def _with(who: Concept, what: Concept, k: int, family: Family) -> str:
    if what.kind == "motion":
        return _sentence(f"{_named(who)} performing <{what.name}>", "", k, family)
    motion = TOGETHER[(1 + k) % len(TOGETHER)] if family == "mini" else ""
    return f"{_sentence(_named(who), motion, k, family)} in <{what.name}> style"


def _named(concept: Concept) -> str:
    return a_subject(concept.name, concept.noun)


def _sentence(who: str, motion: str, k: int, family: Family) -> str:
    if family == "mini":
        return sentence(who, motion, list(PLACES)[k % len(PLACES)])
    return f"{who} {_SCENES[k % len(_SCENES)]}"


__all__ = ["Composed", "Concept", "composed", "of_prompt"]
