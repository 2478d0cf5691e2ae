"""One update of a network's weights from the batches of a step (SPEC section 4)."""

import contextlib
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from yacs.config import CfgNode

from mmn.engine.nonfinite import NonFiniteGuard
from mmn.engine.precision import autocast, build_scaler, loss_scale
from mmn.modeling.memory_bank import MemoryBank
from mmn.solver import TrainingRecipe, scaled_rates
from mmn.structures.batch import Batch
from mmn.utils import comm


class WeightUpdate:
    """A network with all that changes its weights; called with the batches of a step, it makes one update.

    Args:
        cfg: the whole config; number format, clipping and factors of the losses are read from it.
        recipe: the phases of the training and the sum of the losses.
        model: on `device`.
        criterion: (output, batch) -> losses by name.
        optimizer: a fused one, of `model`.
        device: where the batches are.
        average: a running average of `model`, which follows each update; None for none.
    Attributes:
        evaluated: the network whose weights count: `model`, or its average.
        rate_factor: on the learning rates, while they warm up.
        memory: the memory bank of the criterion, where it has one.
    """

    def __init__(
        self,
        cfg: CfgNode,
        recipe: TrainingRecipe,
        model: nn.Module,
        criterion: Callable[..., dict[str, Tensor]],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        average: AveragedModel | None = None,
    ):
        self.cfg = cfg
        self.recipe = recipe
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.device = device
        self.average = average
        self.evaluated: nn.Module = model if average is None else average.module
        self.memory: MemoryBank | None = getattr(criterion, "memory", None)  # which only the losses of moments have
        self.scaler = build_scaler(cfg, device)
        self.guard = NonFiniteGuard(cfg.OUTPUT_DIR, cfg.SOLVER.SKIP_NONFINITE)
        self.rate_factor = 1.0
        self.forward: nn.Module = model  # wrapped by DistributedDataParallel while training in a group
        self.is_frozen: bool | None = None  # what `recipe.freeze` said; None before the first epoch

    def begin_epoch(self, epoch: int) -> None:
        """Freeze or free parameters for the epoch, and put the network into training mode."""
        is_frozen = self.recipe.freeze(self.cfg, self.model, epoch)
        if is_frozen != self.is_frozen:
            self.forward = self._distribute()  # it must know which parameters take gradients
            self.is_frozen = is_frozen
        self.model.train()

    def _distribute(self) -> nn.Module:
        module = torch.compile(self.model) if self.cfg.SOLVER.COMPILE else self.model
        if comm.get_world_size() == 1:
            return module
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        # BatchNorm is per process, as released: rank 0's buffers are what is evaluated and saved.
        # From 2.13 on PyTorch warns that `broadcast_buffers` will go. Its successor copies the buffers of rank 0 at each
        # wrapping, so also at the end of the freeze, which would change the statistics of the other processes.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(module, device_ids=device_ids, broadcast_buffers=False)

    def __call__(self, parts: Sequence[Batch], epoch: int, where: str) -> dict[str, Tensor] | None:
        """Forward and backward of each part (one, without SOLVER.ACCUMULATE), then one update.

        Returns the losses, means over the parts, and the gradient norm before clipping.

        A step whose loss or gradient is not finite leaves the weights as they were and ends the run with a UserError
        that names `where` and the videos: at once on a CPU, some steps later on a GPU, which is not waited for. With
        SOLVER.SKIP_NONFINITE it leaves the buffers too, counts the step and returns None instead.
        """
        self.guard.remember_buffers(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        values: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            with self._gradient_sync(is_last=number == len(parts)):
                self._backward(part, epoch, len(parts), values)
        self.scaler.unscale_(self.optimizer)
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        values["grad_norm"] = nn.utils.clip_grad_norm_(trained, self.cfg.SOLVER.CLIP_GRAD_NORM or math.inf)
        return values if self._step(values, where, parts) else None

    def _gradient_sync(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Context in which processes exchange gradients once per step, with its last part."""
        if is_last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def _backward(self, part: Batch, epoch: int, num_parts: int, values: dict[str, Tensor]) -> None:
        """Forward and backward of one part of the batch; adds its share to `values`."""
        with autocast(self.cfg, self.device):
            output = self.forward(part)
        losses = self.criterion(output, part)
        losses = {"loss": self.recipe.total_loss(self.cfg, losses, epoch), **losses}
        self.scaler.scale(losses["loss"] / num_parts).backward()
        for name, value in losses.items():
            values[name] = values.get(name, 0) + value.detach() / num_parts

    def _step(self, values: dict[str, Tensor], where: str, parts: Sequence[Batch]) -> bool:
        """The optimizer's step and what follows the weights; returns whether the step counts."""
        may_overflow: Tensor | bool = False
        if self.scaler.is_enabled():
            values["loss_scale"] = loss_scale(self.scaler, self.device)
            may_overflow = values["loss_scale"] > 1
        with scaled_rates(self.optimizer, self.rate_factor):
            counts = self.guard.step(self.optimizer, values, where, parts, may_overflow)
        self.scaler.update()
        if self.memory is not None:
            self.memory.settle(keep=counts)
        if self.average is not None and counts:
            self.average.update_parameters(self.model)
        return counts

    def rates(self) -> dict[str, float]:
        """Learning rates of the last update, by the recipe's names."""
        groups = zip(self.recipe.rate_names, self.optimizer.param_groups, strict=True)
        return {name: group["lr"] * self.rate_factor for name, group in groups}
