"""The training loop: epochs and iterations, and around them logging, evaluation and checkpoints (SPEC section 4)."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import nn
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from mmn.config.load import config_values
from mmn.data.prefetch import on_device
from mmn.engine.meter import Meter
from mmn.engine.metric_writer import MetricWriter, Progress
from mmn.engine.run_state import (
    AverageState,
    EpochProgress,
    LossScalerState,
    MemoryBankState,
    OptimizerState,
    RandomState,
    RunPart,
    RunPosition,
    ScheduleState,
)
from mmn.engine.tracking import build_tracker
from mmn.engine.update import WeightUpdate
from mmn.evaluation.recall import SELECTION_METRIC, VALIDATION_LOSS
from mmn.solver import step_after_epoch, step_after_evaluation, warmup_factor
from mmn.structures.batch import Batch
from mmn.utils import comm
from mmn.utils.checkpoint import CheckpointFolder
from mmn.utils.errors import CheckpointError, Preempted
from mmn.utils.logger import get_logger
from mmn.utils.memory import peak_memory_mb
from mmn.utils.preemption import listening, received_signal
from mmn.utils.revision import git_revision
from mmn.utils.stop_agreement import StopAgreement


class Trainer:
    """One training run.

    Args:
        cfg: the whole config; epochs and periods are read from it.
        update: the step of training, with the network.
        scheduler: schedule of the learning rates, stepped after each epoch, or after each evaluation.
        loader: the training batches.
        evaluate: network -> metrics of the validation split, shares, and its loss by the name VALIDATION_LOSS, where the
            task has one; called on all processes.
        facts: plain values about the training data, by name, that checkpoints carry along.
    """

    def __init__(
        self,
        cfg: CfgNode,
        update: WeightUpdate,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        loader: DataLoader,
        evaluate: Callable[[nn.Module], dict[str, float]],
        facts: Mapping[str, object] | None = None,
    ):
        self.cfg = cfg
        self.update = update
        self.scheduler = scheduler
        self.loader = loader
        self.evaluate = evaluate
        self.facts = dict(facts or {})
        self.num_iterations = -(-len(loader) // cfg.SOLVER.ACCUMULATE)  # updates in an epoch
        self.checkpoints = CheckpointFolder(cfg.OUTPUT_DIR, cfg.MODEL.MMN.FEAT2D.NAME, cfg.SOLVER.CHECKPOINT_KEEP)
        self.meter = Meter(update.device)
        self.position = RunPosition()
        self.is_main = comm.get_rank() == 0

    @functools.cached_property
    def test_iters(self) -> int:
        """Iterations between evaluations by SOLVER.TEST_ITERS; 0 where these are counted in epochs."""
        solver = self.cfg.SOLVER
        return solver.TEST_ITERS if solver.TEST_ITERS >= 0 else max(1, len(self.loader.dataset) // solver.BATCH_SIZE)

    @property
    def step(self) -> int:
        """Iterations since the start of training."""
        return self.position.epoch * self.num_iterations + self.position.iteration

    # ---- The loop ----------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train through all epochs that remain.

        Raises Preempted, with everything saved, where a process got a signal to stop.
        """
        solver = self.cfg.SOLVER
        self.stop = StopAgreement()
        self.writer = self._build_writer()
        self.progress = Progress(self.step, solver.MAX_EPOCH * self.num_iterations, self.is_main)
        with listening():
            for epoch in range(self.position.epoch + 1, solver.MAX_EPOCH + 1):
                self._train_epoch(epoch)
                self._finish_epoch(epoch)
        if solver.MAX_EPOCH == 0:
            self._save(0)
        self.progress.close()
        self.writer.close()

    def _build_writer(self) -> MetricWriter:
        if not self.is_main:
            return MetricWriter(None)
        folder, continues = self.cfg.OUTPUT_DIR, self.step > 0 or self.cfg.SOLVER.RESUME
        tracker = build_tracker(self.cfg.SOLVER.TRACKER, folder, config_values(self.cfg), continues)
        return MetricWriter(folder, self.position.epoch + 1, self.step, tracker)

    def _train_epoch(self, epoch: int) -> None:
        """The epoch's updates, or those that remain of them."""
        solver, first = self.cfg.SOLVER, self.position.iteration
        self.update.begin_epoch(epoch)
        self.loader.sampler.epoch = epoch
        self.loader.sampler.num_done = first * solver.ACCUMULATE * self.loader.batch_size if first else 0
        batches = self.meter.time_waits(on_device(self.loader, self.update.device))
        for iteration, parts in enumerate(in_groups(batches, solver.ACCUMULATE), start=first + 1):
            self.update.rate_factor = warmup_factor(self.cfg, self.step)
            values = self.update(parts, epoch, f"epoch {epoch}, iteration {iteration}")
            if values is not None:
                self.meter.add(values, sum(len(part.video_ids) for part in parts))
            self.position.iteration = iteration
            self.progress.advance()
            if iteration % solver.LOG_PERIOD == 0 or iteration == self.num_iterations:
                self._log(epoch, self.meter.flush())
            if iteration < self.num_iterations:  # the end of an epoch is _finish_epoch's
                self._finish_iteration(epoch, iteration)
        self.update.guard.check()

    def _finish_iteration(self, epoch: int, iteration: int) -> None:
        """Inside an epoch: evaluation and checkpoint where they are due, the end where the run is to stop."""
        period = self.cfg.SOLVER.CHECKPOINT_ITERS
        if self._is_evaluation_due(epoch):
            self._evaluate(epoch)
        is_stopped = self.stop.poll()
        if is_stopped or (period and iteration % period == 0):
            self._save_last()
        if is_stopped:
            self._stop()

    def _finish_epoch(self, epoch: int) -> None:
        """Schedule, evaluation and checkpoint after an epoch, the end where the run is to stop."""
        solver = self.cfg.SOLVER
        step_after_epoch(self.scheduler)
        self.position.epoch, self.position.iteration = epoch, 0
        if self._is_evaluation_due(epoch):
            self._evaluate(epoch)
        is_due = epoch % solver.CHECKPOINT_PERIOD == 0 or epoch == solver.MAX_EPOCH
        if is_due:
            self._save(epoch)
        is_stopped = self.stop.settle() and epoch < solver.MAX_EPOCH
        if not is_due and (is_stopped or solver.CHECKPOINT_ITERS):
            self._save_last()
        if is_stopped:
            self._stop()

    def _is_evaluation_due(self, epoch: int) -> bool:
        """Tell whether the iteration that is done, the last of `epoch` or one in it, is followed by an evaluation."""
        solver = self.cfg.SOLVER
        if self.test_iters:
            is_due = self.step % self.test_iters == 0
        else:
            is_due = self.position.iteration == 0 and epoch % solver.TEST_PERIOD == 0
        return is_due and epoch >= solver.SKIP_TEST

    def _stop(self) -> None:
        """End a run whose state is saved; called on all processes."""
        self.progress.close()
        self.writer.close(is_complete=False)
        raise Preempted(
            f"{received_signal() or 'a signal to another process'} stopped the run after {self._where()}: everything is "
            "saved, and the same command with SOLVER.RESUME True goes on from there"
        )

    def _where(self) -> str:
        position = self.position
        return f"epoch {position.epoch}" + (f" and {position.iteration} iterations" if position.iteration else "")

    # ---- Log and evaluation ------------------------------------------------------------------------------------------

    def _log(self, epoch: int, values: dict[str, float]) -> None:
        values |= self.update.rates()
        if self.cfg.SOLVER.SKIP_NONFINITE:
            values["num_skipped"] = self.update.guard.num_skipped
        values["memory_mb"] = peak_memory_mb(self.update.device)
        self.progress.report(self.step, epoch, values)
        self.writer.write("train", epoch, self.step, values)

    def _evaluate(self, epoch: int) -> None:
        """Metrics of the validation split, a step of a schedule that follows them, and a checkpoint where they are the best
        so far, or the evaluation is one by iterations."""
        self.update.guard.check()
        network = self.update.evaluated
        self._share_buffers(network)
        metrics = self.evaluate(network)
        split = (self.cfg.DATASETS.VAL or self.cfg.DATASETS.TEST)[0]
        self.writer.write(f"eval/{split}", epoch, self.step, metrics)
        loss = metrics.get(VALIDATION_LOSS)
        text = "  ".join(f"{name} {100 * value:.2f}" for name, value in metrics.items() if name != VALIDATION_LOSS)
        get_logger().info("epoch %d  %s  %s%s", epoch, split, text, "" if loss is None else f"  loss {loss:.5g}")
        step_after_evaluation(self.cfg, self.scheduler, loss)
        is_best = metrics[SELECTION_METRIC] > self.position.best_metric
        if is_best:
            self.position.best_epoch, self.position.best_metric = epoch, metrics[SELECTION_METRIC]
        if is_best or self.test_iters:
            state = self.state_dict()
            if self.is_main and is_best:
                self.checkpoints.save_best(state)
            if self.is_main and self.test_iters:
                self.checkpoints.save_evaluation(state, self.step // self.test_iters)
            comm.barrier()

    @staticmethod
    def _share_buffers(network: nn.Module) -> None:
        """Take over rank 0's BatchNorm statistics, so that all processes evaluate the network that is saved."""
        if comm.get_world_size() > 1:
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    # ---- Checkpoints -------------------------------------------------------------------------------------------------

    def _save(self, epoch: int) -> None:
        """Write the checkpoint of an epoch; called on all processes."""
        state = self.state_dict()
        if self.is_main:
            get_logger().info("saved %s", self.checkpoints.save(state, epoch))
        comm.barrier()

    def _save_last(self) -> None:
        """Write the checkpoint that is no epoch's; called on all processes."""
        self.update.guard.check()
        state = self.state_dict()
        if self.is_main:
            self.checkpoints.save_last(state)
        comm.barrier()

    def _parts(self) -> list[RunPart]:
        """All that a checkpoint restores besides the network's weights, in the order of restoring."""
        update = self.update
        parts: list[RunPart] = [
            self.position,
            update.guard,
            OptimizerState(update.optimizer),
            ScheduleState(self.scheduler),
            RandomState(),
            AverageState(update.model, update.average),
            LossScalerState(update.scaler),
            EpochProgress(self.position, self.meter, self.num_iterations),
        ]
        if update.memory is not None:
            parts.append(MemoryBankState(update.memory, self.cfg.MODEL.MMN.LOSS.GATHER_NEGATIVES, update.device))
        return parts

    def state_dict(self) -> dict:
        """Content of a checkpoint, in tensors and plain values: all that continuing needs. Called on all processes."""
        state = {
            "model": self.update.evaluated.state_dict(),
            "config": self.cfg.dump(),
            "git_revision": git_revision(),
            **self.facts,
        }
        for part in self._parts():
            state |= part.state_dict()
        return state

    def resume(self, checkpoint: Mapping) -> None:
        """Continue where a checkpoint's run was: all but the network's weights, which it has from there already.

        A checkpoint of the released program, or of another number of processes, lacks part of it: the log then says what
        begins afresh. Its epoch may be known from SOLVER.RESUME_EPOCH alone.
        """
        if "epoch" not in checkpoint:
            checkpoint = {**checkpoint, "epoch": self._epoch_before_the_one_asked_for()}
        for part in self._parts():
            part.load_state_dict(checkpoint)
        get_logger().info("continuing after %s", self._where())

    def _epoch_before_the_one_asked_for(self) -> int:
        first = self.cfg.SOLVER.RESUME_EPOCH
        if first == 1:
            raise CheckpointError(
                "the checkpoint to resume from does not say its epoch: give SOLVER.RESUME_EPOCH, the epoch to begin with, "
                "or take it as SOLVER.INIT_WEIGHTS"
            )
        return first - 1


def in_groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Lists of `size` consecutive batches; the last may be shorter."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        yield group
