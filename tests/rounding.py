"""How far rounding may carry a recorded training run.

Processors and numbers of threads add up in other orders, so two runs of one program differ in their last digits, and
training can amplify that: where two values nearly tie (the larger of two clips, a ReLU at 0), the last digits decide which
way the gradient goes, and AdamW makes a whole step of a gradient that is hardly more than rounding. So each recorded run
is compared twice.

* In float64 our own rounding is nothing, whatever the processor, so the limits are tight: `EXACT`.
* In float32, as people train, a run may differ by MARGIN times what rounding was measured to do: `MEASURED`. There every
  weight was moved ULPS units in the last place, up or down at random, before training, SEEDS times. That changes the first
  step about ten times as much as other instruction sets and numbers of threads were seen to. In pool_top1 a ReLU of the
  first convolution gets 2.6e-6: a third of these runs take its other side, as another processor might.

`python tests/parity_report.py --sensitivity` measures again. Fixtures that are not in MEASURED are measured when they are
tested, which takes a while.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

ULPS, SEEDS, MARGIN = 8, 20, 2


class Changes(NamedTuple):
    """Differences of two training runs.

    Attributes:
        gradients: entries of the first step's gradients, relative to the largest of their tensor.
        history: losses and gradient norm of each step, relative.
        weights: trained tensors, relative to the way that training has moved them (by norm).
        second_moments: AdamW's second moments, relative (by norm).
    """

    gradients: float
    history: tuple[float, ...]
    weights: float
    second_moments: float


# The recorded runs themselves were float32: rounding of their gradients, losses and weights.
EXACT = Changes(1e-5, (2e-6,) * 8, 1e-3, 1e-5)

# By the digest of the file trajectory.npz: conv_top2, pool_top1, pool_top3.
MEASURED = {
    "f9e6adf1a3c7": Changes(1e-5, (6e-6, 1.1e-5, 8e-6, 4e-6, 2e-6, 5e-6, 4e-6, 4e-6), 6e-5, 1.3e-5),
    "7524e0af9e17": Changes(9e-3, (1.5e-5, 3e-5, 2.5e-4, 1.7e-4, 2.2e-4, 7e-4, 2.1e-4, 9e-4), 6e-2, 2.4e-2),
    "ec9d5e7e32d6": Changes(8e-6, (4e-6, 8e-6, 1.3e-5, 5e-6, 2e-6, 2e-6, 2e-6, 2e-6), 9e-5, 7e-4),
}


def limits(measured: Changes) -> Changes:
    """The differences that a float32 run may have. Nothing has amplified rounding in the first step's losses yet."""
    first, *later = EXACT.history
    return Changes(
        max(EXACT.gradients, MARGIN * measured.gradients),
        (first, *(max(least, MARGIN * value) for least, value in zip(later, measured.history[1:], strict=True))),
        max(EXACT.weights, MARGIN * measured.weights),
        max(EXACT.second_moments, MARGIN * measured.second_moments),
    )


def move_weights(model: nn.Module, seed: int) -> nn.Module:
    """Move every parameter ULPS units in the last place up or down, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            goal = torch.where(torch.rand(parameter.shape, generator=generator) < 0.5, -torch.inf, torch.inf)
            for _ in range(ULPS):
                parameter.copy_(torch.nextafter(parameter, goal))
    return model


def share_of_norm(measured: Tensor, wanted: Tensor) -> float:
    """The distance of two tensors, relative to the length of one."""
    return ((measured - wanted).norm() / wanted.norm()).item()
