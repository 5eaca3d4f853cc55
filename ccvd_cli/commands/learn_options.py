"""The options of `learn-*`, and what is given once for every folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ..choices import OrthogonalForm, TokenMode
from ..errors import UsageError
from .options import LARGEST_SEED, JsonOption, of_base


def _recipe(name: str, help: str) -> Any:
    return Option(name, help=help, show_default=False, rich_help_panel="Recipe (defaults: those of the base)")


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
        int | None, of_base("--height", "Pixels to learn at; generate at the same size.", "that of the base")
    ] = None
    width: Annotated[int | None, of_base("--width", "As --height.", "that of the base")] = None
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
            show_default="alpha if all photos are cut out; else auto on mini, none on others",
        ),
    ] = None


@dataclass(frozen=True)
class RecipeOptions:
    """Overrides of a `settings.Recipe`, field by field; None keeps the recipe's value."""

    adapter_steps: Annotated[int | None, _recipe("--steps", "Updates of the adapter.")] = None
    token_steps: Annotated[
        int | None, _recipe("--token-steps", "Updates of its tokens; 0 leaves them as they start.")
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
        str | None, _recipe("--token-start", "Word that its tokens start from; '' is the class noun.")
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
    find_path: Annotated[
        bool | None,
        _recipe(
            "--path/--no-path",
            "The base finds the path that things take in the clips, to lead along it.",
        ),
    ] = None
    debias_weight: Annotated[
        float | None, _recipe("--debias", "Weight of MotionDirector's appearance-debiased loss, such as 1.")
    ] = None


def one_each(given: Sequence[str] | None, count: int, option: str) -> Sequence[str] | None:
    """What was given for each of `count` folders; None if nothing was. Raises UsageError if it is neither."""
    if given and len(given) != count:
        folders = "one folder" if count == 1 else f"{count} folders"
        raise UsageError(
            f"{len(given)} {option} ({', '.join(given)}) for {folders} to learn from.",
            f"Give {option} once for every folder, in the same order, or leave it out.",
        )
    return given or None
