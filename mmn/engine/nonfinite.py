"""Updates that a loss or gradient that is not finite cannot spoil."""

import os
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmn.structures.batch import Batch
from mmn.utils import comm
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger


class StepVerdict(NamedTuple):
    """What the device found about one step: `is_bad` counts once `copied` (None on a CPU) has happened."""

    is_bad: Tensor
    copied: torch.cuda.Event | None
    values: dict[str, Tensor]
    where: str
    parts: Sequence[Batch]


class NonFiniteGuard:
    """Makes the optimizer leave out a step whose loss or gradient norm is not finite, and ends the run for it.

    The device decides. On a GPU the verdict is read some steps later, when it has arrived, so that no step waits.

    Args:
        folder: where the batch of such a step is written.
        skips: count such steps and go on instead. All processes then decide together, and each step waits.
    """

    def __init__(self, folder: str, skips: bool = False):
        self.folder = folder
        self.skips = skips
        self.num_skipped = 0
        self.verdicts: deque[StepVerdict] = deque()
        self.buffers: list[tuple[Tensor, Tensor]] = []

    def remember(self, model: nn.Module) -> None:
        """To be called before a step: the batch statistics to go back to, which a forward changes."""
        if self.skips:
            self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        values: dict[str, Tensor],
        where: str,
        parts: Sequence[Batch],
        may_overflow: Tensor | bool = False,
    ) -> bool:
        """One step of a fused optimizer, left out if values["loss"] or values["grad_norm"] is not finite.

        Where `may_overflow`, the gradients were computed from a scaled loss: not finite ones under a finite loss are then
        no fault, and their norm becomes 0 in `values`.

        Returns False for a step that was skipped. Raises UserError, naming `where` and the videos of `parts`, for this
        step (CPU) or an earlier one (GPU).
        """
        is_left_out = ~torch.isfinite(values["loss"] + values["grad_norm"])
        has_overflown = is_left_out & torch.isfinite(values["loss"]) & may_overflow
        values["grad_norm"] = values["grad_norm"].masked_fill(has_overflown, 0)
        is_bad = is_left_out & ~has_overflown
        if self.skips:
            is_bad = comm.sum_over_processes(is_bad.float()) > 0
        optimizer.grad_scale = None
        optimizer.found_inf = (is_left_out | is_bad).float()
        optimizer.step()
        if self.skips:
            return not (is_bad.item() and self._skip(values, where, parts))
        copied = None
        if is_bad.is_cuda:
            is_bad = is_bad.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self.verdicts.append(StepVerdict(is_bad, copied, values, where, parts))
        self.check(wait=False)
        return True

    def _skip(self, values: dict[str, Tensor], where: str, parts: Sequence[Batch]) -> bool:
        with torch.no_grad():
            for buffer, before in self.buffers:
                buffer.copy_(before)
        self.num_skipped += 1
        get_logger().warning("skipped %s, %d steps so far: %s", where, self.num_skipped, _describe(values, parts))
        return True

    def check(self, wait: bool = True) -> None:
        """Raise UserError if a step was left out. With `wait`, all steps so far count, not only those known about."""
        while self.verdicts and (wait or self.verdicts[0].copied is None or self.verdicts[0].copied.query()):
            verdict = self.verdicts.popleft()
            if verdict.copied is not None:
                verdict.copied.synchronize()
            if verdict.is_bad:
                path = self._dump(verdict)
                # With several processes a gradient is everybody's: whose own loss is finite lets the others speak first.
                is_own = not torch.isfinite(verdict.values["loss"]).item() if comm.get_world_size() > 1 else None
                described = _describe(verdict.values, verdict.parts)
                raise UserError(
                    f"the loss or its gradient is not finite at {verdict.where} {described}: check their features (the "
                    f"batch is in {path}), lower SOLVER.LR, or set SOLVER.SKIP_NONFINITE True",
                    is_own,
                )

    def _dump(self, verdict: StepVerdict) -> str:
        """Write the batch of a step as lists of tensors, to be read by torch.load with weights_only=True."""
        rank = f"_{comm.get_rank()}" if comm.get_rank() else ""
        path = os.path.join(self.folder, f"nonfinite_batch{rank}.pt")
        content = {
            "where": verdict.where,
            "values": {name: value.item() for name, value in verdict.values.items()},
            "parts": [
                {name: value for name, value in vars(part).items() if isinstance(value, (Tensor, list))}
                for part in verdict.parts
            ],
        }
        try:
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                torch.save(content, file)
        except UserError as error:  # must not hide what it was written for
            return f"no file: {error}"
        return path


def _describe(values: dict[str, Tensor], parts: Sequence[Batch]) -> str:
    numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
    return f"({numbers}), for the videos {', '.join(video for part in parts for video in part.video_ids)}"
