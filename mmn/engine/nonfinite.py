"""Steps whose loss or gradient is not finite: left out of the optimizer by the device itself, and reported.

A loss that is not finite must not reach the weights, but asking the device for it would make every step wait for its
result. So the decision stays on the device as a tensor (`step_unless`), and a run hears of it when the value arrives.
"""

import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from mmn.structures.batch import Batch
from mmn.utils import comm
from mmn.utils.errors import UserError
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger


class StepVerdict(NamedTuple):
    """The device's finding about one step, with what a report of it needs.

    Attributes:
        is_bad: [] bool on the CPU, which counts once `copied` has happened.
        copied: the end of the copy from a GPU; None on a CPU.
        values: losses and gradient norm of the step.
        where: epoch and iteration, for messages.
        parts: the batches of the step.
    """

    is_bad: Tensor
    copied: torch.cuda.Event | None
    values: dict[str, Tensor]
    where: str
    parts: Sequence[Batch]


def step_unless(optimizer: torch.optim.Optimizer, is_left_out: Tensor) -> None:
    """Let a fused optimizer take a step, which the device leaves out where `is_left_out` [] bool is True.

    This uses what PyTorch's fused Adam and AdamW offer to `torch.amp.GradScaler`, which hands an optimizer of
    `_step_supports_amp_scaling` two attributes (`GradScaler.step`, read in `torch.optim.Adam.step`):

    * `found_inf`, float32 []. At exactly 1.0 the kernel returns before it writes a weight or a moment, and the step
      count, raised beforehand, is lowered again by `found_inf`; at 0.0 it is an ordinary step. Nothing else is meant to
      occur: at 2.0 the step would be taken.
    * `grad_scale`, what the kernel divides the gradients by; None where they are unscaled already, as here.

    A step that is left out thus leaves weights, moments and counts to the bit as they were, without any wait. Other
    optimizers of PyTorch, the same ones without fused=True among them, refuse the two attributes.
    """
    optimizer.grad_scale = None
    optimizer.found_inf = is_left_out.float()
    optimizer.step()


class NonFiniteGuard:
    """Keeps steps whose loss or gradient norm is not finite from the weights, and ends the run for them.

    On a GPU the verdict is read some steps later, when it has arrived, so that no step waits.

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

    def remember_buffers(self, model: nn.Module) -> None:
        """Keep a copy of the batch statistics, which a forward changes and a skipped step takes back. Before each step."""
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

        Where `may_overflow`, the gradients were computed from a scaled loss: ones that are not finite under a finite loss
        are then no fault, and their norm becomes 0 in `values`.

        Returns False for a step that was skipped. Raises UserError, naming `where` and the videos of `parts`, for this
        step (CPU) or an earlier one (GPU).
        """
        is_nonfinite = ~torch.isfinite(values["loss"] + values["grad_norm"])
        has_overflown = is_nonfinite & torch.isfinite(values["loss"]) & may_overflow
        values["grad_norm"] = values["grad_norm"].masked_fill(has_overflown, 0)
        is_bad = is_nonfinite & ~has_overflown
        if self.skips:
            is_bad = comm.sum_over_processes(is_bad.float()) > 0
        step_unless(optimizer, is_nonfinite | is_bad)
        if not self.skips:
            self._await_verdict(is_bad, values, where, parts)
            return True
        if is_bad.item():
            self._skip(values, where, parts)
            return False
        return True

    def _await_verdict(self, is_bad: Tensor, values: dict[str, Tensor], where: str, parts: Sequence[Batch]) -> None:
        """Start the copy of `is_bad` to the CPU, and act on the earlier ones that have arrived."""
        copied = None
        if is_bad.is_cuda:
            is_bad = is_bad.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        self.verdicts.append(StepVerdict(is_bad, copied, values, where, parts))
        self.check(wait=False)

    def _skip(self, values: dict[str, Tensor], where: str, parts: Sequence[Batch]) -> None:
        """Take the buffers back too, count the step and say so."""
        with torch.no_grad():
            for buffer, before in self.buffers:
                buffer.copy_(before)
        self.num_skipped += 1
        get_logger().warning("skipped %s, %d steps so far: %s", where, self.num_skipped, _describe(values, parts))

    def check(self, wait: bool = True) -> None:
        """Raise UserError if a step was left out. With `wait`, all steps so far count, not only those known about."""
        while self.verdicts and (wait or _has_arrived(self.verdicts[0])):
            verdict = self.verdicts.popleft()
            if verdict.copied is not None:
                verdict.copied.synchronize()
            if verdict.is_bad:
                self._report(verdict)

    def _report(self, verdict: StepVerdict) -> NoReturn:
        """End the run for a step: write its batch, and raise UserError."""
        path = self._dump(verdict)
        # With several processes a gradient is everybody's: whose own loss is finite lets the others speak first.
        is_own = not torch.isfinite(verdict.values["loss"]).item() if comm.get_world_size() > 1 else None
        described = _describe(verdict.values, verdict.parts)
        raise UserError(
            f"the loss or its gradient is not finite at {verdict.where} {described}: check their features (the "
            f"batch is in {path}), lower SOLVER.LR, or set SOLVER.SKIP_NONFINITE True",
            is_own,
        )

    def state_dict(self) -> dict[str, object]:
        """Entry of a checkpoint: how many steps were skipped, see `mmn.engine.run_state.RunPart`."""
        return {"num_skipped": self.num_skipped}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        self.num_skipped = checkpoint.get("num_skipped", 0)

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


def _has_arrived(verdict: StepVerdict) -> bool:
    return verdict.copied is None or verdict.copied.query()


def _describe(values: dict[str, Tensor], parts: Sequence[Batch]) -> str:
    numbers = ", ".join(f"{name} {value.item():.4g}" for name, value in values.items())
    return f"({numbers}), for the videos {', '.join(video for part in parts for video in part.video_ids)}"
