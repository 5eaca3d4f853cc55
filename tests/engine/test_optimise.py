"""The training loop in half precision: what does not fit moves nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ccvd_cli.engine.optimise import optimise
from ccvd_cli.errors import CcvdError


def run(loss: object, parameter: nn.Parameter, steps: int, dtype: torch.dtype = torch.float16) -> list[float]:
    said: list[float] = []
    groups = [{"params": [parameter], "lr": 0.1}]
    optimise("token", groups, steps, loss, dtype, lambda _, mean: said.append(mean))  # type: ignore[arg-type]
    return said


def test_a_gradient_that_overflows_once_spoils_nothing() -> None:
    """At a scale of 2^14 it does not fit; at half of it, in the next step, it does."""
    parameter, steep = nn.Parameter(torch.tensor([1.0])), 6.0

    def loss() -> torch.Tensor:
        return (parameter.half() * steep).float().sum()  # a gradient of 6: 6 * 2^14 is beyond 65504

    said = run(loss, parameter, 1)
    assert float(parameter.detach()) == 1.0 and said == [pytest.approx(6.0)]
    said = run(loss, parameter, 20)
    assert torch.isfinite(parameter).all() and float(parameter.detach()) < 0.9
    assert said[-1] < said[0]


def test_the_scale_recovers_from_overflows_however_many_there_are() -> None:
    """One of a hundred steps that does not fit at any scale: two thousand steps would halve it away."""
    parameter, at = nn.Parameter(torch.tensor([1.0])), [0]

    def loss() -> torch.Tensor:
        at[0] += 1
        steep = 60_000.0 if at[0] % 100 == 0 else 1e-3
        return (parameter.half() * steep).float().sum() * (2 if steep > 1 else 1)

    run(loss, parameter, 2_000)
    assert torch.isfinite(parameter).all()


def test_what_never_fits_is_told() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))

    def loss() -> torch.Tensor:
        return (parameter.half() * 60_000).float().sum() * 2

    with pytest.raises(CcvdError, match="do not fit into float16") as caught:
        run(loss, parameter, 200)
    assert "bfloat16" in str(caught.value.hint) and float(parameter.detach()) == 1.0
    run(lambda: (parameter * 120_000).sum(), parameter, 5, torch.float32)
    assert float(parameter.detach()) < 1.0


def test_a_step_that_does_not_fit_keeps_the_momentum_too() -> None:
    """Gradients of zero would let AdamW go on along what it remembers."""
    parameter, at, steps = nn.Parameter(torch.tensor([1.0])), [], 8

    def loss() -> torch.Tensor:
        at.append(float(parameter.detach()))
        steep = 60_000.0 if len(at) in (4, 5) else 1.0
        return (parameter.half() * steep).float().sum()

    run(loss, parameter, steps)
    moved = [b - a for a, b in zip(at, [*at[1:], float(parameter.detach())], strict=True)]
    assert moved[3] == moved[4] == 0.0 and all(step < 0 for step in moved[:3] + moved[5:])
    assert moved[5] < -0.085  # with moments that had shrunk by then it would be 0.078
