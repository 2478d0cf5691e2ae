"""What the code computes on the recorded HC-STVG fixture, and how far off it is; for test_stvg_parity and parity_report."""

import functools

import parity
import torch
from torch import Tensor

from golden_fixture import StvgFixture
from mmn.data.features import resample_clips
from mmn.evaluation.tube_metrics import (
    TubePredictions,
    TubeRanker,
    predicted_pieces,
    tube_ious,
    tube_metrics,
    tube_sums,
)
from mmn.modeling import build_proposal_cells
from mmn.modeling.build import build_tube_criterion
from mmn.modeling.scoring import iou_score
from mmn.modeling.tubes import tube_cosines
from mmn.structures.tubes import tube_iou_maps

THRESHOLDS = (0.3, 0.5)


@functools.cache
def fixture(name: str) -> StvgFixture:
    return StvgFixture(name)


@functools.cache
@torch.no_grad()
def score_maps(name: str) -> tuple[Tensor, Tensor]:
    """Scores (contrastive, iou) of all tubes, [T, M]."""
    golden = fixture(name)
    batch = golden.batch()
    output = golden.model().eval()(batch)
    contrastive = tube_cosines(output.sentences_contrastive, output.moments_contrastive, batch.tubes)
    return contrastive, iou_score(tube_cosines(output.sentences_iou, output.moments_iou, batch.tubes))


@functools.cache
def train_step(name: str) -> tuple[dict[str, Tensor], torch.nn.Module]:
    """Losses of a step, and the model with the gradients of the fixture's total."""
    golden = fixture(name)
    model, batch = golden.model(), golden.batch()
    losses = build_tube_criterion(golden.cfg)(model(batch), batch)
    weight = golden.cfg.MODEL.MMN.LOSS.CONTRASTIVE_WEIGHT
    (losses["iou"] + weight * (losses["vid"] + losses["sent"])).backward()
    return {key: loss.detach() for key, loss in losses.items()}, model


@functools.cache
def predictions(name: str) -> TubePredictions:
    golden = fixture(name)
    batch = golden.batch()
    with torch.no_grad():
        output = golden.model().eval()(batch)
    ranked = TubeRanker(build_proposal_cells(golden.cfg))(output, batch)
    return TubePredictions(batch.sentence_ids, *ranked)


def resampled(name: str) -> Tensor:
    """The features of all tubes, resampled from their rows, [T, P, D]."""
    golden = fixture(name)
    widths = golden.meta["config"]["INPUT_SIZE"]
    num_clips = golden.cfg.INPUT.NUM_PRE_CLIPS
    clips = []
    for video in golden.videos:
        for tube in range(golden.num_tubes[video]):
            tracks = [golden.arrays[f"v{video}_t{tube}_track{track}"] for track in range(len(widths))]
            rows = torch.cat(tracks, dim=1).numpy()
            clips.append(torch.from_numpy(resample_clips(rows, num_clips, uses_last_row=True, widths=widths)))
    return torch.stack(clips)


def iou_maps(name: str) -> Tensor:
    """Of all tubes, [T, N, N]."""
    golden = fixture(name)
    cells = build_proposal_cells(golden.cfg)
    return cells.to_map(tube_iou_maps(cells, *golden.all_tubes()))


def metrics(name: str) -> tuple[dict[str, float], dict[str, float]]:
    """(measured, recorded)."""
    golden = fixture(name)
    pieces = predicted_pieces(predictions(name), [golden.tubes(video) for video in golden.videos])
    ious = tube_ious([piece for _, piece in pieces], [golden.truth(video) for video in golden.videos])
    recorded = {**golden.meta["recall"], "m_vIoU": golden.meta["viou"], "m_tIoU": golden.meta["tiou"]}
    return tube_metrics(tube_sums(*ious, THRESHOLDS), THRESHOLDS), recorded


def worst_errors(name: str) -> dict[str, float]:
    """The figures of the parity report."""
    golden = fixture(name)
    cells, (losses, model) = build_proposal_cells(golden.cfg), train_step(name)
    recorded = golden.recorded("train_step.npz")
    gradients = {f"grad_{key}": value.grad for key, value in model.named_parameters()}
    gradients = {key: value for key, value in gradients.items() if key in recorded}
    real = [key for key in gradients if not parity.is_zero_on_paper(key)]
    measured, wanted = metrics(name)
    return {
        "resampled features, absolute": parity.absolute_error(resampled(name), golden.recorded_maps("pooled")),
        "IoU maps, absolute": parity.absolute_error(iou_maps(name), golden.recorded_maps("stiou2d")),
        "scores, absolute": max(
            parity.absolute_error(cells.to_map(scores), golden.recorded_maps(kind, "eval.npz"))
            for kind, scores in zip(("contrastive", "iou"), score_maps(name), strict=True)
        ),
        "losses, relative": max(parity.relative_error(loss, recorded[f"loss_{key}"]) for key, loss in losses.items()),
        "gradients, relative to each tensor's largest entry": max(
            parity.relative_error(gradients[key], recorded[key]) for key in real
        ),
        "gradients, absolute": max(parity.absolute_error(gradients[key], recorded[key]) for key in gradients),
        "metrics, absolute": max(abs(measured[key] - value) for key, value in wanted.items()),
    }
