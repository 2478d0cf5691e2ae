"""The training loop: periods, logging, the best checkpoint."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmn.engine.trainer import Trainer, in_groups
from mmn.solver import build_scheduler
from mmn.utils.checkpoint import load_checkpoint


class OneBatch:
    def __init__(self, batch):
        self.batch = batch
        self.sampler = SimpleNamespace(epoch=0)

    def __len__(self):
        return 1

    def __iter__(self):
        yield self.batch


@pytest.fixture
def make_trainer(tiny_cfg, batch, make_update):
    def make(evaluate=lambda network: {"Best_R1": 0.5}, facts=None):
        update = make_update()
        return Trainer(tiny_cfg, update, build_scheduler(tiny_cfg, update.optimizer), OneBatch(batch), evaluate, facts)

    return make


def rows_of(folder, kind):
    rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"].startswith(kind)]


def epochs_in(folder, kind):
    return [row["epoch"] for row in rows_of(folder, kind)]


def test_batches_of_the_loader_are_accumulated_to_steps():
    assert list(in_groups(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_periods_decide_when_to_test_and_to_save(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.MAX_EPOCH, tiny_cfg.SOLVER.CHECKPOINT_PERIOD = 7, 3
    tiny_cfg.SOLVER.TEST_PERIOD, tiny_cfg.SOLVER.SKIP_TEST = 2, 4
    make_trainer().train()
    assert epochs_in(tiny_cfg.OUTPUT_DIR, "train") == [1, 2, 3, 4, 5, 6, 7]
    assert epochs_in(tiny_cfg.OUTPUT_DIR, "eval") == [4, 6]
    saved = {path.name for path in Path(tiny_cfg.OUTPUT_DIR).glob("*.pth")}
    assert saved == {"pool_model_best.pth", *(f"pool_model_{epoch}e.pth" for epoch in (3, 6, 7))}


def test_best_checkpoint_is_the_first_with_the_highest_metric(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.MAX_EPOCH = 4
    metrics = iter([0.1, 0.4, 0.2, 0.4])
    make_trainer(lambda network: {"Best_R1": next(metrics)}).train()
    best = load_checkpoint(f"{tiny_cfg.OUTPUT_DIR}/pool_model_best.pth")
    assert (best["epoch"], best["best_epoch"], best["best_metric"]) == (2, 2, 0.4)


def test_sampler_is_told_the_epoch(make_trainer):
    trainer = make_trainer()
    trainer.train()
    assert trainer.loader.sampler.epoch == 2


def test_checkpoint_has_all_that_continuing_needs_and_loads_safely(make_trainer, tiny_cfg):
    make_trainer().train()
    content = torch.load(f"{tiny_cfg.OUTPUT_DIR}/pool_model_2e.pth", weights_only=True)
    assert content.keys() >= {"model", "optimizer", "scheduler", "epoch", "rng", "config", "best_metric"}


def test_checkpoints_carry_the_facts_about_the_training_data(make_trainer, tiny_cfg):
    facts = {"train_durations": {"median": 40.5, "longest": 61.0}}
    make_trainer(facts=facts).train()
    content = torch.load(f"{tiny_cfg.OUTPUT_DIR}/pool_model_2e.pth", weights_only=True)
    assert content.items() >= facts.items()


def test_count_of_skipped_steps_is_logged(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.SKIP_NONFINITE = True
    batch.feats[1] = float("nan")
    make_trainer().train()
    assert [row["num_skipped"] for row in rows_of(tiny_cfg.OUTPUT_DIR, "train")] == [1, 2]


def test_warm_up_scales_the_rates_of_the_updates_alone(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.WARMUP_ITERS, tiny_cfg.SOLVER.MAX_EPOCH = 4, 6  # one iteration per epoch
    trainer = make_trainer()
    used = []
    trainer.update.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    rates = [group["lr"] for group in trainer.update.optimizer.param_groups]
    trainer.train()
    factors = [0.25, 0.5, 0.75, 1, 1, 1]
    assert used == [pytest.approx([factor * rate for rate in rates]) for factor in factors]
    assert [group["lr"] for group in trainer.update.optimizer.param_groups] == rates


def test_logged_rate_is_the_one_of_the_last_update(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.WARMUP_ITERS = 4
    make_trainer().train()  # one iteration per epoch
    rates = [row["lr"] for row in rows_of(tiny_cfg.OUTPUT_DIR, "train")]
    assert rates == pytest.approx([0.25 * tiny_cfg.SOLVER.LR, 0.5 * tiny_cfg.SOLVER.LR])
