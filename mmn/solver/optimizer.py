"""Parameter groups, optimizer and the average of weights (SPEC section 4)."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from yacs.config import CfgNode


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Group 0 = all parameters but those of the text encoder's `bert`, group 1 = `bert`."""
    solver, bert = cfg.SOLVER, set(model.text_encoder.bert.parameters())
    groups = [
        {"params": [parameter for parameter in model.parameters() if parameter not in bert]},
        {"params": list(model.text_encoder.bert.parameters()), "lr": solver.LR * solver.BERT_LR_FACTOR},
    ]
    return _optimizer(cfg, groups)


def build_single_group_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """One group, all parameters."""
    return _optimizer(cfg, [{"params": list(model.parameters())}])


def _optimizer(cfg: CfgNode, groups: list[dict]) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER over parameter groups, fused: one pass over memory, and it can leave out a step without waiting."""
    solver = cfg.SOLVER
    if solver.OPTIMIZER == "adam":
        return torch.optim.Adam(groups, lr=solver.LR, fused=True)
    return torch.optim.AdamW(groups, lr=solver.LR, betas=solver.BETAS, weight_decay=solver.WEIGHT_DECAY, fused=True)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Restore an optimizer's state. One that was saved without `fused`, as by the released program, goes on fused."""
    groups = [{**group, "fused": True, "foreach": None} for group in state["param_groups"]]
    optimizer.load_state_dict({**state, "param_groups": groups})


def build_average(cfg: CfgNode, model: nn.Module) -> AveragedModel | None:
    """A copy of the network that follows its weights as an exponential average (SOLVER.EMA_DECAY); None where it is off.

    Buffers, batch norm's running statistics among them, are those of the network itself.
    """
    decay = cfg.SOLVER.EMA_DECAY
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
