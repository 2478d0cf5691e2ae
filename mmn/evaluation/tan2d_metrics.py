"""Ranking and scoring moments as the official program of 2D-TAN does, in float64 (SPEC section 10).

Bounds of moments are float32, but suppression and metric compute in float64 on them. Many pairs of cells have an IoU of
exactly one half on paper, and rounding decides between them.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import MomentRanker, Predictions
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.structures.batch import GroundingBatch
from mmn.structures.moments import nms, temporal_iou
from mmn.structures.proposals import ProposalCells
from mmn.utils import comm


def official_cell_moments(cells: ProposalCells, durations: Tensor) -> Tensor:
    """As `mmn.structures.moments.cell_moments`, the bounds being (index / N) * duration, in this order of operations."""
    return cells.bounds_like(durations) / cells.num_clips * durations[:, None, None]


class MapRanker(MomentRanker):
    """The one score of 2D-TAN's map -> ranked moments.

    Args:
        cells: the map's cells.
        nms_threshold: TEST.NMS_THRESH.
        num_predictions: n, moments kept per sentence at most.
    """

    heads = ("iou",)

    def __init__(self, cells: ProposalCells, nms_threshold: float, num_predictions: int):
        super().__init__(cells, nms_threshold, 0.0, num_predictions, score="iou")

    def head_scores(self, output: Any, batch: GroundingBatch) -> tuple[Tensor]:
        """Scores [S, M] in (0, 1)."""
        return (output.scores,)

    def rank(self, scores: Tensor, durations: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # one head
        """Moments [S, n, 2] float32 seconds and scores [S, n], best first, from scores [S, M] and durations [S] seconds."""
        scores = scores.float()
        bounds = official_cell_moments(self.cells, durations).double()
        moments, kept = nms(bounds, scores, self.nms_threshold, self.num_predictions)
        return self.columns(moments.float(), kept, scores)


def exact_ious(predictions: Predictions, truths: list[Tensor]) -> Tensor:
    """IoU of every ranked moment with the best of its sentence's true moments -> [S, n] float64.

    0 where a sentence has fewer than n.

    Args:
        truths: S tensors [G, 2] float64 seconds.
    """
    ious = torch.zeros(predictions.scores.shape, dtype=torch.float64)
    moments, found = predictions.moments.cpu().double(), (predictions.scores > 0).cpu()
    for row, truth in enumerate(truths):
        ious[row] = temporal_iou(moments[row][:, None], truth).amax(dim=1)
    return ious * found


def evaluate_exactly(predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
    """Recall and mIoU of a split from each process's predictions for its share; called on all processes.

    A moment is a hit where its IoU is above the threshold, not where it equals it.
    """
    windows = [torch.from_numpy(windows) for video in dataset.videos for windows in video.windows]
    ious = exact_ious(predictions, [windows[number] for number in predictions.sentence_ids.tolist()])
    hits = comm.sum_over_processes(torch.tensor(count_hits(ious, dataset.thresholds, operator.gt)))
    sums = comm.sum_over_processes(torch.tensor([len(ious), ious[:, 0].sum()], dtype=torch.float64))
    num_sentences, total = int(sums[0]), float(sums[1])
    return {**recall_metrics(hits.tolist(), num_sentences, dataset.thresholds), "mIoU": total / num_sentences}
