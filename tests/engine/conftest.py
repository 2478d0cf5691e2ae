"""Fixtures of the engine's tests: one batch, and what updates a tiny network by it."""

from pathlib import Path

import pytest
import torch
from tiny import random_batch

from mmn.engine.update import WeightUpdate
from mmn.modeling import build_criterion, build_model
from mmn.solver import MATCHING_RECIPE, build_average, build_optimizer


@pytest.fixture
def batch():
    return random_batch([2, 1, 3], num_pre_clips=32)


@pytest.fixture
def make_update(tiny_cfg):
    def make():
        model = build_model(tiny_cfg)
        Path(tiny_cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        optimizer, criterion = build_optimizer(tiny_cfg, model), build_criterion(tiny_cfg)
        average, device = build_average(tiny_cfg, model), torch.device("cpu")
        return WeightUpdate(tiny_cfg, MATCHING_RECIPE, model, criterion, optimizer, device, average)

    return make
