"""Learning rates over the training (SPEC section 4)."""

import contextlib
from collections.abc import Iterator

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from yacs.config import CfgNode


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Schedule of SOLVER.SCHEDULE: milestone m lowers the rate of epoch m + 1; the cosine ends at 0; the plateau."""
    solver = cfg.SOLVER
    if solver.SCHEDULE == "plateau":
        return ReduceLROnPlateau(optimizer, factor=solver.PLATEAU_FACTOR, patience=solver.PLATEAU_PATIENCE)
    if solver.SCHEDULE == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, solver.MAX_EPOCH))
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(solver.MILESTONES), gamma=solver.GAMMA)


def step_after_epoch(scheduler: LRScheduler) -> None:
    """Advance a schedule by an epoch, of which a plateau knows nothing."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step()


def step_after_evaluation(cfg: CfgNode, scheduler: LRScheduler, loss: float | None) -> None:
    """Show a plateau the loss of an evaluation on DATASETS.VAL; without such a split the rate stays (SPEC section 10).

    A plateau lowers the rate where what it is shown stops falling. The released program shows it minus the loss, so that
    the rate falls while the loss does.
    """
    if isinstance(scheduler, ReduceLROnPlateau) and cfg.DATASETS.VAL and loss is not None:
        scheduler.step({"released": -loss, "fixed": loss}[cfg.SOLVER.PLATEAU_SIGN])


def warmup_factor(cfg: CfgNode, step: int) -> float:
    """The factor on the learning rates of the update after `step` updates."""
    return min(1.0, (step + 1) / max(1, cfg.SOLVER.WARMUP_ITERS))


@contextlib.contextmanager
def scaled_rates(optimizer: torch.optim.Optimizer, factor: float) -> Iterator[None]:
    """Learning rates times `factor` for an update. The schedule, which computes the next rate from the last, sees none."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] *= factor
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
