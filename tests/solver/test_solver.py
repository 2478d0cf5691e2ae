"""Optimizer, schedule and phases (SPEC section 4)."""

import math

import pytest
import torch
from torch import nn

from mmn.config import get_cfg
from mmn.solver import (
    build_optimizer,
    build_scheduler,
    contrastive_weight,
    scaled_rates,
    step_after_epoch,
    step_after_evaluation,
    warmup_factor,
)
from mmn.solver.optimizer import build_single_group_optimizer


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.featpool = nn.Linear(2, 3)
        self.text_encoder = nn.Module()
        self.text_encoder.bert = nn.Linear(4, 5)
        self.text_encoder.fc_out1 = nn.Linear(5, 6)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.SOLVER.LR, cfg.SOLVER.MILESTONES = 0.1, (2, 3)
    return cfg


def test_group_0_is_all_but_bert_and_group_1_is_bert(cfg):
    model = Model()
    groups = build_optimizer(cfg, model).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [[names[id(parameter)] for parameter in group["params"]] for group in groups] == [
        ["featpool.weight", "featpool.bias", "text_encoder.fc_out1.weight", "text_encoder.fc_out1.bias"],
        ["text_encoder.bert.weight", "text_encoder.bert.bias"],
    ]


def test_optimizer_is_adamw_with_the_released_numbers(cfg):
    optimizer = build_optimizer(cfg, Model())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])
    for group in optimizer.param_groups:
        assert (group["betas"], group["weight_decay"], group["eps"]) == ((0.9, 0.99), 1e-5, 1e-8)


def test_milestone_lowers_the_rate_of_the_epoch_after_it(cfg):
    optimizer = build_optimizer(cfg, Model())
    scheduler = build_scheduler(cfg, optimizer)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [base for base, _ in rates] == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])
    assert [bert for _, bert in rates] == pytest.approx([0.01, 0.01, 0.001, 0.0001, 0.0001])


@pytest.mark.parametrize("epoch, factor", [(1, 1), (7, 1), (8, 0.01), (12, 0.01)])
def test_contrastive_losses_go_on_at_a_hundredth(cfg, epoch, factor):
    cfg.SOLVER.ONLY_IOU, cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT = 7, 0.05
    assert contrastive_weight(cfg, epoch) == pytest.approx(0.05 * factor)


def test_cosine_goes_from_the_full_rate_towards_zero(cfg):
    cfg.SOLVER.SCHEDULE, cfg.SOLVER.MAX_EPOCH = "cosine", 4
    optimizer = build_optimizer(cfg, Model())
    scheduler = build_scheduler(cfg, optimizer)
    rates = []
    for _ in range(5):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    factors = [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)]
    assert [base for base, _ in rates] == pytest.approx([0.1 * factor for factor in factors])
    assert [bert for _, bert in rates] == pytest.approx([0.01 * factor for factor in factors])


def test_rates_rise_in_equal_steps_over_the_warm_up(cfg):
    cfg.SOLVER.WARMUP_ITERS = 4
    assert [warmup_factor(cfg, step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_without_warm_up_the_factor_is_one(cfg):
    assert warmup_factor(cfg, 0) == 1


def test_rates_are_put_back_after_an_update_that_failed(cfg):
    optimizer = build_optimizer(cfg, Model())
    with pytest.raises(ZeroDivisionError), scaled_rates(optimizer, 0.5):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
        raise ZeroDivisionError
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize(
    ("sign", "val", "losses", "drops"),
    [
        ("released", ("val",), [3.0, 2.0, 1.0, 0.5], 3),  # lowered while the loss falls, an error kept on purpose
        ("released", ("val",), [1.0, 2.0, 3.0, 4.0], 0),
        ("fixed", ("val",), [3.0, 2.0, 1.0, 0.5], 0),
        ("fixed", ("val",), [1.0, 2.0, 3.0, 4.0], 3),
        ("fixed", (), [1.0, 2.0, 3.0, 4.0], 0),  # without a validation split the rate stays
    ],
)
def test_plateau_follows_the_validation_loss_by_its_sign(cfg, sign, val, losses, drops):
    cfg.SOLVER.SCHEDULE, cfg.SOLVER.PLATEAU_PATIENCE, cfg.SOLVER.PLATEAU_SIGN = "plateau", 0, sign
    cfg.DATASETS.VAL = val
    optimizer = build_optimizer(cfg, Model())
    scheduler = build_scheduler(cfg, optimizer)
    for loss in losses:
        step_after_epoch(scheduler)  # of which it knows nothing
        step_after_evaluation(cfg, scheduler, loss)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.8**drops)


def test_adam_has_its_own_numbers_whatever_those_of_adamw_are(cfg):
    cfg.SOLVER.OPTIMIZER = "adam"
    (group,) = build_single_group_optimizer(cfg, Model()).param_groups
    assert (group["betas"], group["weight_decay"], group["eps"], group["lr"]) == ((0.9, 0.999), 0, 1e-8, 0.1)
    assert len(group["params"]) == len(list(Model().parameters()))
