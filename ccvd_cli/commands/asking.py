"""What an evaluation is asked for, and whether it can be done: all of it known before a base is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from typer import Option

from ..errors import CcvdError, UsageError
from ..outputs import check_output
from ..paths import expanded
from .opening import find_base
from .options import LARGEST_SEED, BaseOptions, ClipOption, DinoOption, JsonOption, SampleOptions, measuring
from .request import Request, base_of, common_base, sample_settings

if TYPE_CHECKING:
    from ccvd_registry import Registry

    from ..measure.composed import Composed
    from ..measure.questions import Question
    from ..settings import SampleSettings


BUILT_IN = 8  # prompts of a concept


@dataclass(frozen=True)
class EvaluateOptions:
    """What is asked, by whom it is judged, and where it is kept."""

    prompts: Annotated[
        Path | None,
        measuring(
            "--prompts", "Prompts to ask, one a line; each names one concept or several.", "FILE", "built in"
        ),
    ] = None
    together: Annotated[bool, Option("--together", help="Ask prompts for several of the concepts too.")] = (
        False
    )
    auto_regions: Annotated[
        bool,
        Option(
            "--auto-regions/--no-auto-regions",
            help="In a prompt for several subjects each has a box, as when generating.",
            rich_help_panel="Measuring",
        ),
    ] = True
    count: Annotated[
        int | None,
        Option("--count", min=1, help="How many of the built-in prompts.", show_default=str(BUILT_IN)),
    ] = None
    seeds: Annotated[int, Option("--seeds", min=1, help="Clips of each prompt.")] = 1
    seed: Annotated[int, Option("--seed", min=0, max=LARGEST_SEED, help="The first seed.")] = 0
    batch: Annotated[
        int | None,
        Option("--batch", min=1, help="Clips made at once.", show_default="8 on the embedded base, else 1"),
    ] = None
    out: Annotated[Path, Option("--out", "-o", metavar="DIR", help="Where clips and scores are kept.")] = (
        Path("evaluation")
    )
    references: Annotated[
        list[str] | None,
        measuring(
            "--references",
            "What a concept was learned from, to be held against: V1=photos/. Repeatable.",
            "NAME=DIR",
        ),
    ] = None
    clip: ClipOption = None
    dino: DinoOption = None
    exact: Annotated[
        bool,
        Option(
            "--exact",
            help="On the embedded base: have judges say, too, what can be known. Some must be trained first, once, for minutes.",
            rich_help_panel="Measuring",
        ),
    ] = False
    json: JsonOption = False


def settings_of(source: str, sampling: SampleOptions, options: EvaluateOptions) -> SampleSettings:
    """How clips of the base `source` are made to be measured. Raises UsageError."""
    from ..settings import SAMPLING

    found = find_base(source)
    settings = sample_settings(SAMPLING[found.family], sampling, options.seed)
    found.check_size(settings.height, settings.width, settings.frames)
    if settings.frames < 2:
        raise UsageError("--frames 1: a picture does not move.", "Measure clips of 2 frames or more.")
    return settings


def request_of(
    registry: Registry,
    names: Sequence[str],
    options: EvaluateOptions,
    sampling: SampleOptions,
    base: BaseOptions,
) -> Request:
    """The concepts, on one base, and how they are sampled. Raises UsageError."""
    concepts = registry.find(dict.fromkeys(names)) if names else registry.list()
    if not concepts:
        raise UsageError(
            "There are no concepts to evaluate.", "Teach one: ccvd learn-subject --images FOLDER"
        )
    fingerprint, source = common_base(concepts), base.base or base_of(concepts)
    settings = settings_of(source, sampling, options)
    if settings.open_to_others and (options.batch or 1) > 1:
        raise UsageError(
            f"--batch {options.batch}: where others may join a prompt, each is weighed alone.",
            "Leave --batch out, or name concepts by --aggregation named.",
        )
    return Request(
        prompt="",
        concepts=concepts,
        source=source,
        fingerprint=fingerprint,
        settings=settings,
        device=base.device,
        dtype=base.dtype,
        widen=sampling.width is None,
    )


class Who(NamedTuple):
    """A concept, as prompts need it."""

    kind: str
    name: str
    noun: str


@dataclass(frozen=True)
class Asked:
    """Questions by concept, and prompts for several of them."""

    alone: dict[str, list[Question]]
    together: list[Composed]


def asked_of(request: Request, options: EvaluateOptions) -> Asked:
    """What concepts are asked, by a file or by what is built in. Raises UsageError."""
    from ..measure.composed import composed, of_prompt
    from ..measure.questions import built_in, from_file

    who = [Who(c.kind, c.name, c.class_noun) for c in request.concepts]
    if options.prompts:
        for option, given in (("--count", options.count), ("--together", options.together or None)):
            if given is not None:
                raise UsageError(
                    f"{option}{'' if given is True else f' {given}'}: all prompts of '{options.prompts}' are asked.",
                    f"Leave {option} out, or change the file.",
                )
        found = from_file(options.prompts, {w.name: (w.kind, w.noun) for w in who})
        alone = {names[0]: questions for names, questions in found.items() if len(names) == 1}
        several = [of_prompt(q.prompt, who) for names, of in found.items() if len(names) > 1 for q in of]
        return Asked(alone, several)
    family = find_base(request.source).family
    count = options.count or BUILT_IN
    together = composed(who, family) if options.together else []
    if options.together and not together:
        raise UsageError(
            f"--together: of {', '.join(w.name for w in who)} no two go together.",
            "Name two subjects, or a subject and a motion or style.",
        )
    return Asked({w.name: built_in(w.name, w.kind, w.noun, family, count) for w in who}, together)


def folders_of(given: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """What --references gives: folders by the concept's name. Raises UsageError."""
    found: dict[str, Path] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if name not in names or not folder:
            raise UsageError(
                f"--references {text}: not one of the concepts and its folder.",
                f"Say NAME=DIR, such as {names[0]}=photos/." if names else "Teach a concept first.",
            )
        if name in found:
            raise UsageError(
                f"--references {text}: {name} has '{found[name]}' already.", "Give one folder for each."
            )
        if not expanded(Path(folder)).exists():
            raise UsageError(
                f"--references {text}: there is no '{folder}'.",
                "Give the folder or file it was learned from.",
            )
        found[name] = expanded(Path(folder))
    return found


def check_out(folder: Path, names: Iterable[str]) -> None:
    """Raises UsageError if clips of these concepts could not be kept there."""
    for kept in (folder, *(folder / name for name in names)):
        if kept.exists() and not kept.is_dir():
            raise UsageError(
                f"--out '{kept}' is not a folder.", "Name a new folder, or one of an earlier evaluation."
            )
        check_output(kept / "clip.mp4")


def check_encoders(source: str, clip: str | None = None, *, exact: bool = False) -> None:
    """Raises CcvdError where open_clip is needed and missing, UsageError where nothing can be known exactly."""
    if exact and find_base(source).family != "mini":
        raise UsageError(
            f"--exact: '{source}' is not of the embedded world, where alone what is shown can be known.",
            "Leave --exact out.",
        )
    needed = clip or find_base(source).family != "mini"
    if needed and importlib.util.find_spec("open_clip") is None:
        raise CcvdError("`open_clip` is not installed.", "`pip install open_clip_torch` brings it.")
