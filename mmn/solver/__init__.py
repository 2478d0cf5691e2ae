"""Optimizer, schedule and training phases."""

from mmn.solver.build import (
    build_average,
    build_optimizer,
    build_scheduler,
    contrastive_weight,
    load_optimizer,
    scaled_rates,
    set_text_encoder_frozen,
    total_loss,
    warmup_factor,
)

__all__ = [
    "build_average",
    "build_optimizer",
    "build_scheduler",
    "contrastive_weight",
    "load_optimizer",
    "scaled_rates",
    "set_text_encoder_frozen",
    "total_loss",
    "warmup_factor",
]
