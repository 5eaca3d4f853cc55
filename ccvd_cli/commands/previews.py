"""Clips of a concept while it is learned and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..clips import default_scale, sidecar_path
from ..errors import CcvdError, UsageError
from ..outputs import check_file, check_output, clip_files
from ..progress import progress
from ..prompts import a_subject
from ..session import Session
from .learn_options import LearnOptions
from .request import record

if TYPE_CHECKING:
    from torch import Tensor

    from ccvd_registry import ConceptView, Registry

    from ..engine.bases.contract import Base
    from ..engine.concept import Learner
    from ..engine.optimise import StepReport
    from ..settings import SampleSettings


# torch's own OutOfMemoryError is a RuntimeError: a clip beside what trains may be more than a device holds.
_NO_PREVIEW = (CcvdError, RuntimeError, MemoryError)


def example_prompt(concepts: Sequence[ConceptView | Learner]) -> str:
    """A prompt that shows a motion or a style, or one or several subjects together."""
    first = concepts[0]
    if first.kind == "motion":
        return f"a dog performing <{first.name}>"
    if first.kind == "style":
        return f"a dog in <{first.name}> style"
    return " and ".join(a_subject(c.name, c.class_noun) for c in concepts) + " on the beach"


def plan_previews(session: Session, names: Sequence[str], options: LearnOptions) -> Previews:
    """Where the previews of these concepts, which are learned together, will go. Raises UsageError if they cannot be written there."""
    if options.no_preview:
        if options.preview or options.preview_every:
            raise UsageError("--no-preview contradicts --preview and --preview-every.", "Choose one.")
        return Previews(session, None, None)
    path = options.preview or _usual(names)
    try:
        check_output(path)
        check_file(sidecar_path(path))
    except UsageError as error:
        if options.preview:
            raise
        raise UsageError(error.message, "Name another file with --preview, or give --no-preview.") from error
    return Previews(session, path, options.preview_every, named=options.preview is not None)


def _usual(names: Sequence[str]) -> Path:
    return Path(f"{'-'.join(names)}-preview.mp4")


@dataclass
class Previews:
    """`path` None: no previews at all; `named`: it was asked for. `files` are those written so far."""

    session: Session
    path: Path | None
    every: int | None
    named: bool = False
    files: list[Path] = field(default_factory=list)
    _reached: tuple[str, int] = ("", 0)
    _kept: bool = False

    def on_step(self, base: Base, at: StepReport, sampling: SampleSettings) -> None:
        """Writes <preview>-adapter-000100.mp4 when another `every` steps are done."""
        if self.path is None or self.every is None or at.snapshot is None:
            return
        stage, times = self._reached
        due = at.step // self.every > (times if stage == at.stage else 0)
        self._reached = (at.stage, at.step // self.every)
        if due and at.step < at.total:  # the last one is the final preview
            stem = f"{self.path.stem}-{at.stage}-{at.step:06}{self.path.suffix}"
            with self._may_fail(f" of step {at.step}"):
                frames = self._made(base, at.snapshot(), sampling)
                self._write(frames, sampling, self.path.with_name(stem))

    def final(
        self, registry: Registry, base: Base, concepts: Sequence[ConceptView], sampling: SampleSettings
    ) -> None:
        """The clip at the end, of the concepts as they are stored: with its sidecar, and recorded, as if `ccvd generate` had made it.

        They are safe by then, so a full disk or memory is only a remark.
        """
        from .. import sidecar
        from ..engine.concept import Learner

        if self.path is None:
            return
        # The names it was planned for may have been taken meanwhile, and their previews be others'.
        path = self.path if self.named else _usual([concept.name for concept in concepts])
        with progress(quiet=self.session.quiet) as report, self._may_fail():
            learners = [Learner.load(concept, base) for concept in concepts]
            prompt, scale = example_prompt(concepts), default_scale(sampling)
            frames = self._made(base, learners, sampling, lambda i, n: report("preview", i, n))
            files = clip_files(path, len(frames))
            about = sidecar.describe(prompt, sampling, concepts, base, scale=scale, files=files)
            with sidecar.beside(about, path):
                self._write(frames, sampling, path)
            record(self.session, registry, about, concepts, base, path)

    @contextmanager
    def _may_fail(self, which: str = "") -> Iterator[None]:
        """A clip that cannot be made is no reason to lose the training, only a remark."""
        try:
            yield
        except _NO_PREVIEW as error:
            self.session.warn(
                f"No preview{which}: {(str(error).strip().splitlines() or ['out of memory'])[0]}"
            )

    @contextmanager
    def undone_unless_kept(self) -> Iterator[None]:
        """An interrupted run leaves no clips of a concept that does not exist."""
        try:
            yield
        finally:
            if not self._kept:
                for path in self.files:
                    path.unlink(missing_ok=True)

    def keep(self) -> None:
        self._kept = True

    def _made(
        self,
        base: Base,
        learners: Sequence[Learner],
        sampling: SampleSettings,
        on_step: Callable[[int, int], None] = lambda step, total: None,
    ) -> Tensor:
        from ..engine import compose

        return compose.generate(base, example_prompt(learners), learners, sampling, on_step)

    def _write(self, frames: Tensor, sampling: SampleSettings, path: Path) -> None:
        from ..engine.media_out import write_clip

        self.files += write_clip(frames, path, sampling.fps, scale=default_scale(sampling))
