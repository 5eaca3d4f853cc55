"""What `ccvd evaluate` does once a request is sound: encoders, exams, scores, and what the registry remembers of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import Family
from ..metric_names import SAID
from ..progress import progress
from ..row import in_a_row
from ..session import Session
from .opening import find_base
from .placing import check_fit
from .request import Request

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.media import Loaded
    from ..estimates import Estimate
    from ..measure.composed import Composed
    from ..measure.evaluate import Exam, Examiner, Held, References, Row
    from ..measure.questions import Question
    from ..settings import SampleSettings
    from .asking import Asked, EvaluateOptions


@dataclass(frozen=True)
class Measured:
    """A concept, what was found and how; `how` is the same for evaluations that can be compared."""

    concept: str
    kind: str
    clips: int
    folder: Path
    how: dict[str, Any]
    found: dict[str, Estimate]
    judges: Mapping[str, float]  # how often they are right on rendered truth, by metric

    @property
    def alone(self) -> bool:
        """Whether it is of one concept, and not of several together."""
        return "+" not in self.concept  # which no name has

    @property
    def scores(self) -> dict[str, Any]:
        from ..measure.evaluate import as_json

        return as_json(self.found, self.judges)

    def said(self, metric: str) -> str:
        """A mean, its interval, and how good its judge is if it has one; nothing for a metric that was not measured."""
        if metric not in self.found:
            return ""
        e = self.found[metric]
        judge = f"; judge {self.judges[metric]:.1%}" if metric in self.judges else ""
        return f"{e.mean:.3f} ({e.low:.3f} - {e.high:.3f}{judge})"

    def words(self) -> str:
        """'V1, 8 clips: CLIP-T 0.251 (0.240 - 0.262), ...'."""
        means = [f"{SAID.get(metric, metric)} {self.said(metric)}" for metric in self.found]
        return f"{self.concept}, {self.clips} clips: {', '.join(means)}"

    def as_json(self) -> dict[str, Any]:
        facts = {key: getattr(self, key) for key in ("concept", "kind", "clips", "folder", "how", "scores")}
        return facts | {"encoders": list(self.how["encoders"])}


def open_encoders(base: Base, clip_source: str | None = None, dino_source: str | None = None) -> Examiner:
    """The base's own where it has some and no others are named; no DINO if that is "none". Raises UsageError for one that cannot be read."""
    from ..measure.encoders import CLIP, DINO, Dino, Embedded, OpenClip
    from ..measure.evaluate import Examiner

    own = base.family == "mini"
    clip = Embedded(base) if own and not clip_source else OpenClip(clip_source or CLIP, base.device)
    clip.texts([""])  # whether it reads at all is told before anything is made
    dino_source = dino_source or ("none" if own else DINO)
    return Examiner(clip, None if dino_source == "none" else Dino(dino_source, base.device))


def examine(
    session: Session,
    registry: Registry,
    request: Request,
    base: Base,
    examiner: Examiner,
    asked: Asked,
    held: Mapping[str, References],
    options: EvaluateOptions,
) -> Iterator[Measured]:
    """Concept after concept, each recorded when it is scored, then several together; what can be wrong is, before anything is made.

    Raises:
        UsageError: no room for a box in clips of this size.
        CcvdError, RegistryError: a concept is not what was stored, or clips cannot be kept.
    """
    exams = _Exams(session, registry, request, base, examiner, held, options)
    alone = [
        (concept, exams.of(concept, asked.alone[concept.name]))
        for concept in request.concepts
        if concept.name in asked.alone
    ]
    several = [(one, exams.of_several(one)) for one in asked.together]
    for concept, exam in alone:
        row = _measured(session, base, examiner, concept.name, concept.kind, [exam], options)
        _record(session, registry, row, concept.adapter_digest)
        yield row
    for names in dict.fromkeys(one.names for one, _ in several):
        of = [(one, exam) for one, exam in several if one.names == names]
        yield _measured(
            session, base, examiner, "+".join(names), of[0][0].kind, [exam for _, exam in of], options
        )


class _Exams:
    """What each concept, and several together, are put through; who may take part is loaded once, and waits beside the device."""

    def __init__(
        self,
        session: Session,
        registry: Registry,
        request: Request,
        base: Base,
        examiner: Examiner,
        held: Mapping[str, References],
        options: EvaluateOptions,
    ) -> None:
        import torch

        from ..engine.concept import Learner

        self.request, self.base, self.options = request, base, options
        self.others = request.settings.open_to_others
        self.everybody = registry.list(base=base.fingerprint) if self.others else request.concepts
        for concept in self.everybody:
            concept.verify()
        waiting = torch.device("cpu")
        self.learners = {c.name: Learner.load(c, base).to(waiting) for c in self.everybody}
        self.references = {
            c.name: held.get(c.name) or _kept(session, c, self.learners[c.name], examiner)
            for c in request.concepts
        }

    def of(self, concept: ConceptView, questions: Sequence[Question]) -> Exam:
        from ..measure.evaluate import Held

        at_once = 1 if self.others else self.options.batch or (8 if self.base.family == "mini" else 1)
        held = [Held(self.references[concept.name])]
        return self._exam([concept.name], questions, held, self.request.settings, at_once)

    def of_several(self, one: Composed) -> Exam:
        """Subjects have places side by side, unless they are to find their own; either way each is looked for in its box."""
        from ..measure.evaluate import Held

        held = [Held(self.references[name], one.box_of(name)) for name in one.names]
        settings = self.request.settings
        if self.options.auto_regions:
            texts, own = [r.prompt for r in one.places.values()], find_base(self.request.source).own_size
            placed = in_a_row(settings, texts, own, widen=self.request.widen)
            settings = check_fit(placed, self.request.source)
        return self._exam(one.names, [one.asked], held, settings, 1)

    def _exam(
        self,
        names: Sequence[str],
        questions: Sequence[Question],
        held: Sequence[Held],
        settings: SampleSettings,
        at_once: int,
    ) -> Exam:
        from ..measure.evaluate import Exam

        about = {concept.name: concept for concept in self.everybody}
        joining = [name for name in about if name not in names] if self.others else []
        part = [*names, *joining]
        learners, digests = [self.learners[n] for n in part], [about[n].digests for n in part]
        return Exam(learners, digests, questions, held, settings, self.options.seeds, at_once)


def _kept(session: Session, concept: ConceptView, learner: Learner, examiner: Examiner) -> References:
    """The image embeddings that the concept keeps, for the base's own encoder."""
    from ..measure.encoders import Embedded
    from ..measure.evaluate import References

    if concept.kind != "motion" and examiner.dino:
        _say_missing(session, concept, "DINO-I")
    if concept.kind != "motion" and isinstance(examiner.clip, Embedded) and len(learner.image_prototypes):
        return References(
            concept.prototype_digest, {examiner.clip.digest: learner.image_prototypes.float().cpu()}
        )
    _say_missing(session, concept, "MOTION" if concept.kind == "motion" else "CLIP-I")
    return References()


def _say_missing(session: Session, concept: ConceptView, metric: str) -> None:
    session.warn(
        f"{concept.name}: no {metric}, which needs what it was learned from: --references {concept.name}=DIR"
    )


def references_in(
    session: Session, folder: Path, kind: str, family: Family, examiner: Examiner, sampling: SampleSettings
) -> References:
    """What a concept of a kind was learned from, of clips that are made so. Raises UsageError if there is nothing of it in `folder`."""
    from ..engine import media
    from ..measure.evaluate import References
    from ..measure.known import drawn
    from ..settings import learning_of

    settings = learning_of(family, kind, sampling)
    size = (settings.height, settings.width)
    if kind == "motion":
        loaded = media.load_videos(folder, size=size, frames=settings.frames, fps=settings.fps)
    else:
        loaded = media.load_images(folder, size=size)
    truth = drawn(folder, kind, [path.name for path in loaded.used])
    for path, reason in loaded.skipped:
        session.warn(f"Skipped {path.name}: {reason}.")
    cut = "" if settings is sampling else f" {size}"  # otherwise than clips
    return References.of(kind, loaded.tensors, _sum_of(loaded) + cut, examiner.of_pictures, truth)


def with_judges(
    session: Session,
    base: Base,
    examiner: Examiner,
    kinds: Mapping[str, str],
    held: Mapping[str, References],
) -> Examiner:
    """The same, and judges of what can be known; of identities only where references are subjects of the embedded world.

    kinds: of the concepts, by name.
    """
    from ..measure.known import Judges
    from ..world.judge_making import judges_folder

    for name, kind in kinds.items():
        if not (name in held and held[name].truth):
            way = "." if name in held else f": --references {name}=DIR"
            session.warn(
                f"{name}: whether it is the {kind} itself is not judged, which needs what `ccvd world {kind}` drew{way}"
            )
    subjects = [references.truth["subject"] for references in held.values() if "subject" in references.truth]
    with progress(quiet=session.quiet) as report:
        judges = Judges.of(base, judges_folder(session.home), subjects, report)
    return replace(examiner, judges=judges)


def _sum_of(loaded: Loaded) -> str:
    return hashlib.sha256("".join(sorted(loaded.digests)).encode()).hexdigest()


def _measured(
    session: Session,
    base: Base,
    examiner: Examiner,
    called: str,
    kind: str,
    exams: Sequence[Exam],
    options: EvaluateOptions,
) -> Measured:
    """A concept, or several together that may have several exams: each of them is of one prompt then."""
    from ..measure import evaluate as measuring
    from ..measure.exact import least

    folder = options.out / called
    session.say(f"Evaluating {called}: {sum(len(e.questions) * e.seeds for e in exams)} clips.")
    rows: list[Row] = []
    with progress(quiet=session.quiet) as report:
        for exam in exams:
            with _at_hand(exam.learners, base):
                rows += measuring.evaluate(
                    base, examiner, exam, folder, lambda step, total: report("sampling", step, total)
                )
    how, found = measuring.how(base, examiner, exams[0]), measuring.summary(rows)
    judges = least(measuring.accuracies(examiner, exam) for exam in exams)
    if unused := [f"{m} ({right:.1%})" for m, right in judges.items() if m not in found]:
        session.warn(f"{called}: not scored, since judges are right too seldom: {', '.join(unused)}.")
    return Measured(called, kind, len(rows), folder, how, found, judges)


@contextmanager
def _at_hand(learners: Sequence[Learner], base: Base) -> Iterator[None]:
    """On the base's device for as long as they take part: a large collection does not fit beside a large base."""
    homes = [learner.tokens.device for learner in learners]
    for learner in learners:
        learner.to(base.device)
    try:
        yield
    finally:
        for learner, home in zip(learners, homes, strict=True):
            learner.to(home)


def _record(session: Session, registry: Registry, row: Measured, adapter: str) -> None:
    """What a concept has now can be compared with what it will have then; `adapter`: the digest that was measured."""
    from ccvd_registry import RegistryError

    try:
        registry.record_evaluation(row.concept, how=row.how, scores=row.scores, adapter=adapter)
    except RegistryError as error:
        session.warn(f"Not recorded: {error.message}.")
