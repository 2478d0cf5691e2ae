"""One update of the weights: losses, clipping, steps that are not finite, averages, number formats."""

import pytest
import torch

from mmn.utils.errors import UserError


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def weights_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_names_the_videos_and_keeps_the_weights(make_update, batch, value):
    update = make_update()
    before = {name: parameter.clone() for name, parameter in update.model.named_parameters()}
    batch.feats[1] = value
    with pytest.raises(UserError, match="epoch 3, iteration 4.*video_0, video_1, video_2"):
        update([batch], 1, "epoch 3, iteration 4")
    assert all(torch.equal(parameter, before[name]) for name, parameter in update.model.named_parameters())


def test_step_reports_the_weighted_sum_and_the_norm_before_clipping(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 1e-3
    update = make_update()
    values = update([batch], 1, "here")
    assert values["loss"].item() == pytest.approx((values["iou"] + 0.1 * (values["vid"] + values["sent"])).item())
    assert values["grad_norm"] > 1e-2
    gradients = [parameter.grad for parameter in update.model.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_frozen_text_encoder_takes_no_gradient_and_no_update(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.FREEZE_BERT = 2
    update = make_update()
    bert = update.model.text_encoder.bert
    before = copy_of(bert)
    for epoch in (1, 2):
        update.begin_epoch(epoch)
        update([batch], epoch, "here")
    assert all(torch.equal(value, before[name]) for name, value in bert.state_dict().items())
    assert all(parameter.grad is None for parameter in bert.parameters())
    update.begin_epoch(3)
    update([batch], 3, "here")
    assert not torch.equal(bert.get_input_embeddings().weight, before["embeddings.word_embeddings.weight"])


def test_training_lowers_the_loss(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.LR = 0.01
    update = make_update()
    losses = [update([batch], 1, "here")["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_accumulating_equal_parts_gives_the_gradient_of_one(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 1e9
    once, twice = make_update(), make_update()
    twice.model.load_state_dict(once.model.state_dict())
    for update in (once, twice):
        update.model.eval()  # batch statistics of the two parts would be updated twice
    alone, halves = once([batch], 1, "here"), twice([batch, batch], 1, "here")
    assert halves["loss"].item() == pytest.approx(alone["loss"].item(), rel=1e-6)
    assert halves["grad_norm"].item() == pytest.approx(alone["grad_norm"].item(), rel=1e-5)


def test_bfloat16_step_is_near_the_float32_one(make_update, batch, tiny_cfg):
    exact, rounded = make_update(), make_update()
    rounded.model.load_state_dict(exact.model.state_dict())
    wanted = exact([batch], 1, "here")
    tiny_cfg.SOLVER.AMP = "bf16"
    values = rounded([batch], 1, "here")
    assert values["loss"].dtype == torch.float32
    assert values["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert values["loss"].item() != wanted["loss"].item()
    assert all(parameter.dtype == torch.float32 for parameter in rounded.model.parameters())


def test_batch_of_a_non_finite_step_is_written(make_update, batch, tiny_cfg):
    update = make_update()
    batch.feats[1] = float("nan")
    with pytest.raises(UserError, match="nonfinite_batch.pt"):
        update([batch], 1, "here")
    content = torch.load(f"{tiny_cfg.OUTPUT_DIR}/nonfinite_batch.pt", weights_only=True)
    assert content["parts"][0]["video_ids"] == batch.video_ids
    assert torch.equal(content["parts"][0]["feats"].isnan(), batch.feats.isnan())


def test_skipping_leaves_weights_and_statistics_and_counts(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.SKIP_NONFINITE = True
    update = make_update()
    before = copy_of(update.model)
    batch.feats[1] = float("nan")
    assert update([batch], 1, "here") is None
    assert all(torch.equal(value, before[name]) for name, value in update.model.state_dict().items())
    assert update.guard.num_skipped == 1


def test_losses_are_weighed_one_by_one(make_update, batch, tiny_cfg):
    loss = tiny_cfg.MODEL.MMN.LOSS
    loss.VIDEO_TO_SENTENCE_WEIGHT, loss.SENTENCE_TO_VIDEO_WEIGHT, loss.IOU_WEIGHT = 3.0, 0.5, 2.0
    values = make_update()([batch], 1, "here")
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
def test_head_of_a_loss_that_is_off_has_gradient_zero(make_update, batch, tiny_cfg, off, untouched):
    for key in off:
        tiny_cfg.MODEL.MMN.LOSS[key] = 0.0
    update = make_update()
    update([batch], 1, "here")
    for name, parameter in update.model.named_parameters():
        is_head = "conv1x1" in name or "fc_out" in name
        assert bool(parameter.grad.any()) is not name.startswith(tuple(untouched)) or not is_head


def test_average_follows_the_weights(make_update, batch, tiny_cfg):
    """a_1 = w_1, a_t = d a_(t-1) + (1 - d) w_t."""
    tiny_cfg.SOLVER.EMA_DECAY = 0.75
    update = make_update()
    wanted = None
    for _ in range(4):
        update([batch], 1, "here")
        weights = weights_of(update.model)
        if wanted is not None:
            weights = [0.75 * old + 0.25 * new for old, new in zip(wanted, weights, strict=True)]
        wanted = weights
    for average, naive in zip(weights_of(update.evaluated), wanted, strict=True):
        torch.testing.assert_close(average, naive, rtol=1e-5, atol=1e-7)


def test_average_takes_no_part_in_a_skipped_step(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.EMA_DECAY, tiny_cfg.SOLVER.SKIP_NONFINITE = 0.5, True
    tiny_cfg.MODEL.MMN.LOSS.MEMORY_BANK = 4
    update = make_update()
    batch.feats[1] = float("nan")
    assert update([batch], 1, "here") is None
    assert update.average.n_averaged == 0
    assert update.memory.content is None


def test_clipping_is_off_at_0(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.CLIP_GRAD_NORM = 0.0
    update = make_update()
    norm = update([batch], 1, "here")["grad_norm"]
    gradients = torch.cat([parameter.grad.flatten() for parameter in update.model.parameters()])
    assert gradients.double().norm().item() == pytest.approx(norm.item(), rel=1e-4)


def test_float16_step_is_near_the_float32_one(make_update, batch, tiny_cfg):
    exact = make_update()
    tiny_cfg.SOLVER.AMP = "fp16"
    rounded = make_update()
    tiny_cfg.SOLVER.AMP = "off"
    rounded.model.load_state_dict(exact.model.state_dict())
    wanted = exact([batch], 1, "here")
    tiny_cfg.SOLVER.AMP = "fp16"
    rounded.scaler = torch.amp.GradScaler("cpu", init_scale=128)
    values = rounded([batch], 1, "here")
    assert values["loss"].dtype == torch.float32
    assert values["loss"].item() == pytest.approx(wanted["loss"].item(), rel=0.05)
    assert values["grad_norm"].item() == pytest.approx(wanted["grad_norm"].item(), rel=0.2)
    assert values["loss_scale"].item() == 128


def test_overflow_of_the_scaled_loss_is_no_fault_and_lowers_the_scale(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.AMP = "fp16"
    update = make_update()
    update.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    before = weights_of(update.model)
    values = update([batch], 1, "here")
    assert values["grad_norm"] == 0
    assert all(torch.equal(*pair) for pair in zip(weights_of(update.model), before, strict=True))
    assert update.scaler.get_scale() == 2.0**125


def test_scaled_loss_that_is_not_finite_is_still_a_fault(make_update, batch, tiny_cfg):
    tiny_cfg.SOLVER.AMP = "fp16"
    update = make_update()
    batch.feats[1] = float("nan")
    with pytest.raises(UserError, match="not finite at here"):
        update([batch], 1, "here")
