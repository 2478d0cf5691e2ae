"""Updates that a loss or gradient that is not finite cannot spoil."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmn.utils.errors import UserError


class StepVerdict(NamedTuple):
    """What the device found about one step: `is_bad` counts once `copied` (None on a CPU) has happened."""

    is_bad: Tensor
    copied: torch.cuda.Event | None
    values: dict[str, Tensor]
    where: str
    videos: Sequence[str]


class NonFiniteGuard:
    """Makes the optimizer leave out a step whose loss or gradient norm is not finite, and ends the run for it.

    The device decides. On a GPU the verdict is read some steps later, when it has arrived, so that no step waits.
    """

    def __init__(self):
        self.verdicts: deque[StepVerdict] = deque()

    def step(
        self, optimizer: torch.optim.Optimizer, values: dict[str, Tensor], where: str, videos: Sequence[str]
    ) -> None:
        """One step of a fused optimizer, left out if values["loss"] or values["grad_norm"] is not finite.

        Raises UserError, naming `where` and the videos, for this step (CPU) or an earlier one (GPU).
        """
        is_bad = ~torch.isfinite(values["loss"] + values["grad_norm"])
        optimizer.grad_scale = None
        optimizer.found_inf = is_bad.float()
        optimizer.step()
        copied = None
        if is_bad.is_cuda:
            is_bad = is_bad.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self.verdicts.append(StepVerdict(is_bad, copied, values, where, videos))
        self.check(wait=False)

    def check(self, wait: bool = True) -> None:
        """Raise UserError if a step was left out. With `wait`, all steps so far count, not only those known about."""
        while self.verdicts and (wait or self.verdicts[0].copied is None or self.verdicts[0].copied.query()):
            verdict = self.verdicts.popleft()
            if verdict.copied is not None:
                verdict.copied.synchronize()
            if verdict.is_bad:
                numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in verdict.values.items())
                raise UserError(
                    f"the loss or its gradient is not finite at {verdict.where} ({numbers}), for the videos "
                    f"{', '.join(verdict.videos)}: check their features, or lower SOLVER.LR"
                )
