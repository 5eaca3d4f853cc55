"""`ccvd compare`: one prompt and one seed, made in several ways or by several methods, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ..apart import content
from ..clips import default_path, default_scale
from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import check_output
from ..progress import progress
from ..prompts import plainly
from ..row import fills_windows
from ..session import Session
from . import comparing_runs, placing
from .opening import find_base
from .options import BaseOptions, OutOptions, RegionOptions, SampleOptions
from .request import Request, a_seed, begin, explain, load, open_base_of, sample_settings
from .stored_paths import leading, led
from .wiring import command

if TYPE_CHECKING:
    from torch import Tensor

    from ..settings import SampleSettings

WAYS: dict[str, Mapping[str, Any]] = {
    "default": {},
    "base": {},
    "no-regions": {"regions": (), "path_strength": 0.0},
    "no-region-attention": {"region_attention": False},
    "no-noise-guidance": {"noise_guidance": False},
    "no-style-guidance": {"style_guidance": 0.0},
    "no-paths": {"path_strength": 0.0},
    "relevance": {"aggregation": "relevance"},
    "mean": {"aggregation": "mean"},
    "off": {"aggregation": "off"},
    "dynamic": {"subject_schedule": "0.4@0.1,0.8"},
}
_OF_REGIONS = ("no-regions", "no-region-attention", "no-noise-guidance")
_GAP = 4  # pixels between clips


@dataclass(frozen=True)
class CompareOptions(OutOptions):
    """Which ways, and where they are shown."""

    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The clips side by side; a sheet goes beside it.",
            show_default="from prompt and seed, .mp4",
        ),
    ] = None
    ways: Annotated[
        str,
        Option(
            "--with",
            metavar="WAYS",
            help=f"Two or more of {', '.join(WAYS)}. base: without concepts; dynamic: CustomCrafter's schedule; "
            "no-style-guidance: styles are part of the prompt; no-paths: motions lead nobody. "
            "Or runs of a benchmark, <stream>/<method>/seed<k> in its folder: methods, with what each has learned.",
        ),
    ] = "default,base"


def register(app: typer.Typer) -> None:
    command(
        app,
        "compare",
        compare,
        examples=(
            'ccvd compare "a <V1> dog and a <V2> cat in the snow" --with default,no-regions',
            'ccvd compare "a <V1> dog jumping" --with default,base,dynamic --seed 3 --out jump.mp4',
            'ccvd compare "a <dog-10> dog jumping" --with benchmark/toy10/ccvd/seed0,benchmark/toy10/finetune/seed0',
        ),
        panel="Measuring",
    )


def compare(
    session: Session,
    prompt: Annotated[str, Argument(help="What to show; <V1> stands for the concept V1.")],
    options: CompareOptions,
    sampling: SampleOptions,
    base: BaseOptions,
    regions: RegionOptions,
) -> None:
    """Make the same clip in several ways: one clip that shows them side by side, and one sheet."""
    from ..settings import sampling_of

    ways = _ways(options.ways)
    if folders := comparing_runs.runs_of(ways, list(WAYS)):
        _methods(session, prompt, folders, options, sampling, base, regions)
        return
    with session.registry() as registry:
        request = begin(registry, prompt, regions, sampling, base, options.seed)
        usual = sampling_of(find_base(request.source).family, concepts=False)
        alone = sample_settings(usual, sampling, request.settings.seed)
        request = replace(request, settings=placing.placed(session, request, request.settings, regions))
        if regions.preview_regions:
            shown = led(request.prompt, request.concepts, request.settings)
            placing.preview(regions, shown, as_json=options.json)
            return
        seed = request.settings.seed
        path = options.out or default_path(f"compare {prompt}", seed)
        sheet = _sheet(path)
        _check_ways(ways, request, alone)
        clips: dict[str, Tensor] = {}
        opened = open_base_of(session, request)
        for way in ways:
            asked = _in_a_way(way, request, alone)
            who = load(session, registry, asked, opened)
            if regions.explain:
                session.say(f"{way}:")
                explain(who)
            clips[way] = _made(session, way, asked, who)
            # After each, so that an interruption leaves the others.
            files = _show(clips, path, sheet, request.settings)
    _tell(options, prompt, seed, ways, files)


def _methods(
    session: Session,
    prompt: str,
    folders: list[Path],
    options: CompareOptions,
    sampling: SampleOptions,
    base: BaseOptions,
    regions: RegionOptions,
) -> None:
    """The same of runs of a benchmark."""
    seed = a_seed(options.seed)
    runs, settings = comparing_runs.planned(prompt, folders, sampling, regions, seed)
    path = options.out or default_path(f"compare {prompt}", seed)
    sheet, files, clips = _sheet(path), list[Path](), dict[str, Any]()
    for label, clip in comparing_runs.by_methods(session, prompt, runs, settings, base):
        clips[label] = clip
        files = _show(clips, path, sheet, settings)
    _tell(options, prompt, seed, list(clips), files)


def _tell(options: CompareOptions, prompt: str, seed: int, ways: list[str], files: list[Path]) -> None:
    if options.json:
        emit_json({"prompt": prompt, "seed": seed, "ways": ways, "files": files})
    else:
        for file in files:
            emit(str(file))


def _sheet(path: Path) -> Path:
    """The sheet beside the clips at `path`. Raises UsageError if either cannot be written."""
    if path.suffix.lower() == ".png":
        raise UsageError(
            f"--out '{path}': the sheet is the .png beside it.", "Name a clip, such as compared.mp4."
        )
    sheet = path.with_suffix(".png")
    for file in (path, sheet):
        check_output(file)
    return sheet


def _show(clips: dict[str, Tensor], path: Path, sheet: Path, settings: SampleSettings) -> list[Path]:
    from ..engine.media_out import contact_sheet, write_clip

    scale = default_scale(settings)
    files = write_clip(_side_by_side(list(clips.values())), path, settings.fps, scale=scale)
    return [*files, contact_sheet(list(clips.items()), sheet, scale=max(1, scale // 2))]


def _check_ways(ways: list[str], request: Request, alone: SampleSettings) -> None:
    """Raises UsageError for a way that changes nothing of this prompt, or nothing that another does not."""
    settings = request.settings
    led = bool(leading(request.prompt, request.concepts, settings))
    lacking = _lacking(request, led)
    seen: dict[str, Request] = {}
    for way in ways:
        if lacks := lacking.get(way):
            raise UsageError(
                f"--with {way}: '{request.prompt}' has no {lacks}, so nothing would differ.",
                "Leave it out" + (", or give --region." if lacks == "regions" else "."),
            )
        if (
            way == "no-noise-guidance"
            and not led
            and fills_windows(settings, find_base(request.source).own_size)
        ):
            raise UsageError(
                f"--with {way}: each region of '{request.prompt}' fills a window, so nothing would differ.",
                "Leave it out, or keep them in one frame: --no-windows.",
            )
        asked = _in_a_way(way, request, alone)
        if same := next((other for other, its in seen.items() if its == asked), None):
            raise UsageError(
                f"--with {same},{way}: both are the same clip by these options.", "Leave one out."
            )
        seen[way] = asked


def _lacking(request: Request, led: bool) -> dict[str, str]:
    """By way, what a request would have to have for it; `led`: whether motions lead somebody."""
    kinds = Counter(concept.kind for concept in request.concepts)
    pictured = kinds["subject"] + kinds["style"]
    styles = [concept.name for concept in request.concepts if concept.kind == "style"]
    apart = content([request.prompt], styles, request.settings) is not None
    lacking = {}
    if not request.settings.regions:
        lacking = dict.fromkeys(["no-regions"] if led else _OF_REGIONS, "regions")
    if not request.concepts:
        lacking["base"] = "concepts"
    if not apart:
        lacking["no-style-guidance"] = "style that is guided apart"
    if not led:
        lacking["no-paths"] = "motion that leads along a path"
    if not pictured:
        lacking["dynamic"] = "subject or style"
    sharing = kinds["motion"], max(kinds["subject"], kinds["style"]) if apart else pictured
    if request.settings.aggregation == "named" and max(sharing) < 2:
        lacking["off"] = "concepts that share a weight"
    return lacking


def _ways(text: str) -> list[str]:
    """Raises UsageError for an unknown one, one that is given twice, or fewer than two."""
    ways = [way.strip() for way in text.split(",") if way.strip()]
    for i, way in enumerate(ways):
        if way not in WAYS and not Path(way).is_dir():
            raise UsageError(
                f"--with {text}: there is no way '{way}', nor such a folder.", f"Choose of {', '.join(WAYS)}."
            )
        if way in ways[:i]:
            raise UsageError(f"--with {text}: '{way}' is given twice.", "Name each once.")
    if len(ways) < 2:
        raise UsageError(
            f"--with {text}: one way alone cannot be compared.", "Name two, such as default,no-regions."
        )
    return ways


def _in_a_way(way: str, request: Request, alone: SampleSettings) -> Request:
    """`alone`: how `generate` makes the same prompt without concepts. A frame without regions is as wide as that one."""
    if way == "base":
        spoken = {c.name: (c.kind, c.class_noun) for c in request.concepts}
        words = plainly(request.prompt, spoken)
        return replace(request, prompt=words, concepts=[], closed=True, settings=alone)
    changes = {"width": alone.width, **WAYS[way]} if "regions" in WAYS[way] else WAYS[way]
    return replace(request, settings=request.settings.model_copy(update=changes))


def _made(session: Session, way: str, request: Request, opened: Any) -> Tensor:
    from ..engine import compose

    session.say(f"Generating, {way}: {request.prompt}")
    with progress(quiet=session.quiet) as report:
        return compose.generate(
            opened.base,
            request.prompt,
            opened.learners,
            request.settings,
            lambda step, total: report("sampling", step, total),
        )


def _side_by_side(clips: list[Tensor]) -> Tensor:
    """Clips (F, 3, H, W) -> one, a white line between them."""
    import torch

    line = torch.ones(*clips[0].shape[:-1], _GAP)
    row = [part for clip in clips for part in (clip, line)]
    return torch.cat(row[:-1], -1)
