"""Every option that more than one command has, said once; and the bundles that commands take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ..choices import Aggregation, DType, EditMethod, EstimateOf, SchedulerName

LARGEST_SEED = 2**32 - 1

# Typer reads these annotations at run time, `int | None` included: Python 3.10 can.


def _sampling(name: str, help: str) -> Any:
    return Option(
        name, help=help, show_default=False, rich_help_panel="Sampling (defaults: those of the base)"
    )


def of_base(name: str, help: str, default: str, metavar: str | None = None) -> Any:
    return Option(name, help=help, show_default=default, metavar=metavar, rich_help_panel="Base model")


def _who(name: str, help: str) -> Any:
    return Option(name, help=help, show_default=False, rich_help_panel="Who takes part")


def _where(name: str, help: str, metavar: str | None = None) -> Any:
    return Option(name, help=help, metavar=metavar, show_default=False, rich_help_panel="Regions")


def measuring(name: str, help: str, metavar: str, default: str = "") -> Any:
    return Option(
        name, help=help, metavar=metavar, show_default=default or False, rich_help_panel="Measuring"
    )


JsonOption = Annotated[bool, Option("--json", help="JSON on stdout.")]
ClipOption = Annotated[
    str | None,
    measuring(
        "--clip",
        "CLIP in open_clip's layout: a folder or a hub id.",
        "MODEL",
        "the base's own, else ViT-B/32",
    ),
]
DinoOption = Annotated[
    str | None,
    measuring(
        "--dino",
        "DINO in timm's or transformers' layout: a folder or a hub id; none leaves DINO-I out.",
        "MODEL|none",
        "none on the embedded base, else ViT-S/16",
    ),
]


@dataclass(frozen=True)
class SharedOptions:
    """What every command takes, after its name as well as before it."""

    home: Annotated[Path | None, Option("--home", help="Folder of the registry.", show_default=False)] = None
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="No progress; warnings and errors are still shown.")
    ] = False


@dataclass(frozen=True)
class BaseOptions:
    """Which frozen model, where and how precisely. None: the command's own default."""

    base: Annotated[
        str | None,
        of_base(
            "--base",
            "The embedded base, or a folder or hub id.",
            "mini, or that of the concepts",
            "mini|FOLDER|ID",
        ),
    ] = None
    device: Annotated[str | None, of_base("--device", "Where to compute.", "auto", "auto|cpu|cuda|mps")] = (
        None
    )
    dtype: Annotated[DType | None, of_base("--dtype", "Precision of the base.", "auto")] = None


@dataclass(frozen=True)
class PictureOptions:
    """Overrides of a `settings.SampleSettings`, field by field; None keeps its value. Without the speed: an edited clip has its own."""

    steps: Annotated[int | None, _sampling("--steps", "Denoising steps.")] = None
    guidance_scale: Annotated[
        float | None, _sampling("--guidance-scale", "How strongly the prompt pulls; 1 is unguided.")
    ] = None
    style_guidance: Annotated[
        float | None,
        _sampling(
            "--style-guidance",
            "How strongly a style pulls, beside the rest of the prompt; 0: together with it.",
        ),
    ] = None
    frames: Annotated[int | None, _sampling("--frames", "Frames per clip.")] = None
    height: Annotated[int | None, _sampling("--height", "In pixels.")] = None
    width: Annotated[int | None, _sampling("--width", "In pixels.")] = None
    windows: Annotated[
        bool | None,
        _sampling(
            "--windows/--no-windows",
            "Frames larger than the base's own are made in windows of that size; several subjects have one each.",
        ),
    ] = None
    scheduler: Annotated[SchedulerName | None, _sampling("--scheduler", "How noise is taken away.")] = None
    subject_schedule: Annotated[
        str | None,
        _sampling(
            "--subject-schedule",
            "Weight of subjects and styles over the steps: 0.4@0.1,0.8 is 0.4 for a tenth, then 0.8.",
        ),
    ] = None

    aggregation: Annotated[
        Aggregation | None,
        _who("--aggregation", "Who takes part: those named, all by relevance, all alike, or unweighed."),
    ] = None
    relevance_threshold: Annotated[
        float | None,
        _who("--relevance-threshold", "Relevance from which on concepts join that are not named."),
    ] = None
    top_k: Annotated[int | None, _who("--top-k", "The most of them that join.")] = None
    region_attention: Annotated[
        bool | None,
        _where("--region-attention/--no-region-attention", "Pixels of a region read its own prompt."),
    ] = None
    noise_guidance: Annotated[
        bool | None,
        _where("--noise-guidance/--no-noise-guidance", "Regions are guided by their own noise estimates."),
    ] = None
    estimate_of: Annotated[
        EstimateOf | None,
        _where(
            "--estimate-of",
            "In these, regions are heard in the whole 'frame', or in their 'box' alone.",
            "WHERE",
        ),
    ] = None


@dataclass(frozen=True)
class RegionOptions:
    """Where in the frame something is to be."""

    region: Annotated[
        list[str] | None,
        _where(
            "--region",
            "A box for a prompt of its own: '<V1> dog @ 0,0.4,0.5,1'. Repeatable.",
            "REGION",
        ),
    ] = None
    regions: Annotated[
        Path | None, _where("--regions", "The same from a YAML or JSON file.", metavar="FILE")
    ] = None
    auto_regions: Annotated[
        bool | None,
        _where(
            "--auto-regions/--no-auto-regions",
            "Several subjects get boxes side by side; by default in clips from nothing.",
        ),
    ] = None
    preview_regions: Annotated[
        Path | None,
        _where(
            "--preview-regions",
            "Draw the boxes, also those that motions lead along, into this .png and stop.",
            metavar="FILE",
        ),
    ] = None
    explain: Annotated[
        bool,
        _who("--explain", "Say how much each concept takes part, and why."),
    ] = False


@dataclass(frozen=True)
class SampleOptions(PictureOptions):
    """As `PictureOptions`, for clips from nothing."""

    fps: Annotated[int | None, _sampling("--fps", "Frames per second.")] = None
    path_strength: Annotated[
        float | None,
        _sampling(
            "--path-strength",
            "A motion leads along the path of its clips, so many times as far; 0: its words alone say where.",
        ),
    ] = None


@dataclass(frozen=True)
class EditOptions:
    """Overrides of a `settings.EditSettings`, field by field; None keeps its value."""

    strength: Annotated[
        float | None,
        Option(
            "--strength",
            metavar="SHARE",
            help="How much is made anew, above 0 and up to 1; of 1, by noise, nothing of the clip is left.",
            show_default="0.6",
        ),
    ] = None
    method: Annotated[
        EditMethod | None,
        Option(
            "--method",
            help="To noise: by adding some, or by DDIM run backwards, which keeps more of the clip.",
            show_default="noise",
        ),
    ] = None
    source_prompt: Annotated[
        str | None,
        Option("--source-prompt", help="What the clip shows, for --method ddim.", show_default="nothing"),
    ] = None


@dataclass(frozen=True)
class OutOptions:
    """Where a clip goes, and the chance in it."""

    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            metavar="FILE",
            help="mp4, gif, webp, or png for frames.",
            show_default="from prompt and seed, .mp4",
        ),
    ] = None
    seed: Annotated[
        int | None,
        Option(
            "--seed", min=0, max=LARGEST_SEED, help="The same seed, the same clip.", show_default="random"
        ),
    ] = None
    json: JsonOption = False


@dataclass(frozen=True)
class ClipOptions(OutOptions):
    """Which clips are made and where they go."""

    count: Annotated[int, Option("--count", min=1, max=1000, help="Clips; each has the next seed.")] = 1
    scale: Annotated[
        int | None,
        Option(
            "--scale", min=1, max=32, help="Pixels per pixel in the file.", show_default="4 for tiny clips"
        ),
    ] = None
