"""`--evaluate` of the commands that learn: what they learned is scored as `ccvd evaluate` would, right after it is registered."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..session import Session
from . import asking, examining
from .examining import Measured
from .options import BaseOptions, SampleOptions

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..measure.evaluate import Examiner, References
    from ..settings import SampleSettings


@dataclass(frozen=True)
class ScoringPlan:
    """How concepts of these names that are learned from `folders`, in their order, will be scored."""

    kind: str
    names: Sequence[str]
    folders: Sequence[Path]
    options: asking.EvaluateOptions
    sampling: SampleOptions
    settings: SampleSettings
    where: BaseOptions

    def ready(self, session: Session, base: Base) -> Scoring:
        """With encoders, and what they see in the folders: what cannot be read is told before anything is learned. Raises UsageError."""
        from ..measure.encoders import Embedded

        settings = self.settings
        base.latent_shape(settings.frames, settings.height, settings.width)
        examiner, silent = examining.open_encoders(base), replace(session, quiet=True)
        # Concepts keep what the base's own encoder sees of their pictures, as `ccvd evaluate` takes it too; not whom they show.
        kept = self.kind != "motion" and isinstance(examiner.clip, Embedded) and not self.options.exact
        folders = () if kept else self.folders
        held = [
            examining.references_in(silent, folder, self.kind, base.family, examiner, settings)
            for folder in folders
        ]
        if self.options.exact:
            kinds = dict.fromkeys(self.names, self.kind)
            examiner = examining.with_judges(
                session, base, examiner, kinds, dict(zip(self.names, held, strict=True))
            )
        return Scoring(self, base, examiner, held)


def plan_scoring(
    kind: str,
    names: Sequence[str],
    folders: Sequence[Path],
    source: str,
    sampling: SampleOptions,
    where: BaseOptions,
    *,
    exact: bool = False,
) -> ScoringPlan:
    """Raises UsageError or CcvdError if concepts of these names, to be learned on the base `source`, could not be scored."""
    options = asking.EvaluateOptions(exact=exact)
    asking.check_out(options.out, names)
    asking.check_encoders(source, exact=exact)
    return ScoringPlan(
        kind, names, folders, options, sampling, asking.settings_of(source, sampling, options), where
    )


@dataclass(frozen=True)
class Scoring:
    """What takes no more than the concepts. `found` is what has been scored so far, by name."""

    plan: ScoringPlan
    base: Base
    examiner: Examiner
    held: Sequence[References]
    found: dict[str, Measured] = field(default_factory=dict)

    def going_on(self, session: Session, concepts: Sequence[ConceptView]) -> AbstractContextManager[None]:
        """They are registered by now: should it end early before they are scored, it is said how to go on."""
        names = [concept.name for concept in concepts]
        return _going_on(_again(session, self.plan, names, held=bool(self.held)), names)

    def score(self, session: Session, registry: Registry, concepts: Sequence[ConceptView]) -> None:
        """Scores all of them."""
        plan, names = self.plan, [concept.name for concept in concepts]
        request = asking.request_of(registry, names, plan.options, plan.sampling, plan.where)
        asked = asking.asked_of(request, plan.options)
        held = dict(zip(names, self.held, strict=True)) if self.held else {}
        for measured in examining.examine(
            session, registry, request, self.base, self.examiner, asked, held, plan.options
        ):
            self.found[measured.concept] = measured


def _again(session: Session, plan: ScoringPlan, names: Sequence[str], *, held: bool) -> str:
    """The command that scores them in the same way, and takes what is there already."""
    words = ["evaluate", *names]
    for name, folder in zip(names, plan.folders, strict=True) if held else ():
        words += ["--references", f"{name}={folder}"]
    given = {
        "--height": plan.sampling.height,
        "--width": plan.sampling.width,
        "--base": plan.where.base,
        "--device": plan.where.device,
        "--dtype": plan.where.dtype,
    }
    for option, value in given.items():
        words += [option, str(value)] if value is not None else []
    words += ["--exact"] * plan.options.exact
    return session.command(*words)


@contextmanager
def _going_on(command: str, names: Sequence[str]) -> Iterator[None]:
    """On stderr even if quiet: it belongs to the error that follows."""
    try:
        yield
    except BaseException:
        held = " and ".join(names)
        print(
            f"{held} {'is' if len(names) == 1 else 'are'} learned and kept, but not scored whole. To go on: {command}",
            file=sys.stderr,
            flush=True,
        )
        raise
