"""`ccvd learn-subject`, `learn-motion`, `learn-style`: from a folder of photos or clips to a concept in the registry.

Names, files and settings are checked before a base is loaded, and the registry is written once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ..errors import UsageError
from ..progress import progress
from ..session import Session
from .learn_options import (
    LearnOptions,
    MaskOptions,
    MotionRecipeOptions,
    PictureRecipeOptions,
    SubjectRecipeOptions,
)
from .learned import report
from .learning import Learning, free_names, prepare
from .opening import open_base
from .options import BaseOptions, SampleOptions
from .previews import Previews, plan_previews
from .request import base_of
from .scoring import ScoringPlan, plan_scoring
from .storing import store
from .wiring import command

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..choices import Kind
    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.retention import Earlier


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
        names = free_names(registry, options.name, len(folders))
        previews = plan_previews(session, names, options)
        source = where.base or base_of(registry.list()[-1:])
        plan = _plan(kind, names, folders, source, options, where)
        learning = prepare(session, kind, names, folders, source, options, overrides, masks)
        base = open_base(session, source, where.device, where.dtype)
        scoring = plan.ready(session, base) if plan else None
        began = datetime.now(timezone.utc)
        with previews.undone_unless_kept():
            learners = _train(session, base, learning, _earlier(session, registry, learning, base), previews)
            concepts = store(session, registry, learners, learning, base, began)
            previews.keep()
        held = " and ".join(concept.name for concept in concepts)
        session.say(f"{held} {'is' if len(concepts) == 1 else 'are'} in the registry.")
        with scoring.going_on(session, concepts) if scoring else nullcontext():
            took = time.monotonic() - started
            try:
                previews.final(registry, base, concepts, learning.sampling)
                if scoring:
                    scoring.score(session, registry, concepts)
            finally:  # they are learned, shown and scored or not
                scores = scoring.found if scoring else None
                report(session, concepts, learning, previews.files, took, scores, as_json=options.json)


def _plan(
    kind: Kind,
    names: Sequence[str],
    folders: Sequence[Path],
    source: str,
    options: LearnOptions,
    where: BaseOptions,
) -> ScoringPlan | None:
    """How they will be scored, at the size that they are learned at; None if nobody asked. Raises UsageError, CcvdError."""
    if not options.evaluate:
        if options.exact:
            raise UsageError("--exact says how a concept is scored.", "Add --evaluate, or leave --exact out.")
        return None
    sampling = SampleOptions(height=options.height, width=options.width)
    return plan_scoring(kind, names, folders, source, sampling, where, exact=options.exact)


def _earlier(session: Session, registry: Registry, learning: Learning, base: Base) -> Earlier | None:
    """The subspaces of what was learned before of this kind on this base, or None if nothing is to stay apart from them."""
    from ..engine.retention import Earlier, stored_subspaces

    concepts = registry.list(kind=learning.kind, base=base.fingerprint)
    if not concepts or not learning.recipe.orthogonal_weight:
        return None
    session.say(f"Staying apart from {len(concepts)} earlier {learning.kind}{'s' * (len(concepts) > 1)}.")
    earlier = Earlier(learning.recipe.orthogonal_form)
    for concept in concepts:
        concept.verify()
        earlier.add(stored_subspaces(concept, base.sites))
    return earlier.to(base.device)


def _train(
    session: Session, base: Base, learning: Learning, earlier: Earlier | None, previews: Previews
) -> list[Learner]:
    from ..engine import cotrain
    from ..engine.optimise import StepReport

    with progress(quiet=session.quiet) as show:

        def on_step(at: StepReport) -> None:
            show(at.stage, at.step, at.total, at.loss)
            previews.on_step(base, at, learning.sampling)

        how: dict[str, Any] = {"recipe": learning.recipe, "on_step": on_step, "earlier": earlier}
        if len(learning.wanted) > 1:
            subjects = [
                cotrain.Subject(x.name, x.class_noun, x.loaded.tensors, x.masks.tensors if x.masks else ())
                for x in learning.wanted
            ]
            return cotrain.learn_subjects_together(base, subjects, **how)
        (new,) = learning.wanted
        if new.masks:
            how["masks"] = new.masks.tensors
        train = _trainer(learning.kind)
        return [train(base, new.loaded.tensors, name=new.name, class_noun=new.class_noun, **how)]


def _trainer(kind: Kind) -> Callable[..., Learner]:
    from ..engine import learn

    if kind == "style":
        return partial(learn.learn_subject, kind=kind)
    return learn.learn_motion if kind == "motion" else learn.learn_subject
