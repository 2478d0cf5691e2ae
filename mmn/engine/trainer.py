"""The training loop: steps, and around them logging, evaluation and checkpoints (SPEC section 4)."""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mmn.config.load import config_values
from mmn.data.prefetch import on_device
from mmn.engine.meter import Meter
from mmn.engine.metric_writer import MetricWriter, Progress
from mmn.engine.nonfinite import NonFiniteGuard
from mmn.engine.precision import autocast, build_scaler, loss_scale
from mmn.engine.tracking import build_tracker
from mmn.evaluation.recall import SELECTION_METRIC
from mmn.modeling.memory_bank import MemoryBank
from mmn.solver import (
    contrastive_weight,
    load_optimizer,
    scaled_rates,
    set_text_encoder_frozen,
    total_loss,
    warmup_factor,
)
from mmn.structures.batch import Batch
from mmn.utils import comm
from mmn.utils.checkpoint import CheckpointFolder
from mmn.utils.errors import CheckpointError, Preempted
from mmn.utils.logger import get_logger
from mmn.utils.memory import peak_memory_mb
from mmn.utils.preemption import listening, received_signal
from mmn.utils.revision import git_revision
from mmn.utils.seed import get_rng_state, set_rng_state
from mmn.utils.stop_agreement import StopAgreement


@dataclass
class RunState:
    """How far a run is; saved in checkpoints."""

    epoch: int = 0  # the last finished one
    iteration: int = 0  # updates done in the one after it
    best_epoch: int = 0
    best_metric: float = -math.inf


class Trainer:
    """One training run.

    Args:
        cfg: the whole config; epochs, periods, phases and factors are read from it.
        model: on `device`.
        criterion, optimizer, scheduler, loader: what is trained, how, and on what.
        evaluate: () -> metrics of the validation split for the current weights; called on all processes.
        device: where batches go.
        average: the running average of `model` that `evaluate` looks at and checkpoints hold as "model"; None for none.
        facts: plain values about the training data, by name, that checkpoints carry along.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        criterion: Callable[..., dict[str, Tensor]],
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        loader: DataLoader,
        evaluate: Callable[[], dict[str, float]],
        device: torch.device,
        average: AveragedModel | None = None,
        facts: Mapping[str, object] | None = None,
    ):
        self.cfg = cfg
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.loader = loader
        self.evaluate = evaluate
        self.device = device
        self.average = average
        self.evaluated: nn.Module = model if average is None else average.module
        self.memory: MemoryBank | None = getattr(criterion, "memory", None)  # which only the losses of moments have
        self.scaler = build_scaler(cfg, device)
        self.rate_factor = 1.0  # on the learning rates, while they warm up
        self.facts = dict(facts or {})
        self.checkpoints = CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME, cfg.SOLVER.CHECKPOINT_KEEP)
        self.guard = NonFiniteGuard(cfg.OUTPUT_DIR, cfg.SOLVER.SKIP_NONFINITE)
        self.meter = Meter(device)
        self.state = RunState()
        self.is_main = comm.get_rank() == 0
        self.forward: nn.Module = model  # wrapped by DistributedDataParallel while training in a group

    @property
    def num_iterations(self) -> int:
        """Updates in an epoch."""
        return -(-len(self.loader) // self.cfg.SOLVER.ACCUMULATE)

    @property
    def step(self) -> int:
        """Iterations since the start of training."""
        return self.state.epoch * self.num_iterations + self.state.iteration

    def train(self) -> None:
        """All that remains of the epochs.

        Raises Preempted, with everything saved, where a process got a signal to stop.
        """
        cfg = self.cfg.SOLVER
        self.stop = StopAgreement()
        self.writer = self._build_writer()
        self.progress = Progress(self.step, cfg.MAX_EPOCH * self.num_iterations, self.is_main)
        with listening():
            self._train_epochs()
        if cfg.MAX_EPOCH == 0:
            self.save(0)
        self.progress.close()
        self.writer.close()

    def _build_writer(self) -> MetricWriter:
        if not self.is_main:
            return MetricWriter(None)
        folder, continues = self.cfg.OUTPUT_DIR, self.step > 0 or self.cfg.SOLVER.RESUME
        tracker = build_tracker(self.cfg.SOLVER.TRACKER, folder, config_values(self.cfg), continues)
        return MetricWriter(folder, self.state.epoch + 1, self.step, tracker)

    def _train_epochs(self) -> None:
        cfg, frozen = self.cfg.SOLVER, None
        for epoch in range(self.state.epoch + 1, cfg.MAX_EPOCH + 1):
            if frozen != (frozen := set_text_encoder_frozen(self.cfg, self.model, epoch)):
                self.forward = self._distribute()  # it must know which parameters take gradients
            self._train_epoch(epoch)
            self._finish_epoch(epoch)

    def _distribute(self) -> nn.Module:
        module = torch.compile(self.model) if self.cfg.SOLVER.COMPILE else self.model
        if comm.get_world_size() == 1:
            return module
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        # BatchNorm is per process, as released: rank 0's buffers are what is evaluated and saved.
        return DistributedDataParallel(module, device_ids=device_ids, broadcast_buffers=False)

    def _train_epoch(self, epoch: int) -> None:
        weight = contrastive_weight(self.cfg, epoch)
        self.model.train()
        first, accumulate = self.state.iteration, self.cfg.SOLVER.ACCUMULATE
        self.loader.sampler.epoch = epoch
        self.loader.sampler.num_done = first * accumulate * self.loader.batch_size if first else 0
        batches = on_device(self.loader, self.device)
        steps = in_groups(self.meter.time_waits(batches), accumulate)
        for iteration, parts in enumerate(steps, start=first + 1):
            self.rate_factor = warmup_factor(self.cfg, self.step)
            values = self.train_step(parts, weight, f"epoch {epoch}, iteration {iteration}")
            if values is not None:
                self.meter.add(values, sum(len(part.video_ids) for part in parts))
            self.state.iteration = iteration
            self.progress.advance()
            if iteration % self.cfg.SOLVER.LOG_PERIOD == 0 or iteration == self.num_iterations:
                self._log_train(epoch, self.step, self.meter.flush())
            if iteration < self.num_iterations:  # the end of an epoch is _finish_epoch's
                self._finish_iteration(iteration)
        self.guard.check()

    def _finish_iteration(self, iteration: int) -> None:
        """Inside an epoch: a checkpoint where one is due, the end where the run is to stop."""
        period = self.cfg.SOLVER.CHECKPOINT_ITERS
        is_stopped = self.stop.poll()
        if is_stopped or (period and iteration % period == 0):
            self._save_last()
        if is_stopped:
            self._stop()

    def _finish_epoch(self, epoch: int) -> None:
        """Schedule, evaluation and checkpoint after an epoch, the end where the run is to stop."""
        cfg = self.cfg.SOLVER
        self.scheduler.step()
        self.state.epoch, self.state.iteration = epoch, 0
        if epoch % cfg.TEST_PERIOD == 0 and epoch >= cfg.SKIP_TEST:
            self._evaluate_epoch(epoch)
        is_due = epoch % cfg.CHECKPOINT_PERIOD == 0 or epoch == cfg.MAX_EPOCH
        if is_due:
            self.save(epoch)
        is_stopped = self.stop.settle() and epoch < cfg.MAX_EPOCH
        if not is_due and (is_stopped or cfg.CHECKPOINT_ITERS):
            self._save_last()
        if is_stopped:
            self._stop()

    def _stop(self) -> None:
        """End a run whose state is saved; called on all processes."""
        self.progress.close()
        self.writer.close(is_complete=False)
        position = f"after epoch {self.state.epoch}" + (
            f" and {self.state.iteration} iterations" if self.state.iteration else ""
        )
        raise Preempted(
            f"{received_signal() or 'a signal to another process'} stopped the run {position}: everything is saved, and "
            "the same command with SOLVER.RESUME True goes on from there"
        )

    def train_step(self, parts: Sequence[Batch], contrastive_weight: float, where: str) -> dict[str, Tensor] | None:
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
            with self._gradient_sync(number == len(parts)):
                self._backward(part, contrastive_weight, len(parts), values)
        self.scaler.unscale_(self.optimizer)
        trained = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        values["grad_norm"] = nn.utils.clip_grad_norm_(trained, self.cfg.SOLVER.CLIP_GRAD_NORM or math.inf)
        return values if self._update(values, where, parts) else None

    def _update(self, values: dict[str, Tensor], where: str, parts: Sequence[Batch]) -> bool:
        """The optimizer's step and what follows the weights; returns whether the step counts."""
        may_overflow = False
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

    def _backward(self, part: Batch, weight: float, num_parts: int, values: dict[str, Tensor]) -> None:
        """Forward and backward of one part of the batch; adds its share to `values`."""
        with autocast(self.cfg, self.device):
            output = self.forward(part)
        losses = self.criterion(output, part)
        losses = {"loss": total_loss(self.cfg, losses, weight), **losses}
        self.scaler.scale(losses["loss"] / num_parts).backward()
        for name, value in losses.items():
            values[name] = values.get(name, 0) + value.detach() / num_parts

    def _gradient_sync(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Processes exchange gradients once per step, with its last part."""
        if is_last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def _log_train(self, epoch: int, step: int, values: dict[str, float]) -> None:
        for name, group in zip(("lr", "bert_lr"), self.optimizer.param_groups, strict=True):
            values[name] = group["lr"] * self.rate_factor
        if self.cfg.SOLVER.SKIP_NONFINITE:
            values["num_skipped"] = self.guard.num_skipped
        values["memory_mb"] = peak_memory_mb(self.device)
        self.progress.report(step, epoch, values)
        self.writer.write("train", epoch, step, values)

    def _evaluate_epoch(self, epoch: int) -> None:
        self._share_buffers()
        metrics = self.evaluate()
        split = (self.cfg.DATASETS.VAL or self.cfg.DATASETS.TEST)[0]
        self.writer.write(f"eval/{split}", epoch, self.step, metrics)
        text = "  ".join(f"{name} {100 * value:.2f}" for name, value in metrics.items())
        get_logger().info("epoch %d  %s  %s", epoch, split, text)
        if metrics[SELECTION_METRIC] > self.state.best_metric:
            self.state.best_epoch, self.state.best_metric = epoch, metrics[SELECTION_METRIC]
            state = self.state_dict()
            if self.is_main:
                self.checkpoints.save_best(state)

    def _share_buffers(self) -> None:
        """Rank 0's BatchNorm statistics on all processes, so that they evaluate the model that is saved."""
        if comm.get_world_size() > 1:
            for buffer in self.evaluated.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def save(self, epoch: int) -> None:
        """Write the checkpoint of an epoch; called on all processes."""
        state = self.state_dict()
        if self.is_main:
            get_logger().info("saved %s", self.checkpoints.save(state, epoch))
        comm.barrier()

    def _save_last(self) -> None:
        """Write the checkpoint that is no epoch's; called on all processes."""
        self.guard.check()
        state = self.state_dict()
        if self.is_main:
            self.checkpoints.save_last(state)
        comm.barrier()

    def state_dict(self) -> dict:
        """Everything that continuing needs, in tensors and plain values."""
        inside = {"meter": self.meter.state_dict(), "num_iterations": self.num_iterations}
        return {
            **(inside if self.state.iteration else {}),
            **self._optional_state(),
            **self.facts,
            "model": self.evaluated.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "epoch": self.state.epoch,
            "iteration": self.state.iteration,
            "num_skipped": self.guard.num_skipped,
            "best_epoch": self.state.best_epoch,
            "best_metric": self.state.best_metric,
            "rng": comm.all_gather_objects(get_rng_state()),
            "config": self.cfg.dump(),
            "git_revision": git_revision(),
        }

    def _optional_state(self) -> dict:
        """What only some configs have: the weights under their average, the memory bank, the scale of the loss."""
        state: dict = {}
        if self.average is not None:
            state["training_model"] = self.model.state_dict()  # "model" is what is evaluated
            state["num_averaged"] = self.average.n_averaged.item()
        if self.memory is not None:
            bank = self.memory.state_dict()
            # Of every process, where each has its own.
            is_common = self.cfg.MODEL.MMN.LOSS.GATHER_NEGATIVES
            state["memory_bank"] = [bank] if is_common else comm.all_gather_objects(bank)
        if self.scaler.is_enabled():
            state["loss_scaler"] = self.scaler.state_dict()
        return state

    def resume(self, checkpoint: dict) -> None:
        """Continue where a checkpoint's run was: all but the weights, which are loaded with the model.

        A checkpoint of the released program, or of another number of processes, lacks part of it: the schedule is then
        advanced to its epoch, which may be known from SOLVER.RESUME_EPOCH alone, and the log says what starts afresh.
        """
        epoch = checkpoint.get("epoch", self.cfg.SOLVER.RESUME_EPOCH - 1 or None)
        if epoch is None:
            raise CheckpointError(
                "the checkpoint to resume from does not say its epoch: give SOLVER.RESUME_EPOCH, the epoch to begin with, "
                "or take it as SOLVER.INIT_WEIGHTS"
            )
        self.state.epoch = epoch
        self.state.best_epoch = checkpoint.get("best_epoch", 0)
        self.state.best_metric = checkpoint.get("best_metric", -math.inf)
        self.guard.num_skipped = checkpoint.get("num_skipped", 0)
        if "optimizer" in checkpoint:
            load_optimizer(self.optimizer, checkpoint["optimizer"])
        else:
            get_logger().warning("the checkpoint has no optimizer state: its moments start at zero")
        if "scheduler" in checkpoint:
            self.scheduler.load_state_dict(checkpoint["scheduler"])
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that the optimizer has not stepped yet: so it is
                for _ in range(self.state.epoch):
                    self.scheduler.step()
        states = checkpoint.get("rng", [])
        if len(states) == comm.get_world_size():
            set_rng_state(states[comm.get_rank()])
        else:
            get_logger().warning(
                "the checkpoint has random states of %d processes, not %d: the run continues, but not bit for bit",
                len(states),
                comm.get_world_size(),
            )
        self._resume_optional_state(checkpoint)
        self._resume_inside_epoch(checkpoint, is_same_group=len(states) == comm.get_world_size())
        inside = f" and {self.state.iteration} iterations" if self.state.iteration else ""
        get_logger().info("continuing after epoch %d%s", self.state.epoch, inside)

    def _resume_optional_state(self, checkpoint: dict) -> None:
        """The counterpart of `_optional_state`; what a checkpoint lacks starts afresh, and the log says so."""
        if "training_model" in checkpoint:
            self.model.load_state_dict(checkpoint["training_model"])
        elif self.average is not None:
            get_logger().warning("the checkpoint has no average of weights: it starts from the weights themselves")
        if self.average is not None:
            self.average.module.load_state_dict(checkpoint["model"])
            self.average.n_averaged.fill_(checkpoint.get("num_averaged", 0))
        if self.memory is not None:
            banks = checkpoint.get("memory_bank", [])
            is_common = self.cfg.MODEL.MMN.LOSS.GATHER_NEGATIVES and len(banks) == 1
            if is_common or len(banks) == comm.get_world_size():
                self.memory.load_state_dict(banks[0 if is_common else comm.get_rank()], self.device)
            else:
                get_logger().warning("the checkpoint has no memory bank of this process: it starts empty")
        if self.scaler.is_enabled() and "loss_scaler" in checkpoint:
            self.scaler.load_state_dict(checkpoint["loss_scaler"])

    def _resume_inside_epoch(self, checkpoint: dict, is_same_group: bool) -> None:
        """The position in the epoch, where the processes share its videos as before; otherwise the epoch's start."""
        if not checkpoint.get("iteration", 0):
            return
        if is_same_group and checkpoint["num_iterations"] == self.num_iterations:
            self.state.iteration = checkpoint["iteration"]
            self.meter.load_state_dict(checkpoint["meter"])
        else:
            get_logger().warning(
                "the processes or batches are others than before: epoch %d begins again, with the weights as they are",
                self.state.epoch + 1,
            )


def in_groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` consecutive batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group
