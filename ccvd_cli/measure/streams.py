"""Streams of tasks: concepts that arrive one after the other, drawn by the embedded world or listed in a file.

`toy35` are the 20 subjects, 10 motions and 5 styles of the world's `test` split in a fixed shuffled order, `toy10` the first ten of them; `dev`
are five of its `dev` split, on which settings of methods are chosen. A file lists tasks as rows (csv) or mappings (yaml, json): kind, name,
class_noun and folder; or, instead of the folder, images and videos, of which a motion takes the second. Folders are relative to the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from .. import prompts
from ..choices import Family, Kind
from ..errors import UNREADABLE, UsageError
from ..paths import as_text, expanded
from ..settings import SampleSettings
from ..world import heldout
from .questions import Question, built_in

if TYPE_CHECKING:
    from torch import Tensor

ORDER = 46  # the seed of the toys' order; the first ten of test hold 6 subjects, 2 motions and 2 styles, the first five of dev 3, 1 and 1
_IMAGES, _CLIPS = 5, 4  # that a toy task is learned from


@dataclass(frozen=True)
class Task:
    """One concept of a stream; `order` counts from 1. A toy's has no folder: the world draws what it is learned from."""

    order: int
    kind: Kind
    name: str
    noun: str
    folder: Path | None = None


class Toy(NamedTuple):
    """The first `tasks` of a split's; who is seen is judged among all its `subjects`."""

    split: heldout.Split
    subjects: int
    tasks: int


TOY = {"toy35": Toy("test", 20, 35), "toy10": Toy("test", 20, 10), "dev": Toy("dev", 10, 5)}


@dataclass(frozen=True)
class Stream:
    """Tasks in their order; `subjects`: of a toy, those of the world among whom who is seen is judged."""

    name: str
    tasks: tuple[Task, ...]
    subjects: tuple[int, ...] = ()

    @property
    def toy(self) -> bool:
        """Whether the world knows everything about it."""
        return all(task.folder is None for task in self.tasks)


def open_stream(source: str, *, skip_missing: bool = False) -> Stream:
    """A toy stream by its name, or that of a file.

    Raises:
        UsageError: no such stream; no task in it, a name twice, an unknown kind, or a folder that is not there (unless `skip_missing`).
    """
    if source in TOY:
        toy = TOY[source]
        return Stream(source, toy_tasks(toy)[: toy.tasks], tuple(heldout.indices(toy.split, toy.subjects)))
    path = expanded(Path(source))
    if as_text(path) != str(path):  # results are called so
        raise UsageError(f"the name of '{as_text(path)}' is not UTF-8", "rename it")
    rows = _rows(path, source)
    tasks = [_task(row, path.parent, f"'{source}', task {i}") for i, row in enumerate(rows, 1)]
    missing = [task for task in tasks if not _there(task)]
    if missing and not skip_missing:
        listed = ", ".join(f"{task.name} ('{task.folder}')" for task in missing)
        raise UsageError(
            f"'{source}': there is nothing to learn {listed} from.", "Leave them out: --skip-missing"
        )
    tasks = [task for task in tasks if task not in missing]
    if not tasks:
        raise UsageError(f"'{source}' holds no task.", "List at least one: kind, name, class_noun, folder.")
    _check_names(tasks, source)
    return Stream(path.stem, tuple(replace(task, order=i) for i, task in enumerate(tasks, 1)))


def toy_tasks(toy: Toy) -> tuple[Task, ...]:
    """All of its split, in their order."""
    import numpy as np

    subjects = [heldout.subject(i) for i in heldout.indices(toy.split, toy.subjects)]
    all_of: list[tuple[Kind, str, str]] = [("subject", who.name, who.noun) for who in subjects]
    all_of += [("motion", name, name) for name in heldout.MOTION_SPLITS[toy.split]]
    all_of += [("style", name, "") for name in heldout.STYLE_SPLITS[toy.split]]
    order = np.random.default_rng(ORDER).permutation(len(all_of))
    return tuple(Task(i, *all_of[k]) for i, k in enumerate(order, 1))


def material(task: Task, settings: SampleSettings) -> list[Tensor]:
    """What a task is learned from: pictures (3, H, W) or, of a motion, clips (F, 3, H, W), in [-1, 1]. Raises UsageError."""
    import torch

    from ..engine import media
    from ..world.parts import pixels

    size = (settings.height, settings.width)
    if task.folder and task.kind == "motion":
        return media.load_videos(task.folder, size=size, frames=settings.frames, fps=settings.fps).tensors
    if task.folder:
        return media.load_images(task.folder, size=size).tensors
    if task.kind == "subject":
        drawn = heldout.subject_images(heldout.index_of(task.name), _IMAGES)
    elif task.kind == "motion":
        drawn = heldout.motion_clips(task.name, _CLIPS)
    else:
        drawn = heldout.style_images(task.name, _IMAGES)
    return list(pixels(drawn, torch.device("cpu")))


def questions(task: Task, family: Family, count: int) -> list[tuple[Question, heldout.Prompt | None]]:
    """What a concept is asked; of a toy's, with the clip that would answer it. Raises UsageError if there are fewer."""
    if task.folder:
        return [(q, None) for q in built_in(task.name, task.kind, task.noun, family, count)]
    if task.kind == "subject":
        asked = heldout.subject_prompts(heldout.index_of(task.name), task.name, count)
    elif task.kind == "motion":
        asked = heldout.motion_prompts(task.name, task.name, count)
    else:
        asked = heldout.style_prompts(task.name, task.name, count)
    return [
        (Question(p.text, prompts.plainly(p.text, {task.name: (task.kind, task.noun)})), p) for p in asked
    ]


# --- files -------------------------------------------------------------------------------------------


def _rows(path: Path, source: str) -> list[Mapping[str, Any]]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--stream {source}: no such stream, and no file that can be read ({error}).",
            f"Say {', '.join(TOY)}, or give a csv, yaml or json file of tasks.",
        ) from error
    try:
        if path.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines()))
        listed = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (*UNREADABLE, csv.Error, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(f"'{source}' cannot be understood: {reason}.", "Check its syntax.") from error
    listed = listed.get("tasks") if isinstance(listed, dict) else listed
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise UsageError(f"'{source}' holds no list of tasks.", "Each has kind, name, class_noun, folder.")
    return listed


def _task(row: Mapping[str, Any], beside: Path, where: str) -> Task:
    """Its order comes later."""

    def said(*keys: str) -> str:
        value = next((row[k] for k in keys if row.get(k) not in (None, "")), "")
        if isinstance(value, (list, dict)):
            raise UsageError(
                f"{where}: {keys[0]} is no text.", "Each task has kind, name, class_noun, folder."
            )
        return str(value).strip()

    kind, name = said("kind").lower(), said("name")
    if kind not in get_args(Kind):
        raise UsageError(f"{where}: unknown kind '{kind}'.", f"Say {', '.join(get_args(Kind))}.")
    try:
        if prompts.named(f"<{name}>") != [name]:
            raise UsageError(name)
    except UsageError as error:
        raise UsageError(f"{where}: '{name}' is no name.", error.hint) from error
    noun = said("class_noun", "noun")
    if not prompts.is_noun(noun):
        raise UsageError(f"{where}: '{noun}' is no noun.", "Say what kind of thing it is, such as dog.")
    folder = said("folder") or said("videos" if kind == "motion" else "images")
    if not folder:
        raise UsageError(f"{where}: {name} has no folder.", "Say folder, or images, or videos of a motion.")
    return Task(0, kind, name, noun, beside / expanded(Path(folder)))  # type: ignore[arg-type]


def _there(task: Task) -> bool:
    assert task.folder is not None
    try:
        return task.folder.is_file() or (task.folder.is_dir() and any(task.folder.iterdir()))
    except OSError:  # a name too long, a folder that may not be read
        return False


def _check_names(tasks: Sequence[Task], source: str) -> None:
    alike: dict[str, list[str]] = {}
    for task in tasks:
        alike.setdefault(task.name.casefold(), []).append(task.name)
    for names in alike.values():
        if len(names) > 1:
            raise UsageError(
                f"'{source}' has {' and '.join(dict.fromkeys(names))} {len(names)} times.",
                "Give every task a name of its own; upper and lower case do not tell them apart.",
            )


__all__ = ["TOY", "Stream", "Task", "material", "open_stream", "questions"]
