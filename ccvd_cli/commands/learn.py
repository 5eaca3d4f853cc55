"""`ccvd learn-subject`, `learn-motion`, `learn-style`: from a folder of photos or clips to a concept in the registry.

Names, files and settings are checked before a base is loaded, and the registry is written once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UsageError
from ..progress import progress
from ..prompts import is_noun
from ..session import Session
from . import masking
from .learn_options import (
    LearnOptions,
    MaskOptions,
    MotionRecipeOptions,
    PictureRecipeOptions,
    SubjectRecipeOptions,
    one_each,
)
from .learned import files, report
from .opening import find_base, open_base
from .options import BaseOptions, SampleOptions
from .previews import Previews, plan_previews
from .request import base_of
from .scoring import Plan, plan_scoring
from .storing import store
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..choices import Kind
    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.masks import Masks
    from ..engine.media import Loaded
    from ..engine.retention import Earlier
    from ..settings import Recipe, SampleSettings


@dataclass(frozen=True)
class Lesson:
    """A concept that is about to be learned."""

    name: str
    class_noun: str
    loaded: Loaded
    masks: Masks | None


@dataclass(frozen=True)
class Task:
    """One concept, or several subjects together: all of it checked."""

    kind: Kind
    recipe: Recipe
    sampling: SampleSettings
    lessons: Sequence[Lesson]


def register(app: typer.Typer) -> None:
    command(
        app,
        "learn-subject",
        learn_subject,
        examples=(
            "ccvd learn-subject --images photos/ --class-noun dog",
            "ccvd learn-subject --images photos/ --name rex --steps 400 --seed 1",
            "ccvd learn-subject --images photos/ --class-noun dog --evaluate",
            "ccvd learn-subject --images photos/ --masks masks/ --class-noun dog",
            "ccvd learn-subject --images rex/ --class-noun dog --images tom/ --class-noun cat",
        ),
        panel="Concepts and clips",
    )
    command(
        app,
        "learn-motion",
        learn_motion,
        examples=(
            'ccvd learn-motion --videos clips/ --class-noun "playing guitar"',
            "ccvd learn-motion --videos clips/ --name V3 --preview v3.gif",
        ),
        panel="Concepts and clips",
    )
    command(
        app,
        "learn-style",
        learn_style,
        examples=(
            "ccvd learn-style --images sketches/",
            "ccvd learn-style --images sketches/ --class-noun drawing --name V7 --preview v7.gif",
        ),
        panel="Concepts and clips",
    )


_HURRIED = 1.5  # times as fast as it was, a motion is worth a word


def learn_subject(
    session: Session,
    images: Annotated[
        list[Path],
        Option(
            "--images",
            metavar="FOLDER",
            help="3 to 6 photos of it; given again, of another subject to learn with it.",
            show_default=False,
        ),
    ],
    within: MaskOptions,
    options: LearnOptions,
    base: BaseOptions,
    recipe: SubjectRecipeOptions,
) -> None:
    """Learn what something looks like from a few photos."""
    _learn(session, "subject", images, options, base, asdict(recipe), within.masks)


def learn_motion(
    session: Session,
    videos: Annotated[
        Path, Option("--videos", metavar="FOLDER", help="1 to 6 clips of it.", show_default=False)
    ],
    options: LearnOptions,
    base: BaseOptions,
    recipe: MotionRecipeOptions,
) -> None:
    """Learn how something moves from a few clips."""
    _learn(session, "motion", [videos], options, base, asdict(recipe))


def learn_style(
    session: Session,
    images: Annotated[
        Path, Option("--images", metavar="FOLDER", help="3 to 6 pictures in it.", show_default=False)
    ],
    options: LearnOptions,
    base: BaseOptions,
    recipe: PictureRecipeOptions,
) -> None:
    """Learn how pictures are drawn or lit from a few of them, whatever they show."""
    _learn(session, "style", [images], options, base, asdict(recipe))


def _learn(
    session: Session,
    kind: Kind,
    folders: Sequence[Path],
    options: LearnOptions,
    where: BaseOptions,
    overrides: Mapping[str, Any],
    masks: Sequence[str] | None = None,
) -> None:
    started = time.monotonic()
    with session.registry() as registry:
        names = _free_names(registry, options.name, len(folders))
        previews = plan_previews(session, names, options)
        source = where.base or base_of(registry.list()[-1:])
        plan = _plan(kind, names, folders, source, options, where)
        task = _prepare(session, kind, names, folders, source, options, overrides, masks)
        base = open_base(session, source, where.device, where.dtype)
        scoring = plan.ready(session, base) if plan else None
        began = datetime.now(timezone.utc)
        with previews.undone_unless_kept():
            learners = _train(session, base, task, _earlier(session, registry, task, base), previews)
            concepts = store(session, registry, learners, task, base, began)
            previews.keep()
        held = " and ".join(concept.name for concept in concepts)
        session.say(f"{held} {'is' if len(concepts) == 1 else 'are'} in the registry.")
        with scoring.going_on(session, concepts) if scoring else nullcontext():
            took = time.monotonic() - started
            try:
                previews.final(registry, base, concepts, task.sampling)
                if scoring:
                    scoring.score(session, registry, concepts)
            finally:  # they are learned, shown and scored or not
                scores = scoring.found if scoring else None
                report(session, concepts, task, previews.files, took, scores, as_json=options.json)


def _plan(
    kind: Kind,
    names: Sequence[str],
    folders: Sequence[Path],
    source: str,
    options: LearnOptions,
    where: BaseOptions,
) -> Plan | None:
    """How they will be scored, at the size that they are learned at; None if nobody asked. Raises UsageError, CcvdError."""
    if not options.evaluate:
        if options.exact:
            raise UsageError("--exact says how a concept is scored.", "Add --evaluate, or leave --exact out.")
        return None
    sampling = SampleOptions(height=options.height, width=options.width)
    return plan_scoring(kind, names, folders, source, sampling, where, exact=options.exact)


def _free_names(registry: Registry, wanted: Sequence[str] | None, count: int) -> list[str]:
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


def _prepare(
    session: Session,
    kind: Kind,
    names: Sequence[str],
    folders: Sequence[Path],
    source: str,
    options: LearnOptions,
    overrides: Mapping[str, Any],
    masks: Sequence[str] | None,
) -> Task:
    """Everything that can be wrong with a request, before a model is loaded. Raises UsageError."""
    from ..settings import RECIPES, learning_of
    from .overrides import override

    count = len(folders)
    nouns = [_noun(noun) for noun in one_each(options.class_noun, count, "--class-noun") or [""] * count]
    within = masking.sources(masks, count)
    found = find_base(source)
    family = found.family
    usual = RECIPES[family][kind]
    said = {field: value for field, value in overrides.items() if value is not None}
    recipe = override(usual, {**masking.changes(usual, within), **said})
    pixels = {"height": options.height, "width": options.width}
    sampling = override(learning_of(family, kind), {**pixels, "seed": recipe.seed})
    found.check_size(sampling.height, sampling.width, recipe.frames if kind == "motion" else 1)
    if kind == "subject":
        masking.check_of_use(recipe, overrides, within)
    lessons = []
    for name, noun, folder, mask in zip(names, nouns, folders, within, strict=True):
        loaded = _load(kind, folder, recipe, sampling)
        lessons.append(Lesson(name, noun, loaded, masking.load(loaded, mask, sampling)))
    for lesson in lessons:
        for path, reason in lesson.loaded.skipped:
            session.say(f"Skipped {path.name}: {reason}.")
        called = f"{lesson.name} ({lesson.class_noun})" if lesson.class_noun else lesson.name
        within_masks = masking.told(kind, lesson, recipe)
        session.say(f"Learning {kind} {called} from {files(lesson.loaded.used)}{within_masks}.")
        if kind == "motion":
            _say_hurried(session, lesson.loaded.used, recipe.frames / sampling.fps)
    if _of_another_world(kind, source, folders, lessons):
        session.say(
            "Note: mini knows a drawn world (`ccvd world`). If these are photographs, what it makes of them is rough; "
            "for the real thing there is --base."
        )
    return Task(kind, recipe, sampling, lessons)


def _say_hurried(session: Session, clips: Sequence[Path], seconds: float) -> None:
    """Clips are learned whole: of which `seconds` is much less than they take, the motion is learned as a faster one."""
    from ..engine import clip_reader

    for clip in clips:
        took = clip_reader.seconds(clip)
        if took > _HURRIED * seconds:
            session.say(
                f"{clip.name} takes {took:.1f} s and is learned as {seconds:g} s, {took / seconds:.1f} times as fast: "
                "cut it to the motion if that is too much."
            )


def _of_another_world(kind: Kind, source: str, folders: Sequence[Path], lessons: Sequence[Lesson]) -> bool:
    """Whether the embedded base is to learn what `ccvd world` did not draw."""
    from ..engine.bases import EMBEDDED
    from ..measure.known import drawn

    if find_base(source).folder != EMBEDDED:
        return False
    each = zip(folders, lessons, strict=True)
    return not all(drawn(folder, kind, [p.name for p in lesson.loaded.used]) for folder, lesson in each)


def _noun(given: str) -> str:
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


def _earlier(session: Session, registry: Registry, task: Task, base: Base) -> Earlier | None:
    """The subspaces of what was learned before of this kind on this base, or None if nothing is to stay apart from them."""
    from ..engine.retention import Earlier, stored_subspaces

    concepts = registry.list(kind=task.kind, base=base.fingerprint)
    if not concepts or not task.recipe.orthogonal_weight:
        return None
    session.say(f"Staying apart from {len(concepts)} earlier {task.kind}{'s' * (len(concepts) > 1)}.")
    earlier = Earlier(task.recipe.orthogonal_form)
    for concept in concepts:
        concept.verify()
        earlier.add(stored_subspaces(concept, base.sites))
    return earlier.to(base.device)


def _train(
    session: Session, base: Base, task: Task, earlier: Earlier | None, previews: Previews
) -> list[Learner]:
    from ..engine import cotrain
    from ..engine.optimise import StepReport

    with progress(quiet=session.quiet) as show:

        def on_step(at: StepReport) -> None:
            show(at.stage, at.step, at.total, at.loss)
            previews.on_step(base, at, task.sampling)

        how: dict[str, Any] = {"recipe": task.recipe, "on_step": on_step, "earlier": earlier}
        if len(task.lessons) > 1:
            subjects = [
                cotrain.Subject(x.name, x.class_noun, x.loaded.tensors, x.masks.tensors if x.masks else ())
                for x in task.lessons
            ]
            return cotrain.learn_subjects_together(base, subjects, **how)
        (lesson,) = task.lessons
        if lesson.masks:
            how["masks"] = lesson.masks.tensors
        train = _trainer(task.kind)
        return [train(base, lesson.loaded.tensors, name=lesson.name, class_noun=lesson.class_noun, **how)]


def _trainer(kind: Kind) -> Callable[..., Learner]:
    from ..engine import learn

    if kind == "style":
        return partial(learn.learn_subject, kind=kind)
    return learn.learn_motion if kind == "motion" else learn.learn_subject
