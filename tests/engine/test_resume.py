"""Runs that go on: to the bit, inside an epoch too, and with what only some configs have."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tiny import tiny_config

from mmn.apps.benchmark.chaos import differing
from mmn.engine import run
from mmn.engine.trainer import Trainer
from mmn.engine.update import WeightUpdate
from mmn.modeling import build_model
from mmn.utils import preemption
from mmn.utils.checkpoint import CheckpointFolder, load_checkpoint
from mmn.utils.errors import CheckpointError, Preempted
from mmn.utils.logger import get_logger
from mmn.utils.seed import seed_everything

CPU = torch.device("cpu")


def train(dataset_root, folder, *options, seed=0):
    """A run of the real pipeline on the tiny dataset; returns the content of its last checkpoint."""
    cfg = tiny_config(dataset_root, folder, "SOLVER.MILESTONES", "(2,)", "SOLVER.FREEZE_BERT", "1", *options)
    Path(folder).mkdir(exist_ok=True)
    seed_everything(seed)
    run.train(cfg, CPU)
    return load_checkpoint(f"{folder}/pool_model_{cfg.SOLVER.MAX_EPOCH}e.pth")


def train_rows(folder):
    rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    timed = ("videos_per_s", "data_wait", "memory_mb")
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(dataset_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, train(dataset_root, folder, "SOLVER.MAX_EPOCH", "4")


def assert_same_state(one, other):
    assert one["model"].keys() == other["model"].keys()
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())
    for index, state in one["optimizer"]["state"].items():
        assert all(torch.equal(value, other["optimizer"]["state"][index][name]) for name, value in state.items())
    assert one["scheduler"] == other["scheduler"]


def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(dataset_root, uninterrupted, tmp_path):
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2")
    resumed = train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "4", "SOLVER.RESUME", "True", seed=99)
    assert_same_state(resumed, uninterrupted[1])
    assert train_rows(tmp_path) == train_rows(uninterrupted[0])


def test_loader_workers_change_no_number_of_a_resumed_run(dataset_root, uninterrupted, tmp_path):
    """Workers start anew at a resume: what starting them draws must not come from the generator that dropout uses."""
    options = ["DATALOADER.NUM_WORKERS", "1"]
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2", *options)
    resumed = train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "4", "SOLVER.RESUME", "True", *options, seed=99)
    whole = train(dataset_root, tmp_path / "whole", "SOLVER.MAX_EPOCH", "4", *options)
    assert_same_state(resumed, whole)
    assert_same_state(whole, uninterrupted[1])


def test_resume_epoch_goes_back_to_the_end_of_the_epoch_before(dataset_root, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted[0], tmp_path, dirs_exist_ok=True)
    options = ["SOLVER.RESUME", "True", "SOLVER.RESUME_EPOCH", "3", "SOLVER.MAX_EPOCH", "4"]
    assert_same_state(train(dataset_root, tmp_path, *options, seed=99), uninterrupted[1])
    assert train_rows(tmp_path) == train_rows(uninterrupted[0])


def test_resume_without_a_checkpoint_starts_afresh(dataset_root, uninterrupted, tmp_path):
    options = ["SOLVER.RESUME", "True", "SOLVER.MAX_EPOCH", "4"]
    assert_same_state(train(dataset_root, tmp_path, *options), uninterrupted[1])


@pytest.mark.parametrize("content", ["model and epoch", "bare state dict"])
def test_released_resume_epoch_loads_weights_alone_and_advances_the_schedule(
    dataset_root, uninterrupted, tmp_path, content
):
    """SPEC section 4: load `pool_model_<r-1>e.pth`, advance the schedule r - 1 times, begin at epoch r."""
    weights = load_checkpoint(f"{uninterrupted[0]}/pool_model_2e.pth")["model"]
    torch.save(
        {"model": weights, "epoch": 2} if content == "model and epoch" else weights, tmp_path / "pool_model_2e.pth"
    )
    train(dataset_root, tmp_path, "SOLVER.RESUME", "True", "SOLVER.RESUME_EPOCH", "3", "SOLVER.MAX_EPOCH", "3")
    (row,) = [row for row in train_rows(tmp_path) if row["kind"] == "train"]
    assert row["epoch"] == 3
    assert row["lr"] == pytest.approx(0.0002)  # milestone 2 has passed


def test_initial_weights_start_a_new_run(dataset_root, uninterrupted, tmp_path):
    path = f"{uninterrupted[0]}/pool_model_4e.pth"
    end = train(dataset_root, tmp_path, "SOLVER.INIT_WEIGHTS", path, "SOLVER.MAX_EPOCH", "1", "SOLVER.LR", "1e-9")
    assert end["epoch"] == 1
    wanted = uninterrupted[1]["model"]
    for name, value in end["model"].items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-6)


# ---- Inside an epoch ---------------------------------------------------------------------------------------------------

INSIDE = [
    "SOLVER.MAX_EPOCH",
    "3",
    "SOLVER.LOG_PERIOD",
    "2",
    "SOLVER.CHECKPOINT_PERIOD",
    "3",
    "SOLVER.CHECKPOINT_ITERS",
    "1",
]


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


def kill_at(monkeypatch, method, count):
    """Let the run end when a method of the trainer, or of its updates, is called for the count-th time."""
    calls, owner = [], WeightUpdate if method == "__call__" else Trainer
    original = getattr(owner, method)

    def dying(self, *args):
        calls.append(method)
        if len(calls) == count:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(owner, method, dying)


@pytest.fixture(scope="module")
def inside(dataset_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    return folder, train(dataset_root, folder, *INSIDE)


@pytest.mark.parametrize(
    "method, count",
    [
        ("__call__", 2),
        ("__call__", 5),
        ("_save_last", 4),
        ("_evaluate", 2),
        ("_finish_epoch", 1),
        ("_save", 1),
    ],
)
def test_run_killed_anywhere_ends_as_the_undisturbed_one(dataset_root, inside, tmp_path, monkeypatch, method, count):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, method, count)
        train(dataset_root, tmp_path, *INSIDE, "SOLVER.RESUME", "True")
    resumed = train(dataset_root, tmp_path, *INSIDE, "SOLVER.RESUME", "True", seed=0 if count == 1 else 99)
    assert_same_state(resumed, inside[1])
    assert train_rows(tmp_path) == train_rows(inside[0])
    best, wanted = (load_checkpoint(f"{folder}/pool_model_best.pth") for folder in (tmp_path, inside[0]))
    assert not list(differing({**best, "config": 0}, {**wanted, "config": 0}))


def test_other_batches_begin_the_epoch_again_and_say_so(dataset_root, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "__call__", 5)
        train(dataset_root, tmp_path, *INSIDE)
    monkeypatch.setattr(get_logger(), "propagate", True)
    train(dataset_root, tmp_path, *INSIDE, "SOLVER.RESUME", "True", "SOLVER.BATCH_SIZE", "1")
    assert "epoch 2 begins again" in caplog.text


def test_signal_saves_the_run_and_ends_it(dataset_root, inside, tmp_path, monkeypatch):
    options = [*INSIDE, "SOLVER.CHECKPOINT_ITERS", "0"]
    monkeypatch.setattr(preemption, "_received", [signal.SIGUSR1])
    with pytest.raises(Preempted, match="SIGUSR1 stopped the run after epoch 0 and 1 iterations.*SOLVER.RESUME True"):
        train(dataset_root, tmp_path, *options)
    monkeypatch.setattr(preemption, "_received", [])
    assert_same_state(train(dataset_root, tmp_path, *options, "SOLVER.RESUME", "True", seed=99), inside[1])


def test_restart_by_torchrun_resumes_by_itself(dataset_root, tmp_path, monkeypatch):
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2")
    assert [row["epoch"] for row in train_rows(tmp_path)] == [1, 1, 2, 2]


def test_new_run_in_a_used_folder_is_not_mixed_up_with_the_old_one(dataset_root, tmp_path, monkeypatch):
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "__call__", 1)
        train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2")
    assert CheckpointFolder(str(tmp_path), "pool").last_path() is None
    assert (tmp_path / "pool_model_best_previous.pth").exists()


def weights_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_average_is_what_is_evaluated_and_saved(dataset_root, tmp_path, monkeypatch):
    seen, predict = [], run.predict
    monkeypatch.setattr(run, "predict", lambda model, *args: seen.append(weights_of(model)) or predict(model, *args))
    end = train(dataset_root, tmp_path, "SOLVER.EMA_DECAY", "0.9")
    names = [name for name, _ in build_model(tiny_config(dataset_root, tmp_path)).named_parameters()]
    assert all(torch.equal(end["model"][name], value) for name, value in zip(names, seen[-1], strict=True))
    assert any(not torch.equal(end["model"][name], end["training_model"][name]) for name in names)
    best = load_checkpoint(f"{tmp_path}/pool_model_best.pth")
    evaluated = seen[best["best_epoch"] - 1]
    assert all(torch.equal(best["model"][name], value) for name, value in zip(names, evaluated, strict=True))


FACTORS = [
    *INSIDE,
    *("SOLVER.EMA_DECAY", "0.9", "SOLVER.WARMUP_ITERS", "5", "SOLVER.SCHEDULE", "cosine"),
    *("MODEL.MMN.LOSS.MEMORY_BANK", "3", "MODEL.MMN.TEXT_ENCODER.TRAIN_LAYERS", "1"),
]


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_run_with_a_state_of_its_own_ends_as_the_undisturbed_one(dataset_root, tmp_path, monkeypatch, amp):
    options = [*FACTORS, "SOLVER.AMP", amp]
    wanted = train(dataset_root, tmp_path / "whole", *options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, "__call__", 5)
        train(dataset_root, tmp_path / "killed", *options, "SOLVER.RESUME", "True")
    resumed = train(dataset_root, tmp_path / "killed", *options, "SOLVER.RESUME", "True", seed=99)
    assert {"training_model", "num_averaged", "memory_bank"} <= resumed.keys()
    assert ("loss_scaler" in resumed) is (amp == "fp16")
    assert not list(differing({**resumed, "config": 0}, {**wanted, "config": 0}))
    assert train_rows(tmp_path / "killed") == train_rows(tmp_path / "whole")


def test_resuming_without_the_state_says_what_starts_afresh(dataset_root, tmp_path, monkeypatch, caplog):
    weights = train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "1")["model"]
    torch.save({"model": weights, "epoch": 1}, tmp_path / "pool_model_1e.pth")
    monkeypatch.setattr(get_logger(), "propagate", True)
    train(dataset_root, tmp_path, *FACTORS, "SOLVER.RESUME", "True")
    assert "no average of weights" in caplog.text
    assert "no memory bank" in caplog.text


def test_checkpoint_without_an_epoch_asks_for_one(dataset_root, tmp_path):
    train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "1")
    path = tmp_path / "pool_model_1e.pth"
    torch.save(load_checkpoint(str(path))["model"], path)
    with pytest.raises(CheckpointError, match="does not say its epoch: give SOLVER.RESUME_EPOCH"):
        train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2", "SOLVER.RESUME", "True")
