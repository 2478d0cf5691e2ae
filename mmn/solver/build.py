"""Parameter groups, optimizer, schedule, and what the epoch decides (SPEC section 4)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from yacs.config import CfgNode


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


def build_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.MultiStepLR:
    """To be stepped after each epoch: milestone m lowers the rate of epoch m + 1."""
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, list(cfg.SOLVER.MILESTONES), gamma=cfg.SOLVER.GAMMA)


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

    Returns whether it is frozen.
    """
    frozen = epoch <= cfg.SOLVER.FREEZE_BERT
    model.text_encoder.bert.requires_grad_(not frozen)
    return frozen
