"""The plain form that the benchmark measures against computes the same as the project's."""

from dataclasses import replace

import pytest
import torch
from localizing import checkpoint_content
from matplotlib.figure import Figure
from tiny import random_batch
from torch.testing import assert_close

from mmn.apps.benchmark import plain
from mmn.apps.benchmark.data_loading import plain_resample
from mmn.apps.benchmark.forms import Workload
from mmn.apps.benchmark.growth import draw_growth
from mmn.apps.benchmark.latency import measure_latency
from mmn.apps.benchmark.settings import SETTINGS, measured_config
from mmn.apps.benchmark.waiting import measure_waiting
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.data.features import resample_clips
from mmn.evaluation.inference import MomentRanker
from mmn.evaluation.recall import count_hits
from mmn.modeling import build_criterion, build_model, build_proposal_cells
from mmn.structures.moments import cell_ious, temporal_iou


@pytest.fixture
def work(tiny_cfg):
    """A model, its cells and a batch; dropout is off, batch norm uses running statistics."""
    torch.manual_seed(0)
    batch = random_batch([3, 1, 2], num_pre_clips=tiny_cfg.INPUT.NUM_PRE_CLIPS)
    return build_model(tiny_cfg).eval(), build_proposal_cells(tiny_cfg), batch


@pytest.fixture
def plain_scores(work):
    model, cells, batch = work
    proposals = plain.dense_proposals(model.proposal_conv, plain.video_map(model, cells, batch.feats))
    sentences = plain.encode_sentences(model, batch)
    return sentences, proposals, plain.score_maps(sentences, proposals, cells.mask)


def test_plain_scores_are_the_same(work, plain_scores):
    model, cells, batch = work
    for measured, expected in zip(model(batch).scores(batch.layout), plain_scores[2], strict=True):
        assert_close(cells.to_map(measured), torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked_negatives", ["ones", "exclude"])
def test_plain_losses_are_the_same(work, plain_scores, tiny_cfg, masked_negatives):
    model, cells, batch = work
    tiny_cfg.MODEL.MMN.LOSS.MASKED_NEGATIVES = masked_negatives
    tiny_cfg.MODEL.MMN.LOSS.NUM_POSTIVE_VIDEO_PROPOSAL = 2
    sentences, proposals, (_, iou_scores) = plain_scores
    rows = [batch.video_index == video for video in range(len(batch.feats))]
    moments = [batch.moments[own] for own in rows]
    maps = [
        torch.stack([plain.iou_map(moment, float(duration), cells.num_clips) for moment in own])
        for own, duration in zip(moments, batch.durations, strict=True)
    ]
    losses = plain.PlainLosses(tiny_cfg.MODEL.MMN.LOSS, cells.mask)(
        sentences[0], proposals[0], iou_scores, maps, moments
    )
    for name, loss in build_criterion(tiny_cfg)(model(batch), batch).items():
        assert_close(loss, losses[name], rtol=1e-4, atol=1e-5)


def test_plain_iou_maps_are_the_same(work):
    _, cells, batch = work
    maps = [
        plain.iou_map(moment, float(duration), cells.num_clips)[cells.mask]
        for moment, duration in zip(batch.moments, batch.sentence_durations, strict=True)
    ]
    assert_close(cell_ious(cells, batch.moments, batch.sentence_durations), torch.stack(maps))


def test_plain_ranking_is_the_same(work):
    _, cells, batch = work
    scores = torch.rand(len(batch.moments), len(cells), generator=torch.Generator().manual_seed(0))
    ranker = MomentRanker(cells, 0.5, 0.0, num_predictions=8)
    moments, kept = ranker.rank(torch.ones_like(scores), scores, batch.sentence_durations)
    for row, score_map in enumerate(cells.to_map(scores)):
        expected, expected_scores = plain.rank_moments(score_map, float(batch.sentence_durations[row]), 0.5)
        count = min(8, len(expected))
        assert_close(moments[row, :count], expected[:count])
        assert_close(kept[row, :count], expected_scores[:count])
        hits = count_hits(temporal_iou(moments[row], batch.moments[row])[None], (0.3, 0.5))
        assert [[bool(count) for count in counts] for counts in hits] == plain.recall_hits(
            expected, batch.moments[row], (0.3, 0.5)
        )


@pytest.mark.parametrize("num_rows", [1, 5, 31, 64, 100])
def test_plain_resampling_is_the_same(num_rows):
    rows = torch.rand(num_rows, 6, generator=torch.Generator().manual_seed(num_rows)).numpy()
    assert_close(resample_clips(rows, 32), plain_resample(rows, 32), rtol=1e-5, atol=1e-6)


def test_a_backward_pass_alone_leaves_the_gradients_of_a_step(tmp_path):
    options = ["MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "8", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "2", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.IMPL", "fast"]
    setting = replace(SETTINGS["charades"], num_videos=2)
    workload = Workload(measured_config(setting, str(tmp_path), options), setting, torch.device("cpu"), training=True)
    workload.model.text_encoder.eval()  # no dropout
    backward = next(component for component in workload.components() if component.name == "backward")
    parameters = [*workload.model.proposal_conv.parameters(), *workload.model.featpool.parameters()]
    gradients = []
    for run in (backward.plain, backward.ours, backward.plain, backward.ours):  # in turns, as they are measured
        run()
        gradients.append([parameter.grad.clone() for parameter in parameters])
    for plainly, first, plainly_again, second in zip(*gradients, strict=True):
        assert_close(first, second, rtol=0, atol=0)
        assert_close(plainly, plainly_again, rtol=1e-5, atol=1e-7)
        assert (first - plainly).abs().max() <= 1e-4 * plainly.abs().max() + 1e-6


def test_waiting_is_a_share_and_rates_are_above_zero(tmp_path):
    options = ["MODEL.MMN.FEATPOOL.HIDDEN_SIZE", "8", "MODEL.MMN.PREDICTOR.HIDDEN_SIZE", "8"]
    options += ["MODEL.MMN.PREDICTOR.NUM_STACK_LAYERS", "1", "MODEL.MMN.FEATPOOL.INPUT_SIZE", "8"]
    options += ["MODEL.MMN.NUM_CLIPS", "8", "INPUT.NUM_PRE_CLIPS", "16", "MODEL.MMN.FEAT2D.POOLING_COUNTS", "[7]"]
    setting = replace(SETTINGS["tacos"], num_videos=2, num_sentences=2)
    waiting = measure_waiting(setting, str(tmp_path), [*options, "DATALOADER.NUM_WORKERS", "1"], torch.device("cpu"))
    assert 0 <= waiting.later_wait <= 1 and 0 <= waiting.first_wait <= 1
    assert waiting.first_rate > 0 and waiting.later_rate > 0 and waiting.first_batch > 0


def test_latency_is_measured_after_a_first_call(tiny_cfg, tmp_path):
    torch.save(checkpoint_content(tiny_cfg), tmp_path / "model.pth")
    localizer = MomentLocalizer.from_checkpoint(tmp_path / "model.pth", device="cpu")
    queries, localize = [], localizer.localize
    localizer.localize = lambda video, sentences: (queries.append(sentences), localize(video, sentences))[1]
    seconds = measure_latency(localizer, 30.0, repeats=4)
    assert {name: len(times) for name, times in seconds.items()} == {
        "encode the features of 30 s": 3,
        "one more query": 4,
        "16 more queries": 3,
    }
    assert [len(sentences) for sentences in queries] == [1] * 5 + [16] * 4
    assert len({sentence for sentences in queries for sentence in sentences}) == 5 + 16 * 4  # none was asked before


def test_growth_draws_the_seconds_of_every_point():
    seconds = {("train", "plain"): 4.0, ("train", "ours"): 2.0, ("eval", "plain"): 1.0, ("eval", "ours"): 0.5}
    measured = {
        name: {1: seconds, 8: {key: 3 * value for key, value in seconds.items()}} for name in ("clips", "videos")
    }
    figure = Figure()
    draw_growth(figure, measured)
    for axes, name in zip(figure.axes, measured, strict=True):
        assert axes.get_xlabel() == name
        drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
        assert drawn["training step, ours"] == ([1, 8], [2.0, 6.0])
        assert drawn["evaluation forward, plain"] == ([1, 8], [1.0, 3.0])
