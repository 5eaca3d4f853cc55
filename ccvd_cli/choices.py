"""What options and settings choose from. Nothing is imported for it, so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal

Kind = Literal["subject", "motion", "style"]
Family = Literal["mini", "unet3d", "wan"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
SchedulerName = Literal["dpm++", "ddim"]
TokenMode = Literal["per-layer", "shared"]
OrthogonalForm = Literal["mean-abs", "abs-trace"]
Aggregation = Literal["named", "relevance", "mean", "off"]
EditMethod = Literal["noise", "ddim"]
EstimateOf = Literal["frame", "box"]
PretrainStage = Literal["vae", "text", "image", "video", "captions"]  # of pretraining, in this order
