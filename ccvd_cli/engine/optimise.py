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
CALM = 10  # so many reports later a loss scale that was halved is tried again


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
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.99), weight_decay=0.0)
    # Constant, then a linear fall over the last third: the papers' constant rate leaves a short run noisy.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, 3 * (1 - i / steps) + 0.01))
    scale = loss_scale(dtype)
    most, calm = scale, 0  # reports in a row without an overflow
    recent: list[Tensor] = []
    fitted: list[Tensor] = []
    for step in range(1, steps + 1):
        now = loss()
        (now * scale).backward()
        if scale != 1:
            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1 / scale)
        norm = nn.utils.clip_grad_norm_(parameters, 1.0)
        if dtype == torch.float16:
            fitted.append(torch.isfinite(norm))
            before = [(x, x.detach().clone()) for p in parameters for x in (p, *_moments(optimizer, p))]
            for p in parameters:
                if p.grad is not None:
                    p.grad = torch.where(fitted[-1], p.grad, 0.0)
        optimizer.step()
        if dtype == torch.float16:
            with torch.no_grad():
                for x, was in before:
                    x.copy_(torch.where(fitted[-1], x, was))
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
            calm += 1
            if fitted and not torch.stack(fitted).all():
                scale, calm = scale / 2, 0
                if scale < 1:
                    raise CcvdError(
                        f"the gradients of stage {stage} do not fit into float16 at step {step}",
                        "take --dtype bfloat16 or float32",
                    )
            elif calm == CALM:
                scale, calm = min(most, 2 * scale), 0
            fitted.clear()
            on_loss(step, mean)


def loss_scale(dtype: torch.dtype) -> float:
    """What losses are multiplied with: half precision loses gradients of a mean over so many values; bfloat16 has the range."""
    return 2.0**14 if dtype == torch.float16 else 1.0


def _moments(optimizer: torch.optim.Optimizer, parameter: Tensor) -> list[Tensor]:
    """What the optimiser remembers of a parameter's gradients; nothing before its first step."""
    return [x for x in optimizer.state.get(parameter, {}).values() if torch.is_tensor(x) and x.ndim]
