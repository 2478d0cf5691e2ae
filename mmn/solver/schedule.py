"""Learning rates over the training (SPEC section 4)."""

import contextlib
from collections.abc import Iterator

import torch
from yacs.config import CfgNode


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Schedule to be stepped after each epoch: milestone m lowers the rate of epoch m + 1; the cosine ends at 0."""
    solver = cfg.SOLVER
    if solver.SCHEDULE == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, solver.MAX_EPOCH))
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(solver.MILESTONES), gamma=solver.GAMMA)


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
