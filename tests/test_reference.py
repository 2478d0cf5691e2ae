"""The package is held to `mmn.reference`, which tests/test_parity.py holds to the outputs of the released program."""

import ast
from pathlib import Path

import pytest
import torch
from tiny import random_batch
from torch.testing import assert_close

from mmn import reference
from mmn.apps.benchmark.reference_arguments import reference_params, reference_settings, reference_videos
from mmn.data.features import resample_clips
from mmn.evaluation.inference import MomentRanker
from mmn.modeling import build_criterion, build_model, build_proposal_cells

COUNTS = [3, 1, 2]  # sentences of the batch's videos


@pytest.fixture(params=["dense", "fast"])
def cfg(tiny_cfg, request):
    """A small model whose values differ from the defaults, and from each other."""
    tiny_cfg.MODEL.MMN.PREDICTOR.IMPL = request.param
    tiny_cfg.merge_from_list(
        ["INPUT.NUM_PRE_CLIPS", 32, "MODEL.MMN.NUM_CLIPS", 16, "MODEL.MMN.FEATPOOL.KERNEL_SIZE", 2]
        + ["MODEL.MMN.FEAT2D.POOLING_COUNTS", [5, 2, 1], "MODEL.MMN.PREDICTOR.KERNEL_SIZE", 3]
        + ["MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL", 2, "MODEL.MMN.LOSS.NEGATIVE_VIDEO_IOU", 0.7]
        + ["MODEL.MMN.LOSS.SENT_REMOVAL_IOU", 0.3, "MODEL.MMN.LOSS.TAU_VIDEO", 0.2, "MODEL.MMN.LOSS.MARGIN", 0.3]
    )
    return tiny_cfg


@pytest.fixture
def work(cfg):
    """A network and a batch in float64; dropout is off, batch norm in training mode, its parameters at random."""
    model = build_model(cfg).double()
    model.text_encoder.eval()
    for norm in model.proposal_conv.bn:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias)
    batch = random_batch(COUNTS, num_pre_clips=32)
    batch.feats = batch.feats.double()
    return model, batch


def by_reference(cfg, model, batch, training):
    """The reference's embedding of a batch of the package."""
    return reference.embed(
        reference_videos(batch), model.text_encoder.bert, reference_params(model), reference_settings(cfg), training
    )


def test_scores_are_those_of_the_reference(cfg, work):
    model, batch = work
    cells = build_proposal_cells(cfg)
    wanted = reference.score_maps(*by_reference(cfg, model, batch, training=False))
    measured = model.eval()(batch).scores(batch.layout)
    for ours, maps in zip(measured, zip(*wanted, strict=True), strict=True):
        assert_close(cells.to_map(ours), torch.cat(maps), rtol=0, atol=1e-10)


def test_losses_gradients_and_running_statistics_are_those_of_the_reference(cfg, work):
    model, batch = work
    twin = build_model(cfg).double()
    twin.load_state_dict(model.state_dict())
    twin.text_encoder.eval()
    measured = build_criterion(cfg)(model(batch), batch)
    wanted = reference.losses(
        *by_reference(cfg, twin, batch, training=True), reference_videos(batch), reference_settings(cfg)
    )
    for name, loss in wanted.items():
        assert_close(measured[name], loss, rtol=1e-9, atol=0)
    for losses in (measured, wanted):
        (losses["iou"] + losses["vid"] + losses["sent"]).backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")
    for ours, theirs in zip(model.proposal_conv.bn, twin.proposal_conv.bn, strict=True):
        assert_close(ours.running_mean, theirs.running_mean, rtol=1e-9, atol=1e-12)
        assert_close(ours.running_var, theirs.running_var, rtol=1e-9, atol=1e-12)


def test_training_loss_weighs_the_three(cfg, work):
    model, batch = work
    params, settings = reference_params(model), reference_settings(cfg)
    losses = build_criterion(cfg)(model(batch), batch)
    total = reference.training_loss(reference_videos(batch), model.text_encoder.bert, params, settings)
    weight = cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT
    assert_close(total, losses["iou"] + weight * (losses["vid"] + losses["sent"]), rtol=1e-9, atol=0)


def test_ranked_moments_are_those_of_the_reference(cfg, work):
    model, batch = work
    cells, settings = build_proposal_cells(cfg), reference_settings(cfg)
    video = reference_videos(batch)[0]
    wanted = reference.localize(video, model.text_encoder.bert, reference_params(model), settings)
    ranker = MomentRanker(cells, settings.nms_thresh, settings.contrastive_score_pow, num_predictions=len(cells))
    with torch.no_grad():
        moments, scores = ranker(model.eval()(batch), batch)
    for kept, kept_scores, (their_moments, their_scores) in zip(moments[:3], scores[:3], wanted, strict=True):
        count = int((kept_scores > 0).sum())
        assert 1 < count < len(cells)
        assert_close(kept[:count], their_moments, rtol=0, atol=0)
        assert_close(kept_scores[:count], their_scores.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("num_rows", [1, 5, 31, 32, 64, 100])
def test_resampled_clips_are_those_of_the_reference(num_rows):
    rows = torch.rand(num_rows, 6, generator=torch.Generator().manual_seed(num_rows))
    assert_close(torch.from_numpy(resample_clips(rows.numpy(), 32)), reference.resample(rows, 32), rtol=1e-5, atol=1e-6)


def test_reference_needs_torch_alone_and_fits_in_250_lines():
    source = Path(reference.__file__).read_text()
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert modules == {"torch", "typing"}
    assert len(source.splitlines()) < 250
