"""What a concept is asked to do when it is measured: prompts by kind, ours or a file's.

As in the field's benchmarks, a subject is sent through scenes and actions, a motion is performed by others, and a style is put on other things.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import Family
from ..errors import UsageError
from ..prompts import a_subject, check_kinds, named, plainly
from ..world.motions import MOTIONS
from ..world.render import COLOURS
from ..world.scenes import PLACES
from ..world.shapes import NOUNS

if TYPE_CHECKING:
    from .exact import Shown

# What is alive acts; what is not is placed.
_ALIVE = """
dog cat bird fish turtle bear panda rabbit horse monkey tiger lion elephant duck fox man woman child boy girl person robot
"""
ALIVE = frozenset(_ALIVE.split())
ACTIONS = (
    "running along a beach",
    "swimming in a lake",
    "jumping over a puddle in a city street",
    "walking through a snowy forest",
    "sleeping on a red sofa",
    "playing with a ball in a garden",
    "sitting in front of a castle",
    "riding a boat down a river",
)
PLACINGS = (
    "floating on a lake",
    "standing on a kitchen table",
    "rolling down a grassy hill",
    "in the snow at night",
    "turning around on a wooden shelf",
    "on a beach while waves come in",
    "carried along by a river",
    "falling onto a bed",
)
PERFORMERS = (
    ("a man", "on a beach"),
    ("a woman", "in a park"),
    ("a robot", "in the snow"),
    ("a panda", "in a forest"),
    ("a child", "in a living room"),
    ("an astronaut", "on the moon"),
    ("a bear", "in a city street"),
    ("a dancer", "on a stage"),
)
CONTENTS = (
    "a dog running along a beach",
    "a ship at sea",
    "a red car in a city street",
    "a cat sleeping on a sofa",
    "a mountain behind a lake",
    "a child flying a kite",
    "a robot walking through a forest",
    "a flower in the wind",
)
# The embedded world's own words: its base can draw nothing else.
WORLD_ACTIONS = tuple(f"{motion} {place}" for motion, place in zip(MOTIONS, PLACES.values(), strict=False))
WORLD_PERFORMERS = tuple(
    (f"a {colour} {noun}", place)
    for colour, noun, place in zip(COLOURS, NOUNS, PLACES.values(), strict=False)
)


@dataclass(frozen=True)
class Question:
    """A prompt, how it reads to an encoder that knows no concept, and what a clip should then show, if whoever asks knows."""

    prompt: str
    plain: str
    shown: Shown | None = None

    def asked(self) -> dict[str, Any]:
        """All that was said."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def built_in(name: str, kind: str, noun: str, family: Family, count: int) -> list[Question]:
    """The first `count` prompts of a kind. Raises UsageError if there are not so many."""
    world = family == "mini"
    performers = WORLD_PERFORMERS if world else PERFORMERS
    if kind == "subject":
        alive = not noun or noun.split()[-1].lower() in ALIVE
        actions = WORLD_ACTIONS if world else ACTIONS if alive else PLACINGS
        prompts = [f"{a_subject(name, noun)} {action}" for action in actions]
    elif kind == "motion":
        prompts = [f"{who} performing <{name}> {where}" for who, where in performers]
    else:
        contents = [" ".join(pair) for pair in WORLD_PERFORMERS] if world else CONTENTS
        prompts = [f"{content} in <{name}> style" for content in contents]
    if count > len(prompts):
        raise UsageError(
            f"{count} prompts for each concept were asked for; there are {len(prompts)}",
            "ask for fewer, or give a file: --prompts FILE",
        )
    return [_question(prompt, {name: (kind, noun)}) for prompt in prompts[:count]]


def from_file(path: Path, concepts: Mapping[str, tuple[str, str]]) -> dict[tuple[str, ...], list[Question]]:
    """The prompts of a file, one a line, by the concepts that each names; empty lines and those that begin with # are skipped.

    Args:
        concepts: those to be measured: kind and class noun by name.

    Raises:
        UsageError: it cannot be read, a prompt names none of the concepts or another one, or a concept has no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"'{path}' cannot be read ({error})", "give a text file, one prompt a line"
        ) from error
    asked: dict[tuple[str, ...], list[Question]] = {}
    for number, line in enumerate(lines, 1):
        prompt = line.strip()
        if not prompt or prompt.startswith("#"):
            continue
        try:
            names = named(prompt)
            check_kinds(prompt, {name: kind for name, (kind, _) in concepts.items()})
        except UsageError as error:
            raise UsageError(f"'{path}', line {number}: {error.message}", error.hint) from error
        strangers = [name for name in names if name not in concepts]
        if strangers or not names:
            told = ", ".join(strangers) or "no concept"
            raise UsageError(
                f"'{path}', line {number} names {told}: '{prompt}'",
                f"prompts name {', '.join(concepts)}, which are measured; `ccvd list concepts` shows all",
            )
        asked.setdefault(tuple(names), []).append(_question(prompt, concepts))
    if without := [name for name in concepts if not any(name in names for names in asked)]:
        raise UsageError(
            f"'{path}' has no prompt for {', '.join(without)}", f"add one that names <{without[0]}>"
        )
    return asked


def _question(prompt: str, concepts: Mapping[str, tuple[str, str]]) -> Question:
    return Question(prompt, plainly(prompt, concepts))


__all__ = ["Question", "built_in", "from_file"]
