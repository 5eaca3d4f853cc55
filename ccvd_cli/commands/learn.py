"""`ccvd learn-subject`, `learn-motion`, `learn-style`: from a folder of photos or clips to a concept in the registry.

Names, files and settings are checked before a base is loaded, and the registry is written once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UsageError
from ..output import duration, emit, emit_json, size
from ..progress import progress
from ..session import Session
from .opening import find_base, open_base
from .options import BaseOptions, LearnOptions, MotionRecipeOptions, PictureRecipeOptions
from .previews import Previews, example_prompt, plan_previews
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.media import Loaded
    from ..engine.retention import Earlier
    from ..settings import Kind, Recipe, SampleSettings

_NAMED = 6  # so many files are named in the summary; the rest are counted


@dataclass(frozen=True)
class Lesson:
    """A concept that is about to be learned: all of it checked."""

    kind: Kind
    name: str
    class_noun: str
    recipe: Recipe
    sampling: SampleSettings
    loaded: Loaded


def register(app: typer.Typer) -> None:
    command(
        app,
        "learn-subject",
        learn_subject,
        examples=(
            "ccvd learn-subject --images photos/ --class-noun dog",
            "ccvd learn-subject --images photos/ --name rex --steps 400 --seed 1",
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


def learn_subject(
    session: Session,
    images: Annotated[
        Path, Option("--images", metavar="FOLDER", help="3 to 6 photos of it.", show_default=False)
    ],
    options: LearnOptions,
    base: BaseOptions,
    recipe: PictureRecipeOptions,
) -> None:
    """Learn what something looks like from a few photos."""
    _learn(session, "subject", images, options, base, asdict(recipe))


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
    _learn(session, "motion", videos, options, base, asdict(recipe))


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
    _learn(session, "style", images, options, base, asdict(recipe))


def _learn(
    session: Session,
    kind: Kind,
    folder: Path,
    options: LearnOptions,
    where: BaseOptions,
    overrides: Mapping[str, Any],
) -> None:
    started = time.monotonic()
    with session.registry() as registry:
        name = _free_name(registry, options.name)
        previews = plan_previews(name, options)
        source = where.base or "mini"
        lesson = _prepare(session, kind, name, folder, source, options, overrides)
        base = open_base(session, source, where.device, where.dtype)
        began = datetime.now(timezone.utc)
        with previews.undone_unless_kept():
            learner = _train(session, base, lesson, _earlier(session, registry, lesson, base), previews)
            concept = _register(session, registry, learner, lesson, base, began)
            previews.keep()
        session.say(f"{concept.name} is in the registry.")
        previews.final(session, base, learner, lesson.sampling)
    _report(session, concept, lesson, previews.files, time.monotonic() - started, as_json=options.json)


def _free_name(registry: Registry, wanted: str | None) -> str:
    registry.check_writable()
    if wanted is None:
        return registry.next_name()
    registry.check_name(wanted)
    return wanted


def _register(
    session: Session, registry: Registry, learner: Learner, lesson: Lesson, base: Base, began: datetime
) -> ConceptView:
    """Stores what was learned. That its name was taken meanwhile is no reason to lose it: it gets the next free one."""
    from ccvd_registry import NameTaken

    while True:
        try:
            return registry.add(_new_concept(learner, lesson, base, began))
        except NameTaken:
            taken, learner.name = learner.name, registry.next_name()
            session.say(f"{taken} was taken meanwhile, so this is {learner.name}.")


def _prepare(
    session: Session,
    kind: Kind,
    name: str,
    folder: Path,
    source: str,
    options: LearnOptions,
    overrides: Mapping[str, Any],
) -> Lesson:
    """Everything that can be wrong with a request, before a model is loaded. Raises UsageError."""
    from ..settings import RECIPES, SAMPLING
    from .overrides import override

    noun = " ".join((options.class_noun or "").split())
    if "<" in noun or ">" in noun or not noun.isprintable():
        raise UsageError(f"--class-noun '{noun}': not a noun.", "Say what kind of thing it is, such as dog.")
    family = find_base(source).family
    recipe = override(RECIPES[family][kind], overrides)
    pixels = {"height": options.height, "width": options.width}
    sampling = override(SAMPLING[family], {**pixels, "seed": recipe.seed})
    loaded = _load(kind, folder, recipe, sampling)
    for path, reason in loaded.skipped:
        session.say(f"Skipped {path.name}: {reason}.")
    session.say(f"Learning {kind} {name}{f' ({noun})' if noun else ''} from {_files(loaded.used)}.")
    return Lesson(kind, name, noun, recipe, sampling, loaded)


def _load(kind: Kind, folder: Path, recipe: Recipe, sampling: SampleSettings) -> Loaded:
    from ..engine import media

    pixels = (sampling.height, sampling.width)
    if kind == "motion":
        return media.load_videos(folder, size=pixels, frames=recipe.frames, fps=sampling.fps)
    return media.load_images(folder, size=pixels)


def _earlier(session: Session, registry: Registry, lesson: Lesson, base: Base) -> Earlier | None:
    """The subspaces of what was learned before of this kind on this base, or None if nothing is to stay apart from them."""
    from ..engine.retention import Earlier, stored_subspaces

    concepts = registry.list(kind=lesson.kind, base=base.fingerprint)
    if not concepts or not lesson.recipe.orthogonal_weight:
        return None
    session.say(f"Staying apart from {len(concepts)} earlier {lesson.kind}{'s' * (len(concepts) > 1)}.")
    earlier = Earlier(lesson.recipe.orthogonal_form)
    for concept in concepts:
        earlier.add(stored_subspaces(concept))
    return earlier.to(base.device)


def _train(
    session: Session, base: Base, lesson: Lesson, earlier: Earlier | None, previews: Previews
) -> Learner:
    from ..engine import learn

    with progress(quiet=session.quiet) as report:

        def on_step(at: learn.StepReport) -> None:
            report(at.stage, at.step, at.total, at.loss)
            previews.on_step(base, at, lesson.sampling)

        return _trainer(lesson.kind)(
            base,
            lesson.loaded.tensors,
            name=lesson.name,
            class_noun=lesson.class_noun,
            recipe=lesson.recipe,
            on_step=on_step,
            earlier=earlier,
        )


def _trainer(kind: Kind) -> Callable[..., Learner]:
    from ..engine import learn

    if kind == "style":
        return partial(learn.learn_subject, kind=kind)
    return learn.learn_motion if kind == "motion" else learn.learn_subject


def _new_concept(learner: Learner, lesson: Lesson, base: Base, began: datetime) -> Any:
    from ccvd_registry import DataFile, NewConcept

    return NewConcept(
        name=learner.name,
        kind=lesson.kind,
        class_noun=lesson.class_noun,
        base=base,
        seed=lesson.recipe.seed,
        recipe=lesson.recipe.model_dump(mode="json"),
        data=[
            DataFile(file=path.name, sha256=digest)
            for path, digest in zip(lesson.loaded.used, lesson.loaded.digests, strict=True)
        ],
        loss_curve=learner.loss_curve,
        adapter=learner.adapter_bytes(),
        embedding=learner.embedding_bytes(),
        prototype=learner.prototype_bytes(),
        sites=len(learner.adapters),
        parameters=learner.parameters,
        started=began,
    )


def _report(
    session: Session,
    concept: ConceptView,
    lesson: Lesson,
    previews: list[Path],
    seconds: float,
    *,
    as_json: bool,
) -> None:
    if as_json:
        fields = ("name", "kind", "class_noun", "base", "task", "bytes", "created", "recipe")
        emit_json(
            {
                **{field: getattr(concept, field) for field in fields},
                "used": [path.name for path in lesson.loaded.used],
                "skipped": [{"file": path.name, "reason": why} for path, why in lesson.loaded.skipped],
                "loss": concept.loss_curve[-1] if concept.loss_curve else None,
                "seconds": round(seconds, 1),
                "previews": previews,
            }
        )
    else:
        emit(concept.name)
    skipped = (
        f"; skipped {_files([path for path, _ in lesson.loaded.skipped])}" if lesson.loaded.skipped else ""
    )
    session.say(
        f"Learned {concept.kind} {concept.name} on {concept.base} in {duration(seconds)} "
        f"({size(concept.bytes)}) from {_files(lesson.loaded.used)}{skipped}."
    )
    for path in previews[-1:]:
        session.say(f"Preview: {path}")
    session.say(f'Try: ccvd generate "{example_prompt(concept.kind, concept.name, concept.class_noun)}"')


def _files(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    names = ", ".join(path.name for path in paths[:_NAMED])
    return f"{len(paths)} file{'s' if len(paths) != 1 else ''} ({names}{more})"
