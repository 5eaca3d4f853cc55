"""Typed recipes: what to train, for how long, and how to sample, per base family and concept kind.

Defaults for `mini` were found by measuring (examples/FINDINGS.md); those for `unet3d` are DreamVideo's
(arXiv 2312.04433, section 4.1) and CIDM's (arXiv 2410.17594). For `wan` no paper has any: its are ours, as adapters of its size are commonly
trained, and untried.
"""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .choices import (
    Aggregation,
    EditMethod,
    EstimateOf,
    Family,
    Kind,
    OrthogonalForm,
    SchedulerName,
    TokenMode,
)
from .regions import Region
from .schedule import weights


class Settings(BaseModel):
    """Immutable and strict: an unknown field is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(Settings):
    """How one concept is learned. Steps count optimiser updates, rates belong to AdamW without decay."""

    token_steps: int = Field(
        ge=0, description="stage 1: updates of the layer-specific tokens (0: they stay as they start)"
    )
    adapter_steps: int = Field(ge=1, description="stage 2: updates of the adapter")
    token_lr: float = Field(gt=0)
    adapter_lr: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    text_dropout: float = Field(ge=0, le=1, description="chance that a caption is replaced by the empty one")
    tokens: TokenMode = Field(
        default="per-layer", description="one vector per text-conditioned layer, or one for all of them"
    )
    token_start: str = Field(
        default="", description="the word whose vector the tokens start from; empty: the class noun"
    )
    orthogonal_weight: float = Field(
        default=0.1, ge=0, description="lambda of the concept orthogonal loss; 0 turns it off"
    )
    orthogonal_form: OrthogonalForm = "mean-abs"
    only_sites: str = Field(
        default="",
        max_length=500,
        description="regular expression: adapters join only the sites in whose names it is found",
    )
    last_layers: int = Field(
        default=0,
        ge=0,
        description="adapters of subjects and styles join the last so many text-conditioned layers only; 0: all",
    )
    bottleneck: float = Field(
        default=0.5, gt=0, le=1, description="adapter hidden width as a share of the site's width"
    )
    prior_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of a batch drawn from what the frozen base itself makes of the class noun",
    )
    find_masks: bool = Field(
        default=False,
        description="of a subject without masks: the base itself says where in its photos it is; see engine/contrast.py",
    )
    outline_masks: bool = Field(
        default=False,
        description="masks that are found follow the outline that colours show, instead of whole cells; see engine/outline.py",
    )
    outside_weight: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="with masks only: of the error outside of them, 1 being as within",
    )
    keep_weight: float = Field(
        default=0.0,
        ge=0,
        description="with masks only: of staying, where the subject surely is not, with the base's own answer to the class noun, or to nothing",
    )
    attention_mask_weight: float = Field(
        default=0.2,
        ge=0,
        description="with masks only: of the loss that holds the name's attention to its mask",
    )
    attention_mask_level: int = Field(
        default=4, ge=1, description="attention maps of 1/level of the latents' sides meet the masks"
    )
    debias_weight: float = Field(
        default=0.0,
        ge=0,
        description="of the appearance-debiased loss (clips; MotionDirector adds it with 1)",
    )
    frames: int = Field(default=16, ge=2, le=128, description="frames of a training clip (motions)")
    find_path: bool = Field(
        default=False,
        description="the base itself says where things of a motion's clips are, frame by frame; see engine/path_finding.py",
    )
    timestep_shift: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="of stage 2: above 1, training favours high noise, where layout and paths form",
    )
    token_shift: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="of stage 1: where noise hides the picture, text must say what is in it",
    )
    offset_noise: float = Field(default=0.1, ge=0, description="per sample, channel and frame")
    seed: int = 0

    @field_validator("only_sites")
    @classmethod
    def _compiles(cls, only_sites: str) -> str:
        try:
            re.compile(only_sites)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression ({error})") from error
        return only_sites


class SampleSettings(Settings):
    """How a clip is sampled."""

    steps: int = Field(default=25, ge=1, le=1000)
    guidance_scale: float = Field(default=5.0, ge=0)
    style_guidance: float = Field(
        default=0.0,
        ge=0,
        description="how strongly prompts pull into the styles that they name, beside all else that they say; 0: together with it",
    )
    frames: int = Field(default=16, ge=1, le=128)
    fps: int = Field(default=8, ge=1, le=120)
    height: int = Field(default=64, ge=8)
    width: int = Field(default=64, ge=8)
    windows: bool | None = Field(
        default=False,
        description="frames larger than the base's own are denoised in windows of that size; None: those that have to be "
        "so large for several subjects side by side",
    )
    scheduler: SchedulerName = "dpm++"
    subject_schedule: str = Field(
        default="1", description="weight of subjects and styles over the steps; see schedule.py"
    )
    aggregation: Aggregation = Field(default="named", description="who takes part; see engine/aggregate.py")
    relevance_threshold: float | None = Field(
        default=None, ge=-1, le=1, description="from which on concepts that are not named may join"
    )
    top_k: int = Field(default=4, ge=1, description="so many that are not named may join at most")
    path_strength: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="how many times as far from the middle of its path as in its clips a motion leads who performs it; 0: nobody is led",
    )
    regions: tuple[Region, ...] = ()
    region_attention: bool = Field(default=True, description="pixels of a region attend to its own prompt")
    noise_guidance: bool = Field(
        default=True, description="noise estimates of the regions' own prompts guide them"
    )
    estimate_of: EstimateOf = Field(
        default="frame", description="where such an estimate hears its region: everywhere, or in its box"
    )
    seed: int = 0

    @property
    def open_to_others(self) -> bool:
        """Whether concepts may take part that no prompt names."""
        return self.selective or self.aggregation == "mean"

    @property
    def selective(self) -> bool:
        """Whether those are chosen by their relevance."""
        joins = self.aggregation == "named" and self.relevance_threshold is not None
        return joins or self.aggregation == "relevance"

    @field_validator("subject_schedule")
    @classmethod
    def _readable(cls, schedule: str) -> str:
        weights(schedule, 1)
        return schedule


class EditSettings(Settings):
    """How a clip is made anew."""

    strength: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="share of the steps that are sampled anew; of 1, by added noise, nothing of the clip is left",
    )
    method: EditMethod = "noise"
    source_prompt: str = Field(default="", description="what the clip shows, for the method ddim")


# Only the last three layers are adapted: they come after place and path are decided.
_MINI_PICTURES = Recipe(
    token_steps=100,
    adapter_steps=600,
    token_lr=1e-3,
    adapter_lr=6e-3,
    batch_size=8,
    text_dropout=0.0,
    bottleneck=1.0,
    timestep_shift=0.6,
    token_shift=0.6,
    offset_noise=0.0,
    last_layers=3,
)

# The word "my" stands for a look in pretraining.
_MINI_SUBJECT = _MINI_PICTURES.model_copy(
    update={
        "find_masks": True,
        "outline_masks": True,
        "keep_weight": 1.0,
        "token_start": "my",
        "token_steps": 350,
        "token_lr": 3e-3,
        "token_shift": 1.5,
        "adapter_steps": 350,
    }
)

_UNET3D_PICTURES = Recipe(
    token_steps=3000,
    adapter_steps=800,
    token_lr=1e-4,
    adapter_lr=1e-5,
    batch_size=4,
    text_dropout=0.0,
)

# Flows are learned mostly where noise is high, as the base samples: its schedule has a shift of 3. Tokens are what a text encoder answers,
# numbers of about 0.01. All layers look equally finely, so attention would be held to masks in each of them: too much to keep.
_WAN_PICTURES = Recipe(
    token_steps=500,
    adapter_steps=800,
    token_lr=1e-4,
    adapter_lr=1e-4,
    batch_size=2,
    text_dropout=0.0,
    bottleneck=0.25,
    timestep_shift=3.0,
    token_shift=3.0,
    offset_noise=0.0,
    attention_mask_weight=0.0,
)

RECIPES: dict[Family, dict[Kind, Recipe]] = {
    "mini": {
        "subject": _MINI_SUBJECT,
        "motion": Recipe(
            token_steps=350,
            adapter_steps=60,
            token_lr=2e-3,
            adapter_lr=3e-3,
            batch_size=2,
            text_dropout=0.1,
            bottleneck=0.15,
            timestep_shift=3.0,
            token_shift=3.0,
            offset_noise=0.0,
            find_path=True,
        ),
        "style": _MINI_PICTURES,
    },
    "unet3d": {
        "subject": _UNET3D_PICTURES,
        "motion": Recipe(
            token_steps=0,
            adapter_steps=1000,
            token_lr=1e-4,
            adapter_lr=1e-5,
            batch_size=2,
            text_dropout=0.5,
            frames=32,
        ),
        "style": _UNET3D_PICTURES,
    },
    "wan": {
        "subject": _WAN_PICTURES,
        "motion": _WAN_PICTURES.model_copy(
            update={
                "token_steps": 0,
                "adapter_steps": 1000,
                "batch_size": 1,
                "text_dropout": 0.5,
                "frames": 33,
            }
        ),
        "style": _WAN_PICTURES,
    },
}

# Of prompts that name concepts. On `mini` strong guidance melts what adapters draw; without it, what prompts say is not obeyed. In boxes
# it has learned to draw what it hears there. Guided together with the rest of a prompt, styles bring the things of their own pictures along.
# Things lag behind boxes that lead them, so these go further than they did.
SAMPLING: dict[Family, SampleSettings] = {
    "mini": SampleSettings(
        guidance_scale=2.0, style_guidance=1.5, path_strength=1.4, estimate_of="box", windows=None
    ),
    "unet3d": SampleSettings(
        steps=50, guidance_scale=9.0, frames=32, height=256, width=256, scheduler="ddim"
    ),
    "wan": SampleSettings(steps=50, guidance_scale=5.0, frames=33, fps=16, height=480, width=832),
}
_PLAIN: dict[Family, dict[str, float]] = {"mini": {"guidance_scale": 5.0}, "unet3d": {}, "wan": {}}


# Photos are nearer to a square than Wan's clips: cut to those they would lose heads and feet.
_PICTURES: dict[Family, dict[str, int]] = {"mini": {}, "unet3d": {}, "wan": {"height": 624, "width": 624}}


def learning_of(family: Family, kind: str, sampling: SampleSettings | None = None) -> SampleSettings:
    """At what size concepts of a kind are learned beside clips that are made so, by default as usual on the base.

    It is the clips' own, unless that is the base's usual one: then pictures have theirs (`_PICTURES`).
    """
    usual = SAMPLING[family]
    given = sampling or usual
    pictured = kind != "motion" and (given.height, given.width) == (usual.height, usual.width)
    return given.model_copy(update=_PICTURES[family]) if pictured and _PICTURES[family] else given


def sampling_of(family: Family, *, concepts: bool) -> SampleSettings:
    """How clips of a base are made unless something else is asked for; `concepts`: whether prompts name any."""
    return SAMPLING[family] if concepts else SAMPLING[family].model_copy(update=_PLAIN[family])
