"""The benchmark of continual learning: methods go through a stream of tasks, and what is left of each concept is measured.

After every task the new concept is scored, after the last one (and after every N, if asked) all of them; and at the end a few prompts for
several concepts. There is one file of results for each method, seed and task; what is there already is not done again, so that a run can be
killed at any moment and go on, as it does when its stream has grown at the end. What several methods learn alike is learned once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..choices import Kind
from ..engine.bases.contract import Base
from ..engine.concept import Learner
from ..errors import CcvdError, UsageError
from ..outputs import whole
from ..settings import Recipe, SampleSettings, learning_of
from . import streams
from .composed import Composed, composed
from .evaluate import FORMAT as SCORING
from .evaluate import Exam, Examiner, Held, References, Row, as_json, evaluate, shown_to, summary
from .exact import TRUSTED, least, shown_by
from .kept_state import State
from .methods import LESSONS, UNUSED_TO_LEARN, Ablation, Common, Method, Part, make, method_in
from .questions import Question
from .result_file import FORMAT, Clip, Learned, ResultFile, Score, Seconds
from .streams import Stream, Task

# By all runs of one table.
SHARED = (
    *("base", "dtype", "tasks", "effort", "recipes", "lessons", "sampling"),
    *("prompts", "batches", "every", "encoders", "exact", "scoring"),
)
OWN = ("method", "revision")  # by all seeds of a method
UNUSED = "style_guidance", "path_strength"  # off for all methods, and not in the run.json of older runs
Progress = Callable[[str, int, int, "float | None"], None]


@dataclass(frozen=True)
class Plan:
    """What is run. `every`: all that was learned is scored after so many tasks; 0: at the end alone. `prompts`: of each concept.

    `changes`: to methods' own settings. `digests`: of what tasks of folders are learned from, read once for all runs.
    """

    stream: Stream
    methods: tuple[str, ...]
    out: Path
    without: tuple[Ablation, ...] = ()
    seeds: int = 1
    effort: float = 1.0
    every: int = 0
    prompts: int = 4
    at_once: int = 8
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def runs(self, shard: tuple[int, int] = (1, 1)) -> list[tuple[str, int]]:
        """(method, seed): those of the i-th of n processes."""
        pairs = [(method, seed) for seed in range(self.seeds) for method in self.methods]
        return pairs[shard[0] - 1 :: shard[1]]

    def without_of(self, method: str) -> tuple[Ablation, ...]:
        """Only ours has parts to be left out."""
        return self.without if method == "ccvd" else ()

    def folder(self, method: str, seed: int) -> Path:
        left_out = "+".join(self.without_of(method))
        changed = "".join(f"-{key}={value}" for key, value in self.changes.get(method, {}).items())
        of_method = f"{method}-without-{left_out}" if left_out else method
        return self.out / self.stream.name / f"{of_method}{changed}" / f"seed{seed}"


def scaled(recipe: Recipe, effort: float) -> Recipe:
    """With all steps times `effort`; none stays none."""
    steps = {key: getattr(recipe, key) for key in ("token_steps", "adapter_steps")}
    return recipe.model_copy(update={k: max(1, round(v * effort)) if v else 0 for k, v in steps.items()})


@dataclass
class Run:
    """One method and one seed, through the whole stream."""

    base: Base
    examiner: Examiner
    plan: Plan
    name: str
    seed: int
    recipes: Mapping[Kind, Recipe]
    sampling: SampleSettings
    progress: Progress = lambda *_: None
    on_task: Callable[[Task, float], None] = lambda *_: None
    _references: dict[str, References] = field(default_factory=dict)
    _spared: float = 0.0

    def __post_init__(self) -> None:
        seeded = {"seed": self.seed}
        self.sampling = self.sampling.model_copy(update=seeded)
        self.recipes = {
            kind: scaled(r, self.plan.effort).model_copy(update=seeded) for kind, r in self.recipes.items()
        }
        common = Common(self.base, self.recipes, self.sampling, self.seed, self._on_step, self._taken)
        self.method: Method = make(
            self.name, common, self.plan.without_of(self.name), self.plan.changes.get(self.name)
        )
        self.folder = self.plan.folder(self.name, self.seed)
        self.state = State(self.folder)

    def check(self) -> None:
        """Before anything is learned. Raises UsageError: no photo or clip, too few prompts, or a folder that was run in another way."""
        # What cannot be read would stop the run when its turn comes.
        for task in self.plan.stream.tasks:
            if task.folder and task.name not in self.plan.digests:
                shown = streams.material(task, self._learning(task.kind))
                self.plan.digests[task.name] = _digest(shown)
        self.questions = {t.name: self._questions(t) for t in self.plan.stream.tasks}
        self.composed = composed(self.plan.stream.tasks, self._family, toy=self.plan.stream.toy)
        if len(self.state.about().get("tasks", ())) > len(self.plan.stream.tasks):
            raise UsageError(
                f"'{self.folder}' has gone through more tasks than there are.", "Take another --out."
            )
        self._check_alike(self._settings())
        self._check_alike(self._about())

    def _check_alike(self, now: Mapping[str, Any]) -> None:
        """With what this run was before, and with what stands beside it in one table. Raises UsageError."""
        _refuse_other(self.folder, self.state.about(), now)
        own = {key: now[key] for key in OWN}
        for path in self.folder.parent.glob("seed*/run.json"):
            _refuse_other(path.parent, State(path.parent).about(), own)
        shared = {key: now[key] for key in SHARED if key in now}
        mended = shared | {"revision": now["revision"]}
        for path in self.folder.parent.parent.glob("*/seed*/run.json"):
            # Of the method itself more, also with other settings or without one of its parts.
            same = method_in(path.parents[1].name) == self.name
            _refuse_other(path.parent, State(path.parent).about(), mended if same else shared)

    def left(self) -> int:
        """Tasks that are not done yet."""
        return sum(not self._path(task).exists() for task in self.plan.stream.tasks)

    def go(self) -> None:
        """Does what is not done yet."""
        self.check()
        if not self.left():
            return  # what has come to its end needs no state any more
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.state.begin(self._about())
            done, seconds = self.state.restore(self.method, self.plan.stream.tasks)
            self._check_results(done)
            for task in self.plan.stream.tasks:
                if task.order <= done and self._path(task).exists():
                    continue
                started = time.monotonic()
                if task.order > done:
                    self._spared = 0.0
                    self.method.learn(task, self._material(task))
                    seconds = time.monotonic() - started + self._spared
                    self.state.keep(self.method, task, seconds)
                self._score(task, seconds)
                self.on_task(task, time.monotonic() - started)
        except OSError as error:
            raise CcvdError(
                f"'{self.folder}' cannot be used: {error.strerror}", "choose another --out"
            ) from error

    def _check_results(self, done: int) -> None:
        """Results are of what the state has learned. Raises CcvdError if one is gone that cannot be made again, or has no state."""
        for task in self.plan.stream.tasks:
            there = self._path(task).exists()
            if there != (task.order <= done) and task.order != done:
                why = (
                    "is there, but not what was learned until then"
                    if there
                    else "is gone, and later tasks have been learned since"
                )
                raise CcvdError(
                    f"'{self._path(task)}' {why}",
                    f"take another --out, or remove '{self.folder}' to begin it anew",
                )

    # -- scoring ------------------------------------------------------------------------------------------

    def _score(self, task: Task, learning: float) -> None:
        started, tasks = time.monotonic(), self.plan.stream.tasks
        last = task.order == len(tasks)
        everybody = last or (self.plan.every and task.order % self.plan.every == 0)
        asked = tasks[: task.order] if everybody else (task,)
        rows = {one.name: self._rows(one) for one in asked}
        together = [(c, self._together(c)) for c in self.composed] if last else []
        kinds = dict.fromkeys(c.kind for c, _ in together)
        questions = [q for one in asked for q in self.questions[one.name]] + [c.asked for c, _ in together]
        result = ResultFile(
            format=FORMAT,
            stream=self.plan.stream.name,
            method=self.name,
            ablated=list(self.plan.without_of(self.name)),
            changed=dict(self.plan.changes.get(self.name, {})),
            seed=self.seed,
            task=Learned(order=task.order, kind=task.kind, name=task.name, noun=task.noun),
            tasks=len(tasks),
            base=self.base.fingerprint,
            dtype=str(self.base.dtype).removeprefix("torch."),
            effort=self.plan.effort,
            recipe=self.method.recipe(task.kind).model_dump(mode="json"),
            sampling=self.sampling.model_dump(mode="json"),
            seconds=Seconds(learning=round(learning, 2), evaluating=round(time.monotonic() - started, 2)),
            encoders=[encoder.name for encoder in self.examiner.of_pictures],
            judges=self._judges(questions),
            scores={name: _scores(found) for name, found in rows.items()},
            composed={
                kind: _scores([r for c, found in together if c.kind == kind for r in found]) for kind in kinds
            },
            clips=[_clip(name, row) for name, found in rows.items() for row in found]
            + [_clip("+".join(c.names), row, c.kind) for c, found in together for row in found],
        )
        with whole(self._path(task)) as (part,):
            part.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _judges(self, questions: Sequence[Question]) -> dict[str, float]:
        """How often they are right on rendered truth, of what they were asked."""
        if (judges := self.examiner.judges) is None:
            return {}
        asked, frames = [shown_to(question, ()) for question in questions], self.sampling.frames
        found = least(judges.accuracies(shown, styled, frames=frames) for shown, styled in asked)
        return {metric: share for metric, share in found.items() if share >= TRUSTED}

    def _rows(self, task: Task) -> list[Row]:
        part = self.method.weights_for(self.questions[task.name][0].prompt)
        held = [Held(self._references_of(task))]
        return self._made(f"scoring {task.name}", part, self.questions[task.name], held)

    def _together(self, one: Composed) -> list[Row]:
        part = self.method.weights_for(one.asked.prompt)
        tasks = {task.name: task for task in self.plan.stream.tasks}
        held = [Held(self._references_of(tasks[name]), one.box_of(name)) for name in one.names]
        return self._made(f"scoring {one.kind}", part, [one.asked], held)

    def _made(self, stage: str, part: Part, questions: Sequence[Question], held: Sequence[Held]) -> list[Row]:
        """Clips of prompts that name the same concepts, in which the same therefore takes part."""
        said = [replace(q, prompt=self.method.worded(q.prompt)) for q in questions]
        settings = self.sampling.model_copy(update=dict(part.changes))
        at_once = 1 if settings.regions else self.plan.at_once
        exam = Exam(part.learners, [{"part": part.digest}], said, held, settings, seeds=1, at_once=at_once)
        with part.attached(self.base):
            return evaluate(
                self.base,
                self.examiner,
                exam,
                self.folder / "clips",
                lambda step, total: self.progress(stage, step, total, None),
            )

    def _questions(self, task: Task) -> list[Question]:
        found = streams.questions(task, self._family, self.plan.prompts)
        return [replace(q, shown=shown_by(p) if p else None) for q, p in found]

    def _references_of(self, task: Task) -> References:
        if task.name not in self._references:
            shown = streams.material(task, self._learning(task.kind))
            self._references[task.name] = References.of(
                task.kind, shown, _digest(shown), self.examiner.of_pictures
            )
        return self._references[task.name]

    def _material(self, task: Task) -> list[Tensor]:
        """What it is learned from. Raises CcvdError for a folder that has changed since the run began."""
        shown = streams.material(task, self._learning(task.kind))
        if task.folder and _digest(shown) != self.plan.digests[task.name]:
            raise CcvdError(
                f"'{task.folder}' has changed since this run began", "begin again in another --out"
            )
        return shown

    # -- what it is --------------------------------------------------------------------------------------

    @property
    def _family(self) -> Any:
        return self.base.family

    def _learning(self, kind: Kind) -> SampleSettings:
        """The size that it is learned at, and the frames of a motion's clips."""
        sized = learning_of(self._family, kind, self.sampling)
        return sized.model_copy(update={"frames": self.recipes[kind].frames})

    def _path(self, task: Task) -> Path:
        return self.folder / f"{task.order:02d}-{task.name}.json"

    def _about(self) -> dict[str, Any]:
        """All that results depend on, but for what is learned. Judges that there are not yet are trained for it."""
        judges = self.examiner.judges
        return self._settings() | {"exact": judges.blocks[0].digests() if judges else {}}

    def _task(self, task: Task) -> list[str]:
        """What it is; and what it is learned from, unless the world draws that."""
        return [task.kind, task.name, task.noun, *([self.plan.digests[task.name]] if task.folder else [])]

    def _settings(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "scoring": SCORING,
            "base": self.base.fingerprint,
            "dtype": str(self.base.dtype),
            "tasks": [self._task(t) for t in self.plan.stream.tasks],
            "effort": self.plan.effort,
            "recipes": {k: dumped(r, "seed") for k, r in self.recipes.items()},
            "own_recipes": {k: dumped(self.method.recipe(k)) for k in self.recipes},
            "lessons": LESSONS,
            "sampling": self.sampling.model_dump(mode="json", exclude={"seed", *UNUSED}),
            "prompts": self.plan.prompts,
            "batches": self.plan.at_once,
            "encoders": {encoder.name: encoder.digest for encoder in self.examiner.of_pictures},
            "every": self.plan.every,
            "method": self.method.settings.model_dump(mode="json"),
            # None for the first: so it is in runs from before there was a second.
            "revision": self.method.revision if self.method.revision > 1 else None,
        }

    def _taken(self, task: Task, lesson: str) -> Learner | None:
        """What another run has learned alike; what that took is counted as if it were done here, so that methods' seconds can be compared."""
        learner, self._spared = self.state.taken(task, lesson, self.base) or (None, 0.0)
        return learner

    def _on_step(self, at: Any) -> None:
        self.progress(f"learning {at.stage}", at.step, at.total, at.loss)


def _digest(shown: Sequence[Tensor]) -> str:
    return hashlib.sha256(b"".join(x.numpy().tobytes() for x in shown)).hexdigest()


def _scores(rows: Sequence[Row]) -> dict[str, Score | None]:
    return {metric: Score(**of) for metric, of in as_json(summary(rows)).items()}


def _clip(concept: str, row: Row, composed: str = "") -> Clip:
    return Clip(
        concept=concept,
        prompt=row.prompt,
        seed=row.seed,
        file=f"clips/{row.clip}",
        scores=row.scores,
        composed=composed,
    )


def _refuse_other(run: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """If it was run otherwise; one stream may end before the other. Raises UsageError."""
    for key, ours in now.items() if then else ():
        theirs = then.get(key)
        if key == "tasks" and theirs:
            ours, theirs = ours[: len(theirs)], theirs[: len(ours)]
        if ours != theirs:
            differ = "differ" if key.endswith("s") else "differs"
            raise UsageError(f"'{run}' was run in another way: its {key} {differ}.", "Take another --out.")


def dumped(recipe: Recipe, *besides: str) -> dict[str, Any]:
    """As run.json has it."""
    return recipe.model_dump(mode="json", exclude={*UNUSED_TO_LEARN, *besides})
