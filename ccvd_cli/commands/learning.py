"""A request to learn, checked whole before a model is loaded: names, files, sizes and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..prompts import is_noun
from ..session import Session
from . import masking
from .learn_options import LearnOptions, one_each
from .learned import files
from .opening import find_base

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..choices import Kind
    from ..engine.masks import Masks
    from ..engine.media import Loaded
    from ..settings import Recipe, SampleSettings

_HURRIED = 1.5  # times as fast as it was, a motion is worth a word


@dataclass(frozen=True)
class ToLearn:
    """A concept that is about to be learned."""

    name: str
    class_noun: str
    loaded: Loaded
    masks: Masks | None


@dataclass(frozen=True)
class Learning:
    """One concept, or several subjects together: all of it checked."""

    kind: Kind
    recipe: Recipe
    sampling: SampleSettings
    wanted: Sequence[ToLearn]


def free_names(registry: Registry, wanted: Sequence[str] | None, count: int) -> list[str]:
    """One name for each of so many concepts: those that are asked for, or else the next free ones. Raises UsageError."""
    registry.check_writable()
    names = list(one_each(wanted, count, "--name") or ())
    for i, name in enumerate(names):
        registry.check_name(name)
        if name.lower() in (other.lower() for other in names[:i]):
            raise UsageError(f"--name {name} is given twice.", "Every subject needs a name of its own.")
    while len(names) < count:
        names.append(registry.next_name(besides=names))
    return names


def prepare(
    session: Session,
    kind: Kind,
    names: Sequence[str],
    folders: Sequence[Path],
    source: str,
    options: LearnOptions,
    overrides: Mapping[str, Any],
    masks: Sequence[str] | None,
) -> Learning:
    """Everything that can be wrong with a request, before a model is loaded. Raises UsageError."""
    from ..settings import RECIPES, learning_of
    from .overrides import override

    count = len(folders)
    nouns = [noun_of(noun) for noun in one_each(options.class_noun, count, "--class-noun") or [""] * count]
    within = masking.sources(masks, count)
    found = find_base(source)
    family = found.family
    usual = RECIPES[family][kind]
    sampling = override(learning_of(family, kind), {"height": options.height, "width": options.width})
    if kind == "subject" and not masks and all(masking.cut_out(folder, sampling) for folder in folders):
        within = ["alpha"] * count
    said = {field: value for field, value in overrides.items() if value is not None}
    recipe = override(usual, {**masking.changes(usual, within), **said})
    sampling = sampling.model_copy(update={"seed": recipe.seed})
    found.check_size(sampling.height, sampling.width, recipe.frames if kind == "motion" else 1)
    if kind == "subject":
        masking.check_of_use(recipe, overrides, within)
    news = []
    for name, noun, folder, mask in zip(names, nouns, folders, within, strict=True):
        loaded = _load(kind, folder, recipe, sampling)
        news.append(ToLearn(name, noun, loaded, masking.load(loaded, mask, sampling)))
    for new in news:
        for path, reason in new.loaded.skipped:
            session.warn(f"Skipped {path.name}: {reason}.")
        called = f"{new.name} ({new.class_noun})" if new.class_noun else new.name
        within_masks = masking.words_for(kind, new, recipe)
        session.say(f"Learning {kind} {called} from {files(new.loaded.used)}{within_masks}.")
        if kind == "motion":
            _say_hurried(session, new.loaded.used, recipe.frames / sampling.fps)
    if _of_another_world(kind, source, folders, news):
        session.say(
            "Note: mini knows a drawn world (`ccvd world`). If these are photographs, what it makes of them is rough; "
            "for the real thing there is --base."
        )
    return Learning(kind, recipe, sampling, news)


def _say_hurried(session: Session, clips: Sequence[Path], seconds: float) -> None:
    """Clips are learned whole: of which `seconds` is much less than they take, the motion is learned as a faster one."""
    from ..engine import clip_reader

    for clip in clips:
        took = clip_reader.seconds(clip)
        if took > _HURRIED * seconds:
            session.warn(
                f"{clip.name} takes {took:.1f} s and is learned as {seconds:g} s, {took / seconds:.1f} times as fast: "
                "cut it to the motion if that is too much."
            )


def _of_another_world(kind: Kind, source: str, folders: Sequence[Path], news: Sequence[ToLearn]) -> bool:
    """Whether the embedded base is to learn what `ccvd world` did not draw."""
    from ..engine.bases import EMBEDDED
    from ..measure.known import drawn

    if find_base(source).folder != EMBEDDED:
        return False
    each = zip(folders, news, strict=True)
    return not all(drawn(folder, kind, [p.name for p in new.loaded.used]) for folder, new in each)


def noun_of(given: str) -> str:
    """A class noun, its words one space apart. Raises UsageError."""
    noun = " ".join(given.split())
    if not is_noun(noun):
        raise UsageError(f"--class-noun '{noun}': not a noun.", "Say what kind of thing it is, such as dog.")
    return noun


def _load(kind: Kind, folder: Path, recipe: Recipe, sampling: SampleSettings) -> Loaded:
    from ..engine import media

    pixels = (sampling.height, sampling.width)
    if kind == "motion":
        return media.load_videos(folder, size=pixels, frames=recipe.frames, fps=sampling.fps)
    return media.load_images(folder, size=pixels)
