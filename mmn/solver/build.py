"""Parameter groups, optimizer, schedule, and what the epoch decides (SPEC section 4)."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from yacs.config import CfgNode

from mmn.modeling.text_encoder import last_layers


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.AdamW:
    """AdamW with group 0 = all parameters but those of the text encoder's `bert`, group 1 = `bert`."""
    solver, bert = cfg.SOLVER, set(model.text_encoder.bert.parameters())
    return torch.optim.AdamW(
        [
            {"params": [parameter for parameter in model.parameters() if parameter not in bert]},
            {"params": list(model.text_encoder.bert.parameters()), "lr": solver.LR * solver.BERT_LR_FACTOR},
        ],
        lr=solver.LR,
        betas=solver.BETAS,
        weight_decay=solver.WEIGHT_DECAY,
        fused=True,  # one pass over memory, and it can leave out a step without waiting for the device
    )


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Restore an optimizer's state. One that was saved without `fused`, as by the released program, goes on fused."""
    groups = [{**group, "fused": True, "foreach": None} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """To be stepped after each epoch: milestone m lowers the rate of epoch m + 1; the cosine is at 0 after the last."""
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


def build_average(cfg: CfgNode, model: nn.Module) -> AveragedModel | None:
    """A copy of the network that follows its weights as an exponential average (SOLVER.EMA_DECAY); None where it is off.

    Buffers, batch norm's running statistics among them, are those of the network itself.
    """
    decay = cfg.SOLVER.EMA_DECAY
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None


def contrastive_weight(cfg: CfgNode, epoch: int) -> float:
    """The factor on the two contrastive losses in this epoch, counted from 1.

    Despite the key's name the contrastive losses do not end with epoch ONLY_IOU; they go on at a hundredth.
    """
    phase = 1.0 if epoch <= cfg.SOLVER.ONLY_IOU else cfg.SOLVER.LATE_CONTRASTIVE_FACTOR
    return phase * cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT


def total_loss(cfg: CfgNode, losses: Mapping[str, Tensor], weight: float) -> Tensor:
    """What is minimised: the losses `vid`, `sent` and `iou` with their weights (paper section 3.3).

    Args:
        weight: of the contrastive losses in this epoch, see `contrastive_weight`.
    """
    loss = cfg.MODEL.MMN.LOSS
    contrastive = loss.VIDEO_TO_SENTENCE_WEIGHT * losses["vid"] + loss.SENTENCE_TO_VIDEO_WEIGHT * losses["sent"]
    return loss.IOU_WEIGHT * losses["iou"] + weight * contrastive


def set_text_encoder_frozen(cfg: CfgNode, model: nn.Module, epoch: int) -> bool:
    """Freeze or free `bert` for this epoch: no gradient and no update up to FREEZE_BERT; its dropout stays active.

    What becomes free are its last TEXT_ENCODER.TRAIN_LAYERS layers.

    Returns whether it is frozen.
    """
    bert, num_layers = model.text_encoder.bert, cfg.MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS
    frozen = epoch <= cfg.SOLVER.FREEZE_BERT
    bert.requires_grad_(False)
    for parameter in [] if frozen else last_layers(bert, num_layers):
        parameter.requires_grad_(True)
    return frozen
