"""The training loop: steps, phases, checkpoints and resuming."""

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import random_batch, tiny_config

from mmn.apps.benchmark.chaos import differing
from mmn.engine import run
from mmn.engine.trainer import Trainer, in_groups
from mmn.modeling import build_criterion, build_model
from mmn.solver import build_average, build_optimizer, build_scheduler, set_text_encoder_frozen
from mmn.utils import preemption
from mmn.utils.checkpoint import CheckpointFolder, load_checkpoint
from mmn.utils.errors import Preempted, UserError
from mmn.utils.logger import get_logger
from mmn.utils.seed import seed_everything

CPU = torch.device("cpu")


class OneBatch:
    def __init__(self, batch):
        self.batch = batch
        self.sampler = SimpleNamespace(epoch=0)

    def __len__(self):
        return 1

    def __iter__(self):
        yield self.batch


@pytest.fixture
def batch():
    return random_batch([2, 1, 3], num_pre_clips=32)


@pytest.fixture
def make_trainer(tiny_cfg, batch):
    def make(evaluate=lambda: {"Best_R1": 0.5}, facts=None):
        model = build_model(tiny_cfg)
        optimizer = build_optimizer(tiny_cfg, model)
        scheduler = build_scheduler(tiny_cfg, optimizer)
        criterion = build_criterion(tiny_cfg)
        Path(tiny_cfg.OUTPUT_DIR).mkdir(exist_ok=True)
        average = build_average(tiny_cfg, model)
        loader = OneBatch(batch)
        return Trainer(
            tiny_cfg, model, criterion, optimizer, scheduler, loader, evaluate, CPU, average=average, facts=facts
        )

    return make


def copy_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


# ---- Steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_videos_and_keeps_the_weights(make_trainer, batch, value):
    trainer = make_trainer()
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    batch.feats[1] = value
    with pytest.raises(UserError, match="epoch 3, iteration 4.*video_0, video_1, video_2"):
        trainer.train_step([batch], 0.1, "epoch 3, iteration 4")
    assert all(torch.equal(parameter, before[name]) for name, parameter in trainer.model.named_parameters())


def test_step_reports_the_weighted_sum_and_the_norm_before_clipping(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 1e-3
    trainer = make_trainer()
    values = trainer.train_step([batch], 0.1, "here")
    assert values["loss"].item() == pytest.approx((values["iou"] + 0.1 * (values["vid"] + values["sent"])).item())
    assert values["grad_norm"] > 1e-2
    gradients = [parameter.grad for parameter in trainer.model.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_frozen_text_encoder_takes_no_gradient_and_no_update(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.FREEZE_BERT = 2
    trainer = make_trainer()
    bert = trainer.model.text_encoder.bert
    before = copy_of(bert)
    for epoch in (1, 2):
        set_text_encoder_frozen(tiny_cfg, trainer.model, epoch)
        trainer.train_step([batch], 0.1, "here")
    assert all(torch.equal(value, before[name]) for name, value in bert.state_dict().items())
    assert all(parameter.grad is None for parameter in bert.parameters())
    set_text_encoder_frozen(tiny_cfg, trainer.model, 3)
    trainer.train_step([batch], 0.1, "here")
    assert not torch.equal(bert.get_input_embeddings().weight, before["embeddings.word_embeddings.weight"])


def test_training_lowers_the_loss(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.LR = 0.01
    trainer = make_trainer()
    losses = [trainer.train_step([batch], 0.1, "here")["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_accumulating_equal_parts_gives_the_gradient_of_one(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 1e9
    once, twice = make_trainer(), make_trainer()
    twice.model.load_state_dict(once.model.state_dict())
    for trainer in (once, twice):
        trainer.model.eval()  # batch statistics of the two parts would be updated twice
    alone, halves = once.train_step([batch], 0.1, "here"), twice.train_step([batch, batch], 0.1, "here")
    assert halves["loss"].item() == pytest.approx(alone["loss"].item(), rel=1e-6)
    assert halves["grad_norm"].item() == pytest.approx(alone["grad_norm"].item(), rel=1e-5)


def test_batches_of_the_loader_are_accumulated_to_steps():
    assert list(in_groups(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_bfloat16_step_is_near_the_float32_one(make_trainer, batch, tiny_cfg):
    exact, rounded = make_trainer(), make_trainer()
    rounded.model.load_state_dict(exact.model.state_dict())
    wanted = exact.train_step([batch], 0.1, "here")
    tiny_cfg.SOLVER.AMP = "bf16"
    values = rounded.train_step([batch], 0.1, "here")
    assert values["loss"].dtype == torch.float32
    assert values["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert values["loss"].item() != wanted["loss"].item()
    assert all(parameter.dtype == torch.float32 for parameter in rounded.model.parameters())


# ---- The loop --------------------------------------------------------------------------------------------------------


def epochs_in(folder, kind):
    rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [row["epoch"] for row in rows if row["kind"].startswith(kind)]


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
    make_trainer(lambda: {"Best_R1": next(metrics)}).train()
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


# ---- Resuming --------------------------------------------------------------------------------------------------------


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
    """Let the run end when Trainer.`method` is called for the count-th time."""
    calls = []
    original = getattr(Trainer, method)

    def dying(self, *args):
        calls.append(method)
        if len(calls) == count:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Trainer, method, dying)


@pytest.fixture(scope="module")
def inside(dataset_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    return folder, train(dataset_root, folder, *INSIDE)


@pytest.mark.parametrize(
    "method, count",
    [
        ("train_step", 2),
        ("train_step", 5),
        ("_save_last", 4),
        ("_evaluate_epoch", 2),
        ("_finish_epoch", 1),
        ("save", 1),
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
        kill_at(patch, "train_step", 5)
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
        kill_at(patch, "train_step", 1)
        train(dataset_root, tmp_path, "SOLVER.MAX_EPOCH", "2")
    assert CheckpointFolder(str(tmp_path), "pool").last_path() is None
    assert (tmp_path / "pool_model_best_previous.pth").exists()


# ---- Steps that are not finite -----------------------------------------------------------------------------------------


def test_batch_of_a_non_finite_step_is_written(make_trainer, batch, tiny_cfg):
    trainer = make_trainer()
    batch.feats[1] = float("nan")
    with pytest.raises(UserError, match="nonfinite_batch.pt"):
        trainer.train_step([batch], 0.1, "here")
    content = torch.load(f"{tiny_cfg.OUTPUT_DIR}/nonfinite_batch.pt", weights_only=True)
    assert content["parts"][0]["video_ids"] == batch.video_ids
    assert torch.equal(content["parts"][0]["feats"].isnan(), batch.feats.isnan())


def test_skipping_leaves_weights_and_statistics_and_counts(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.SKIP_NONFINITE = True
    trainer = make_trainer()
    before = copy_of(trainer.model)
    batch.feats[1] = float("nan")
    assert trainer.train_step([batch], 0.1, "here") is None
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.guard.num_skipped == 1


def test_count_of_skipped_steps_is_logged(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.SKIP_NONFINITE = True
    batch.feats[1] = float("nan")
    make_trainer().train()
    assert [row["num_skipped"] for row in train_rows(tiny_cfg.OUTPUT_DIR) if row["kind"] == "train"] == [1, 2]


# ---- Factors -----------------------------------------------------------------------------------------------------------


def weights_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_losses_are_weighed_one_by_one(make_trainer, batch, tiny_cfg):
    loss = tiny_cfg.MODEL.MMN.LOSS
    loss.VIDEO_TO_SENTENCE_WEIGHT, loss.SENTENCE_TO_VIDEO_WEIGHT, loss.IOU_WEIGHT = 3.0, 0.5, 2.0
    values = make_trainer().train_step([batch], 0.1, "here")
    wanted = 2 * values["iou"] + 0.1 * (3 * values["vid"] + 0.5 * values["sent"])
    assert values["loss"].item() == pytest.approx(wanted.item())


@pytest.mark.parametrize(
    "off, untouched",
    [
        (["IOU_WEIGHT"], ["proposal_conv.conv1x1_iou", "text_encoder.fc_out1"]),
        (
            ["VIDEO_TO_SENTENCE_WEIGHT", "SENTENCE_TO_VIDEO_WEIGHT"],
            ["proposal_conv.conv1x1_contrastive", "text_encoder.fc_out2"],
        ),
    ],
)
def test_head_of_a_loss_that_is_off_has_gradient_zero(make_trainer, batch, tiny_cfg, off, untouched):
    for key in off:
        tiny_cfg.MODEL.MMN.LOSS[key] = 0.0
    trainer = make_trainer()
    trainer.train_step([batch], 0.1, "here")
    for name, parameter in trainer.model.named_parameters():
        is_head = "conv1x1" in name or "fc_out" in name
        assert bool(parameter.grad.any()) is not name.startswith(tuple(untouched)) or not is_head


def test_average_follows_the_weights(make_trainer, batch, tiny_cfg):
    """a_1 = w_1, a_t = d a_(t-1) + (1 - d) w_t."""
    tiny_cfg.SOLVER.EMA_DECAY = 0.75
    trainer = make_trainer()
    wanted = None
    for _ in range(4):
        trainer.train_step([batch], 0.1, "here")
        weights = weights_of(trainer.model)
        if wanted is not None:
            weights = [0.75 * old + 0.25 * new for old, new in zip(wanted, weights, strict=True)]
        wanted = weights
    for average, naive in zip(weights_of(trainer.evaluated), wanted, strict=True):
        torch.testing.assert_close(average, naive, rtol=1e-5, atol=1e-7)


def test_average_takes_no_part_in_a_skipped_step(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.EMA_DECAY, tiny_cfg.SOLVER.SKIP_NONFINITE = 0.5, True
    tiny_cfg.MODEL.MMN.LOSS.MEMORY_BANK = 4
    trainer = make_trainer()
    batch.feats[1] = float("nan")
    assert trainer.train_step([batch], 0.1, "here") is None
    assert trainer.average.n_averaged == 0
    assert trainer.memory.content is None


def test_average_is_what_is_evaluated_and_saved(dataset_root, tmp_path, monkeypatch):
    seen = []
    predict = run.predict
    monkeypatch.setattr(run, "predict", lambda model, *args: seen.append(weights_of(model)) or predict(model, *args))
    end = train(dataset_root, tmp_path, "SOLVER.EMA_DECAY", "0.9")
    names = [name for name, _ in build_model(tiny_config(dataset_root, tmp_path)).named_parameters()]
    assert all(torch.equal(end["model"][name], value) for name, value in zip(names, seen[-1], strict=True))
    assert any(not torch.equal(end["model"][name], end["training_model"][name]) for name in names)
    best = load_checkpoint(f"{tmp_path}/pool_model_best.pth")
    evaluated = seen[best["best_epoch"] - 1]
    assert all(torch.equal(best["model"][name], value) for name, value in zip(names, evaluated, strict=True))


def test_warm_up_scales_the_rates_of_the_updates_alone(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.WARMUP_ITERS, tiny_cfg.SOLVER.MAX_EPOCH = 4, 6  # one iteration per epoch
    trainer = make_trainer()
    used = []
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    trainer.train()
    factors = [0.25, 0.5, 0.75, 1, 1, 1]
    assert used == [pytest.approx([factor * rate for rate in rates]) for factor in factors]
    assert [group["lr"] for group in trainer.optimizer.param_groups] == rates


def test_logged_rate_is_the_one_of_the_last_update(make_trainer, tiny_cfg):
    tiny_cfg.SOLVER.WARMUP_ITERS = 4
    make_trainer().train()  # one iteration per epoch
    rates = [row["lr"] for row in train_rows(tiny_cfg.OUTPUT_DIR) if row["kind"] == "train"]
    assert rates == pytest.approx([0.25 * tiny_cfg.SOLVER.LR, 0.5 * tiny_cfg.SOLVER.LR])


def test_clipping_is_off_at_0(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 0.0
    trainer = make_trainer()
    norm = trainer.train_step([batch], 0.1, "here")["grad_norm"]
    gradients = torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])
    assert gradients.double().norm().item() == pytest.approx(norm.item(), rel=1e-4)


def test_float16_step_is_near_the_float32_one(make_trainer, batch, tiny_cfg):
    exact = make_trainer()
    tiny_cfg.SOLVER.AMP = "fp16"
    rounded = make_trainer()
    tiny_cfg.SOLVER.AMP = "off"
    rounded.model.load_state_dict(exact.model.state_dict())
    wanted = exact.train_step([batch], 0.1, "here")
    tiny_cfg.SOLVER.AMP = "fp16"
    rounded.scaler = torch.amp.GradScaler("cpu", init_scale=128)
    values = rounded.train_step([batch], 0.1, "here")
    assert values["loss"].dtype == torch.float32
    assert values["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert values["grad_norm"].item() == pytest.approx(wanted["grad_norm"].item(), rel=0.2)
    assert values["loss_scale"].item() == 128


def test_overflow_of_the_scaled_loss_is_no_fault_and_lowers_the_scale(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.AMP = "fp16"
    trainer = make_trainer()
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    before = weights_of(trainer.model)
    values = trainer.train_step([batch], 0.1, "here")
    assert values["grad_norm"] == 0
    assert all(torch.equal(*pair) for pair in zip(weights_of(trainer.model), before, strict=True))
    assert trainer.scaler.get_scale() == 2.0**125


def test_scaled_loss_that_is_not_finite_is_still_a_fault(make_trainer, batch, tiny_cfg):
    tiny_cfg.SOLVER.AMP = "fp16"
    trainer = make_trainer()
    batch.feats[1] = float("nan")
    with pytest.raises(UserError, match="not finite at here"):
        trainer.train_step([batch], 0.1, "here")


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
        kill_at(patch, "train_step", 5)
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
