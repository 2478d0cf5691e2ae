"""What only a GPU can show. Without one these tests are skipped."""

import socket

import pytest
import torch
from tiny import random_batch

from mmn.data.prefetch import on_device
from mmn.engine.precision import set_deterministic
from mmn.engine.update import WeightUpdate
from mmn.modeling import build_criterion, build_model
from mmn.modeling.attention_mask import mask_of_pairs
from mmn.solver import MATCHING_RECIPE, build_optimizer
from mmn.utils import comm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
GPU = torch.device("cuda", 0)


@pytest.fixture
def update_on_gpu(tiny_cfg, tmp_path):
    def make():
        torch.manual_seed(0)
        tiny_cfg.OUTPUT_DIR = str(tmp_path)
        model = build_model(tiny_cfg).to(GPU)
        optimizer, criterion = build_optimizer(tiny_cfg, model), build_criterion(tiny_cfg)
        return WeightUpdate(tiny_cfg, MATCHING_RECIPE, model, criterion, optimizer, GPU)

    return make


def steps(update, number=3):
    update.begin_epoch(1)
    batch = random_batch([2, 1, 3], num_pre_clips=32).to(GPU)
    values = [update([batch], 1, "here") for _ in range(number)]
    update.guard.check()
    return [value["loss"].item() for value in values]


def test_batches_copied_beside_the_computation_arrive_whole():
    batches = [random_batch([2, 1, 3], seed=seed) for seed in range(5)]
    sums = [batch.feats.sum() for batch in on_device(batches, GPU)]
    assert [value.item() for value in sums] == pytest.approx([batch.feats.sum().item() for batch in batches], rel=1e-4)


def test_steps_on_the_gpu_are_those_of_the_cpu(update_on_gpu, tiny_cfg):
    update = update_on_gpu()
    losses = steps(update)
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    model = build_model(tiny_cfg)
    plain = WeightUpdate(
        tiny_cfg, MATCHING_RECIPE, model, build_criterion(tiny_cfg), build_optimizer(tiny_cfg, model), cpu
    )
    plain.begin_epoch(1)
    first = plain([random_batch([2, 1, 3], num_pre_clips=32)], 1, "here")
    assert losses[0] == pytest.approx(first["loss"].item(), rel=1e-3)


def test_overflow_of_the_scaled_loss_leaves_the_step_out_and_the_run_alive(update_on_gpu, tiny_cfg):
    tiny_cfg.SOLVER.AMP = "fp16"
    update = update_on_gpu()
    update.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    before = [parameter.detach().clone() for parameter in update.model.parameters()]
    steps(update, number=1)
    assert all(torch.equal(*pair) for pair in zip(before, update.model.parameters(), strict=True))
    assert update.scaler.get_scale() < 2.0**40


def test_deterministic_runs_are_equal_to_the_bit(update_on_gpu):
    set_deterministic(True)
    try:
        assert steps(update_on_gpu()) == steps(update_on_gpu())
    finally:
        set_deterministic(False)


def test_compiled_network_computes_what_the_plain_one_does(update_on_gpu, tiny_cfg):
    plain = steps(update_on_gpu())
    tiny_cfg.SOLVER.COMPILE = True
    assert steps(update_on_gpu()) == pytest.approx(plain, rel=1e-3)


def test_one_process_in_a_group_of_nccl_trains(update_on_gpu, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    comm.init_process_group(GPU, timeout_minutes=1)
    try:
        assert torch.isfinite(comm.sum_over_processes(torch.ones(2, device=GPU))).all()
        assert comm.row_counts(4) == [4]
        assert len(steps(update_on_gpu())) == 3
    finally:
        comm.destroy_process_group()


def test_mask_of_pairs_gives_the_states_of_the_mask_of_tokens(tiny_cfg):
    encoder = build_model(tiny_cfg).text_encoder.eval().to(GPU)
    batch = random_batch([2, 1, 3]).to(GPU)
    assert encoder.takes_pairs
    hidden = encoder.bert(input_ids=batch.tokens, attention_mask=mask_of_pairs(batch.token_mask)).last_hidden_state
    plain = encoder.bert(input_ids=batch.tokens, attention_mask=batch.token_mask).last_hidden_state
    real = batch.token_mask.bool()
    torch.testing.assert_close(hidden[real], plain[real], atol=1e-4, rtol=1e-4)
