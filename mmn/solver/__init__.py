"""Optimizer, schedule and training phases."""

from mmn.solver.build import (
    build_optimizer,
    build_scheduler,
    contrastive_weight,
    load_optimizer,
    set_text_encoder_frozen,
    total_loss,
)

__all__ = [
    "build_optimizer",
    "build_scheduler",
    "contrastive_weight",
    "load_optimizer",
    "set_text_encoder_frozen",
    "total_loss",
]
