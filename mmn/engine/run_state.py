"""Parts of a run that a checkpoint holds besides the weights: each saves itself, restores itself, or begins afresh."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from mmn.engine.meter import Meter
from mmn.modeling.memory_bank import MemoryBank
from mmn.solver import load_optimizer, step_after_epoch
from mmn.utils import comm
from mmn.utils.logger import get_logger
from mmn.utils.seed import get_rng_state, set_rng_state


class RunPart(Protocol):
    """Part of a run that changes while it trains, and knows its own entries of a checkpoint.

    Both methods are called on all processes.
    """

    def state_dict(self) -> dict[str, object]:
        """Entries of the checkpoint by their keys, in tensors and plain values."""

    def load_state_dict(self, checkpoint: Mapping) -> None:
        """Continue from the entries of a whole checkpoint.

        Where it lacks them, as one of the released program or of another config does, the part begins afresh, and the
        log says so.
        """


@dataclass
class RunPosition:
    """Place of a run in its training, and its best evaluation so far."""

    epoch: int = 0  # the last finished one
    iteration: int = 0  # updates done in the one after it
    best_epoch: int = 0
    best_metric: float = -math.inf

    def state_dict(self) -> dict[str, object]:
        return dict(vars(self))

    def load_state_dict(self, checkpoint: Mapping) -> None:
        """Continue from the epoch, which must be there; `EpochProgress` restores the iteration within the next one."""
        self.epoch, self.iteration = checkpoint["epoch"], 0
        self.best_epoch = checkpoint.get("best_epoch", 0)
        self.best_metric = checkpoint.get("best_metric", -math.inf)


class OptimizerState:
    """Moments and steps of the optimizer."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, object]:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        if "optimizer" in checkpoint:
            load_optimizer(self.optimizer, checkpoint["optimizer"])
        else:
            get_logger().warning("the checkpoint has no optimizer state: its moments start at zero")


class ScheduleState:
    """The schedule of the learning rates, which without an entry is advanced to the checkpoint's epoch."""

    def __init__(self, scheduler: torch.optim.lr_scheduler.LRScheduler):
        self.scheduler = scheduler

    def state_dict(self) -> dict[str, object]:
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        if "scheduler" in checkpoint:
            self.scheduler.load_state_dict(checkpoint["scheduler"])
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            get_logger().warning("the checkpoint has no state of the plateau schedule: it counts from here")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the optimizer has not stepped yet: so it is
            for _ in range(checkpoint["epoch"]):
                step_after_epoch(self.scheduler)


class RandomState:
    """The random generators of every process."""

    def state_dict(self) -> dict[str, object]:
        return {"rng": comm.all_gather_objects(get_rng_state())}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        states = checkpoint.get("rng", [])
        if len(states) == comm.get_world_size():
            set_rng_state(states[comm.get_rank()])
        else:
            get_logger().warning(
                "the checkpoint has random states of %d processes, not %d: the run continues, but not bit for bit",
                len(states),
                comm.get_world_size(),
            )


class AverageState:
    """The weights that are trained, where a checkpoint's "model" is their running average, and its length.

    Args:
        model: the network, its weights being those of the checkpoint's "model".
        average: its running average; None for a run that has none.
    """

    def __init__(self, model: nn.Module, average: AveragedModel | None):
        self.model = model
        self.average = average

    def state_dict(self) -> dict[str, object]:
        if self.average is None:
            return {}
        return {"training_model": self.model.state_dict(), "num_averaged": self.average.n_averaged.item()}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        if "training_model" in checkpoint:
            self.model.load_state_dict(checkpoint["training_model"])
        elif self.average is not None:
            get_logger().warning("the checkpoint has no average of weights: it starts from the weights themselves")
        if self.average is not None:
            self.average.module.load_state_dict(checkpoint["model"])
            self.average.n_averaged.fill_(checkpoint.get("num_averaged", 0))


class MemoryBankState:
    """The memory bank: one for all processes, or one for each.

    Args:
        is_common: whether all processes have the same, as with MODEL.MMN.LOSS.GATHER_NEGATIVES.
        device: where its vectors go.
    """

    def __init__(self, bank: MemoryBank, is_common: bool, device: torch.device):
        self.bank = bank
        self.is_common = is_common
        self.device = device

    def state_dict(self) -> dict[str, object]:
        state = self.bank.state_dict()
        return {"memory_bank": [state] if self.is_common else comm.gather_objects(state)}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        banks = checkpoint.get("memory_bank", [])
        if self.is_common and len(banks) == 1:
            self.bank.load_state_dict(banks[0], self.device)
        elif len(banks) == comm.get_world_size():
            self.bank.load_state_dict(banks[comm.get_rank()], self.device)
        else:
            get_logger().warning("the checkpoint has no memory bank of this process: it starts empty")


class LossScalerState:
    """The scale of the loss, where float16 needs one; without an entry it starts at its default."""

    def __init__(self, scaler: torch.amp.GradScaler):
        self.scaler = scaler

    def state_dict(self) -> dict[str, object]:
        return {"loss_scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        if self.scaler.is_enabled() and "loss_scaler" in checkpoint:
            self.scaler.load_state_dict(checkpoint["loss_scaler"])


class EpochProgress:
    """The place within an epoch and the averages since the last log line; {} between epochs.

    The place holds only where the processes share the epoch's videos as before; otherwise the epoch begins again.

    Args:
        position: already at the checkpoint's epoch.
        num_iterations: updates in an epoch.
    """

    def __init__(self, position: RunPosition, meter: Meter, num_iterations: int):
        self.position = position
        self.meter = meter
        self.num_iterations = num_iterations

    def state_dict(self) -> dict[str, object]:
        if not self.position.iteration:
            return {}
        return {"meter": comm.gather_objects(self.meter.state_dict()), "num_iterations": self.num_iterations}

    def load_state_dict(self, checkpoint: Mapping) -> None:
        if not checkpoint.get("iteration", 0):
            return
        is_same_group = len(checkpoint.get("rng", [])) == comm.get_world_size()
        if is_same_group and checkpoint["num_iterations"] == self.num_iterations:
            self.position.iteration = checkpoint["iteration"]
            meters = checkpoint["meter"]  # in checkpoints of earlier versions one, the first process's
            self.meter.load_state_dict(meters[comm.get_rank()] if isinstance(meters, list) else meters)
        else:
            get_logger().warning(
                "the processes or batches are others than before: epoch %d begins again, with the weights as they are",
                self.position.epoch + 1,
            )
