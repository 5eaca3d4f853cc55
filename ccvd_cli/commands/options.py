"""Every option that more than one command has, said once; and the bundles that commands take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from typer import Option

LARGEST_SEED = 2**32 - 1

# Typer reads these annotations at run time, `int | None` included: Python 3.10 can.


class Kind(str, Enum):
    subject = "subject"
    motion = "motion"
    style = "style"


class DType(str, Enum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Scheduler(str, Enum):
    dpm = "dpm++"
    ddim = "ddim"


class Aggregation(str, Enum):
    named = "named"
    relevance = "relevance"
    mean = "mean"
    off = "off"


class TokenMode(str, Enum):
    per_layer = "per-layer"
    shared = "shared"


class OrthogonalForm(str, Enum):
    mean_abs = "mean-abs"
    abs_trace = "abs-trace"


class EditMethod(str, Enum):
    noise = "noise"
    ddim = "ddim"


class EstimateOf(str, Enum):
    frame = "frame"
    box = "box"


def _recipe(name: str, help: str) -> Any:
    return Option(name, help=help, show_default=False, rich_help_panel="Recipe (defaults: those of the base)")


def _sampling(name: str, help: str) -> Any:
    return Option(
        name, help=help, show_default=False, rich_help_panel="Sampling (defaults: those of the base)"
    )


def _base(name: str, help: str, default: str, metavar: str | None = None) -> Any:
    return Option(name, help=help, show_default=default, metavar=metavar, rich_help_panel="Base model")


def _who(name: str, help: str) -> Any:
    return Option(name, help=help, show_default=False, rich_help_panel="Who takes part")


def _where(name: str, help: str, metavar: str | None = None) -> Any:
    return Option(name, help=help, metavar=metavar, show_default=False, rich_help_panel="Regions")


JsonOption = Annotated[bool, Option("--json", help="JSON on stdout.")]


@dataclass(frozen=True)
class SharedOptions:
    """What every command takes, after its name as well as before it."""

    home: Annotated[Path | None, Option("--home", help="Folder of the registry.", show_default=False)] = None
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress; errors are still shown.")] = False


@dataclass(frozen=True)
class BaseOptions:
    """Which frozen model, where and how precisely. None: the command's own default."""

    base: Annotated[
        str | None,
        _base(
            "--base",
            "The embedded base, or a folder or hub id.",
            "mini, or that of the concepts",
            "mini|FOLDER|ID",
        ),
    ] = None
    device: Annotated[str | None, _base("--device", "Where to compute.", "auto", "auto|cpu|cuda|mps")] = None
    dtype: Annotated[DType | None, _base("--dtype", "Precision of the base.", "auto")] = None


@dataclass(frozen=True)
class LearnOptions:
    """What is learned and what is shown of it. Names and nouns: one for each folder, or none."""

    name: Annotated[
        list[str] | None,
        Option("--name", metavar="NAME", help="What prompts call it.", show_default="the next free V<n>"),
    ] = None
    class_noun: Annotated[
        list[str] | None,
        Option(
            "--class-noun",
            metavar="NOUN",
            help="The word for it: dog, playing guitar (a motion), ink painting (a style).",
            show_default=False,
        ),
    ] = None
    preview: Annotated[
        Path | None,
        Option(
            "--preview", metavar="FILE", help="Where a clip of it goes.", show_default="<name>-preview.mp4"
        ),
    ] = None
    no_preview: Annotated[bool, Option("--no-preview", help="Make no preview clip.")] = False
    preview_every: Annotated[
        int | None,
        Option("--preview-every", min=1, metavar="N", help="A clip every N steps too.", show_default=False),
    ] = None
    evaluate: Annotated[
        bool,
        Option("--evaluate", help="Score it too, as `ccvd evaluate` would by the same files."),
    ] = False
    exact: Annotated[
        bool,
        Option("--exact", help="With --evaluate, on the embedded base: judges say what can be known, too."),
    ] = False
    height: Annotated[
        int | None, _base("--height", "Pixels to learn at; generate at the same size.", "that of the base")
    ] = None
    width: Annotated[int | None, _base("--width", "As --height.", "that of the base")] = None
    json: JsonOption = False


@dataclass(frozen=True)
class MaskOptions:
    """Where in the photos the subject is: once for each folder, or left out."""

    masks: Annotated[
        list[str] | None,
        Option(
            "--masks",
            metavar="FOLDER|alpha|auto|none",
            help="Pictures named as the photos, white where it is; alpha: they are transparent elsewhere; auto: where the base sees its "
            "noun; none: whole photos.",
            show_default="auto on mini, else none",
        ),
    ] = None


@dataclass(frozen=True)
class RecipeOptions:
    """Overrides of a `settings.Recipe`, field by field; None keeps the recipe's value."""

    adapter_steps: Annotated[int | None, _recipe("--steps", "Updates of the adapter.")] = None
    token_steps: Annotated[
        int | None, _recipe("--token-steps", "Updates of its tokens; 0 keeps the class noun's.")
    ] = None
    adapter_lr: Annotated[float | None, _recipe("--lr", "Learning rate of the adapter.")] = None
    token_lr: Annotated[float | None, _recipe("--token-lr", "Learning rate of its tokens.")] = None
    batch_size: Annotated[int | None, _recipe("--batch-size", "Samples per update.")] = None
    text_dropout: Annotated[
        float | None, _recipe("--text-dropout", "Chance that a caption is left empty.")
    ] = None
    tokens: Annotated[
        TokenMode | None, _recipe("--tokens", "One token per text-conditioned layer, or one for all.")
    ] = None
    token_start: Annotated[
        str | None, _recipe("--token-start", "Word that its tokens start from, instead of the class noun.")
    ] = None
    orthogonal_weight: Annotated[
        float | None,
        _recipe("--orthogonal", "Weight of staying apart from earlier concepts; 0 turns it off."),
    ] = None
    orthogonal_form: Annotated[
        OrthogonalForm | None, _recipe("--orthogonal-form", "How overlap with them is measured.")
    ] = None
    only_sites: Annotated[
        str | None,
        _recipe("--only-sites", "Regular expression: adapt only layers in whose names it is found."),
    ] = None
    bottleneck: Annotated[
        float | None, _recipe("--bottleneck", "Adapter's hidden width, as a share of the site's.")
    ] = None
    timestep_shift: Annotated[
        float | None, _recipe("--timestep-shift", "Above 1, the adapter sees high noise more often.")
    ] = None
    token_shift: Annotated[float | None, _recipe("--token-shift", "As --timestep-shift, for its tokens.")] = (
        None
    )
    offset_noise: Annotated[
        float | None, _recipe("--offset-noise", "Strength of the noise that a whole frame shares.")
    ] = None
    seed: Annotated[
        int | None,
        Option("--seed", min=0, max=LARGEST_SEED, help="Seed of everything random.", show_default="0"),
    ] = None


@dataclass(frozen=True)
class PictureRecipeOptions(RecipeOptions):
    last_layers: Annotated[
        int | None, _recipe("--last-layers", "Adapt the last N text-conditioned layers only; 0: all.")
    ] = None
    prior_share: Annotated[
        float | None, _recipe("--prior-share", "Share of a batch that the base draws itself.")
    ] = None


@dataclass(frozen=True)
class SubjectRecipeOptions(PictureRecipeOptions):
    outside_weight: Annotated[
        float | None, _recipe("--outside-mask", "How much what photos show outside its mask counts, 0 to 1.")
    ] = None
    keep_weight: Annotated[
        float | None, _recipe("--keep-outside", "Weight of staying there with what the base draws itself.")
    ] = None
    attention_mask_weight: Annotated[
        float | None, _recipe("--attention-mask", "Weight of its name being read within its mask alone.")
    ] = None
    attention_mask_level: Annotated[
        int | None, _recipe("--attention-mask-level", "Where: in layers of 1/N of the latents' sides.")
    ] = None


@dataclass(frozen=True)
class MotionRecipeOptions(RecipeOptions):
    frames: Annotated[int | None, _recipe("--frames", "Frames taken from a clip.")] = None
    debias_weight: Annotated[
        float | None, _recipe("--debias", "Weight of MotionDirector's appearance-debiased loss, such as 1.")
    ] = None


@dataclass(frozen=True)
class PictureOptions:
    """Overrides of a `settings.SampleSettings`, field by field; None keeps its value. Without the speed: an edited clip has its own."""

    steps: Annotated[int | None, _sampling("--steps", "Denoising steps.")] = None
    guidance_scale: Annotated[
        float | None, _sampling("--guidance-scale", "How strongly the prompt pulls; 1 is unguided.")
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
    scheduler: Annotated[Scheduler | None, _sampling("--scheduler", "How noise is taken away.")] = None
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
        _where("--preview-regions", "Draw the boxes into this .png and stop.", metavar="FILE"),
    ] = None
    explain: Annotated[
        bool,
        _who("--explain", "Say how much each concept takes part, and why."),
    ] = False


@dataclass(frozen=True)
class SampleOptions(PictureOptions):
    """As `PictureOptions`, for clips from nothing."""

    fps: Annotated[int | None, _sampling("--fps", "Frames per second.")] = None


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
