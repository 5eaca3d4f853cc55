"""What `ccvd evaluate` does once a request is sound: encoders, exams, scores, and what the registry remembers of them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CcvdError
from ..progress import progress
from ..session import Session
from .opening import find_base
from .request import Request

if TYPE_CHECKING:
    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.media import Loaded
    from ..measure.evaluate import Exam, Examiner, References
    from ..measure.metrics import Estimate
    from ..measure.questions import Question
    from .evaluate import EvaluateOptions


def check_encoders(request: Request, options: EvaluateOptions) -> None:
    """Raises CcvdError where open_clip is needed and missing."""
    needed = options.clip or find_base(request.source).family != "mini"
    if needed and importlib.util.find_spec("open_clip") is None:
        raise CcvdError("open_clip is not installed.", 'pip install "ccvd[metrics]"')


@dataclass(frozen=True)
class Measured:
    """A concept, what was found and how; `how` is the same for evaluations that can be compared."""

    concept: str
    kind: str
    clips: int
    folder: Path
    how: dict[str, Any]
    found: dict[str, Estimate]

    @property
    def scores(self) -> dict[str, Any]:
        from ..measure.evaluate import as_json

        return as_json(self.found)

    def as_json(self) -> dict[str, Any]:
        facts = {key: getattr(self, key) for key in ("concept", "kind", "clips", "folder", "how", "scores")}
        return facts | {"encoders": list(self.how["encoders"])}


def open_encoders(base: Base, options: EvaluateOptions) -> Examiner:
    from ..measure.encoders import CLIP, DINO, Dino, Embedded, OpenClip
    from ..measure.evaluate import Examiner

    own = base.family == "mini"
    clip = Embedded(base) if own and not options.clip else OpenClip(options.clip or CLIP, base.device)
    clip.texts([""])  # whether it reads at all is told before anything is made
    return Examiner(clip, None if own and not options.dino else Dino(options.dino or DINO, base.device))


def exams(
    session: Session,
    registry: Registry,
    request: Request,
    base: Base,
    examiner: Examiner,
    asked: Mapping[str, list[Question]],
    folders: Mapping[str, Path],
    options: EvaluateOptions,
) -> dict[str, Exam]:
    """By concept; everything that can be wrong with it is, before anything is made. Raises CcvdError, RegistryError."""
    from ..engine.concept import Learner
    from ..measure.evaluate import Exam

    others = request.settings.open_to_others
    everybody = registry.list(base=base.fingerprint) if others else request.concepts
    for concept in everybody:
        concept.verify()
    learners = {concept.name: Learner.load(concept, base) for concept in everybody}
    at_once = 1 if others else options.batch or (8 if base.family == "mini" else 1)
    exams = {}
    for concept in request.concepts:
        joining = [c for c in everybody if c.name != concept.name] if others else []
        exams[concept.name] = Exam(
            [learners[c.name] for c in (concept, *joining)],
            [c.digests for c in (concept, *joining)],
            asked[concept.name],
            _held_against(
                session, concept, learners[concept.name], examiner, folders.get(concept.name), request
            ),
            request.settings,
            options.seeds,
            at_once,
        )
    return exams


def _held_against(
    session: Session,
    concept: ConceptView,
    learner: Learner,
    examiner: Examiner,
    folder: Path | None,
    request: Request,
) -> References:
    """What it was learned from, if that was given; else the image embeddings that the concept keeps, for the base's own encoder."""
    import torch

    from ..engine import media
    from ..measure.encoders import Embedded
    from ..measure.evaluate import References

    settings, own = request.settings, isinstance(examiner.clip, Embedded) and len(learner.image_prototypes)
    encoders = [e for e in (examiner.clip, examiner.dino) if e]
    size = (settings.height, settings.width)
    if folder is None:
        if concept.kind != "motion" and own:
            return References(
                concept.prototype_digest, {examiner.clip.digest: learner.image_prototypes.float().cpu()}
            )
        metric = "MOTION" if concept.kind == "motion" else "CLIP-I"
        session.say(
            f"{concept.name}: no {metric}, which needs what it was learned from: --references {concept.name}=DIR"
        )
        return References()
    if concept.kind == "motion":
        loaded = media.load_videos(folder, size=size, frames=settings.frames, fps=settings.fps)
        references = References(_sum_of(loaded), clips=[(clip + 1) / 2 for clip in loaded.tensors])
    else:
        loaded = media.load_images(folder, size=size)
        photos = (torch.stack(list(loaded.tensors)) + 1) / 2
        references = References(_sum_of(loaded), {e.digest: e.images(photos) for e in encoders})
    for path, reason in loaded.skipped:
        session.say(f"Skipped {path.name}: {reason}.")
    return references


def _sum_of(loaded: Loaded) -> str:
    return hashlib.sha256("".join(sorted(loaded.digests)).encode()).hexdigest()


def measured(
    session: Session,
    registry: Registry,
    base: Base,
    examiner: Examiner,
    concept: ConceptView,
    exam: Exam,
    options: EvaluateOptions,
) -> Measured:
    from ccvd_registry import RegistryError

    from ..measure import evaluate as measuring

    folder = options.out / concept.name
    session.say(f"Evaluating {concept.name}: {len(exam.questions) * exam.seeds} clips.")
    with progress(quiet=session.quiet) as report:
        rows = measuring.evaluate(
            base, examiner, exam, folder, lambda step, total: report("sampling", step, total)
        )
    how, found = measuring.how(base, examiner, exam), measuring.summary(rows)
    row = Measured(concept.name, concept.kind, len(rows), folder, how, found)
    try:
        registry.record_evaluation(concept.name, how=how, scores=row.scores)
    except RegistryError as error:
        session.say(f"Not recorded: {error.message}.")
    return row
