"""Optimizer, schedule and training phases."""

from mmn.solver.optimizer import build_average, build_optimizer, load_optimizer
from mmn.solver.phases import contrastive_weight, set_text_encoder_frozen, total_loss
from mmn.solver.schedule import build_scheduler, scaled_rates, step_after_epoch, step_after_evaluation, warmup_factor
from mmn.solver.training_recipe import MAP_RECIPE, MATCHING_RECIPE, TrainingRecipe

__all__ = [
    "MAP_RECIPE",
    "MATCHING_RECIPE",
    "TrainingRecipe",
    "build_average",
    "build_optimizer",
    "build_scheduler",
    "contrastive_weight",
    "load_optimizer",
    "scaled_rates",
    "set_text_encoder_frozen",
    "step_after_epoch",
    "step_after_evaluation",
    "total_loss",
    "warmup_factor",
]
