"""Optimizer, schedule, phases and sum of the losses: how the training of one architecture differs from another's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from mmn.solver.optimizer import build_optimizer, build_single_group_optimizer
from mmn.solver.phases import set_text_encoder_frozen, total_loss
from mmn.solver.schedule import build_scheduler


@dataclass(frozen=True)
class TrainingRecipe:
    """Functions of the config that the training loop asks; the loop itself is the same for all architectures.

    Attributes:
        build_optimizer: (cfg, network) -> a fused optimizer, which the device can make leave out a step.
        build_scheduler: (cfg, optimizer) -> the schedule of its learning rates, stepped as `solver.schedule` says.
        freeze: (cfg, network, epoch) -> freezes or frees parameters for the epoch; returns whether some are frozen.
        total_loss: (cfg, losses by name, epoch) -> what is minimised in the epoch.
        rate_names: names of the learning rates in the log, one for each parameter group.
    """

    build_optimizer: Callable[[CfgNode, nn.Module], torch.optim.Optimizer]
    build_scheduler: Callable[[CfgNode, torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]
    freeze: Callable[[CfgNode, nn.Module, int], bool]
    total_loss: Callable[[CfgNode, Mapping[str, Tensor], int], Tensor]
    rate_names: tuple[str, ...]


# The released training of MMN (SPEC section 4), which HC-STVG has as well.
MATCHING_RECIPE = TrainingRecipe(
    build_optimizer, build_scheduler, set_text_encoder_frozen, total_loss, rate_names=("lr", "bert_lr")
)


def freeze_nothing(cfg: CfgNode, model: nn.Module, epoch: int) -> bool:
    """False: every parameter is trained in every epoch."""
    return False


def iou_loss(cfg: CfgNode, losses: Mapping[str, Tensor], epoch: int) -> Tensor:
    """The loss of score maps, the only one that there is."""
    return losses["iou"]


# The training of 2D-TAN (SPEC section 10).
MAP_RECIPE = TrainingRecipe(build_single_group_optimizer, build_scheduler, freeze_nothing, iou_loss, rate_names=("lr",))
