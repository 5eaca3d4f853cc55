"""The one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CcvdError
from .concept import Learner


@dataclass(frozen=True)
class StepReport:
    """Where learning stands; `loss` is the mean since the last report.

    `snapshot` copies the concepts as they are now, mostly one. Sampling with the copy leaves the training, its random numbers too, as it is.
    Both are None while there is only the material to prepare.
    """

    stage: str
    step: int
    total: int
    loss: float | None = None
    snapshot: Callable[[], list[Learner]] | None = None


OnStep = Callable[[StepReport], None]
REPORT_EVERY = 5  # reading a loss waits for the device, so not at every step
CALM = 50  # steps in a row that fit, after which a loss scale that was halved is tried again


def optimise(
    stage: str,
    groups: Sequence[dict[str, Any]],
    steps: int,
    loss: Callable[[], Tensor],
    dtype: torch.dtype,
    on_loss: Callable[[int, float], None],
) -> None:
    """AdamW without decay over `groups` of parameters, each with its rate, for so many steps of a base that computes in `dtype`.

    `on_loss` hears the step and the mean loss since it last did, every few steps and at the end. In half precision, losses are scaled up, and
    a step whose gradients do not fit moves nothing; the scale is then halved, and doubled again when all have fitted for a while.

    Raises:
        CcvdError: the loss is not a number, or gradients do not fit at any scale.
    """
    parameters = [p for g in groups for p in g["params"]]
    half, device = dtype == torch.float16, parameters[0].device.type
    # Fused, a step that does not fit is left out without a word from the device; on mps some versions take it all the same.
    fused = (half and device != "mps") or None
    optimizer = torch.optim.AdamW(
        [g for g in groups if g["params"]], betas=(0.9, 0.99), weight_decay=0.0, fused=fused
    )
    # Constant, then a linear fall over the last third: the papers' constant rate leaves a short run noisy.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, 3 * (1 - i / steps) + 0.01))
    most = loss_scale(dtype)
    scaler = torch.amp.GradScaler(device, init_scale=most, growth_interval=CALM, enabled=half)
    recent: list[Tensor] = []
    for step in range(1, steps + 1):
        now = loss()
        scaler.scale(now).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        recent.append(now.detach())
        if step % REPORT_EVERY == 0 or step == steps:
            mean = float(torch.stack(recent).mean())
            recent.clear()
            if mean != mean:
                raise CcvdError(
                    f"the loss of stage {stage} is not a number at step {step}", "try a smaller --lr"
                )
            if scaler.get_scale() > most:  # it grows for as long as all fits
                scaler.update(most)
            if scaler.get_scale() < 1:
                raise CcvdError(
                    f"the gradients of stage {stage} do not fit into float16 at step {step}",
                    "take --dtype bfloat16 or float32",
                )
            on_loss(step, mean)


def loss_scale(dtype: torch.dtype) -> float:
    """What losses are multiplied with: half precision loses gradients of a mean over so many values; bfloat16 has the range."""
    return 2.0**14 if dtype == torch.float16 else 1.0
