"""What concepts of a stream are asked to do together, once all of them are learned: the same for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ..prompts import plainly, told_apart
from ..regions import Box, side_by_side
from ..settings import Family
from ..world.captions import TOGETHER, sentence
from ..world.scenes import PLACES
from .exact import Shown, shown_by
from .questions import Question
from .streams import Stream, Task

Boxes = tuple[tuple[str, Box], ...]
TASKS_PER_PROMPT = 5  # of each kind, but two of a kind at least
_SCENES = ("on a beach", "in a park", "in the snow", "in a city street")  # for who knows more than the world


@dataclass(frozen=True)
class Asked(Question):
    """A question, and what the world says that a clip should show then."""

    shown: Shown = Shown()  # noqa: RUF009  immutable


@dataclass(frozen=True)
class Composed:
    """One prompt for several concepts; `kind` is two, three, subject+motion or subject+style."""

    kind: str
    names: tuple[str, ...]
    asked: Asked


def composed(stream: Stream, family: Family) -> list[Composed]:
    """Prompts of each kind for which the stream has enough concepts, over different concepts; the more, the longer it is."""
    each = max(2, len(stream.tasks) // TASKS_PER_PROMPT)
    subjects, motions, styles = (
        [t for t in stream.tasks if t.kind == k] for k in ("subject", "motion", "style")
    )
    found: list[Composed] = []
    for kind, size in (("two", 2), ("three", 3)):
        groups = [subjects[i : i + size] for i in range(0, len(subjects) - size + 1, size)]
        found += [_side_by_side(kind, group, k, stream, family) for k, group in enumerate(groups[:each])]
    for kind, others in (("subject+motion", motions), ("subject+style", styles)):
        for k, (who, what) in enumerate(islice(zip(subjects, others, strict=False), each)):
            found.append(_with(kind, who, what, k, stream, family))
    return found


def _side_by_side(kind: str, group: Sequence[Task], k: int, stream: Stream, family: Family) -> Composed:
    said = " and ".join(_named(task) for task in group)
    motion = TOGETHER[(1 + k) % len(TOGETHER)] if family == "mini" else ""
    prompt = _sentence(said, motion, k, family)
    apart = told_apart(prompt, {t.name: t.noun for t in group})
    boxes = tuple((t.name, r.box_at(0)) for t, r in zip(group, side_by_side(apart), strict=True))
    return _composed(kind, group, prompt, boxes, stream)


def _with(kind: str, who: Task, what: Task, k: int, stream: Stream, family: Family) -> Composed:
    if what.kind == "motion":
        prompt = _sentence(f"{_named(who)} performing <{what.name}>", "", k, family)
    else:
        motion = TOGETHER[(1 + k) % len(TOGETHER)] if family == "mini" else ""
        prompt = f"{_sentence(_named(who), motion, k, family)} in <{what.name}> style"
    return _composed(kind, [who, what], prompt, (), stream)


def _named(task: Task) -> str:
    return f"a <{task.name}> {task.noun}".rstrip()


def _sentence(who: str, motion: str, k: int, family: Family) -> str:
    if family == "mini":
        return sentence(who, motion, list(PLACES)[k % len(PLACES)])
    return f"{who} {_SCENES[k % len(_SCENES)]}"


def _composed(kind: str, group: Sequence[Task], prompt: str, boxes: Boxes, stream: Stream) -> Composed:
    plain = plainly(prompt, {t.name: (t.kind, t.noun) for t in group})
    shown = replace(shown_by(prompt), boxes=boxes) if stream.toy else Shown()
    return Composed(kind, tuple(t.name for t in group), Asked(prompt, plain, shown))
