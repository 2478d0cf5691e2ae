"""Scoring ranked moments: recall, mean IoU and average precision. Numbers first, the table apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from terminaltables import AsciiTable
from torch import Tensor

from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import Predictions
from mmn.structures.moments import temporal_iou
from mmn.utils import comm

RECALL_RANKS = (1, 5)
SELECTION_METRIC = "Best_R1"  # the best checkpoint is the one with the highest


def ranked_ious(predictions: Predictions, truth: Tensor) -> Tensor:
    """IoU of every ranked moment with the truth [S, 2] seconds -> [S, n]; 0 where a sentence has fewer than n."""
    return temporal_iou(predictions.moments, truth[:, None]) * (predictions.scores > 0)


def rank_hits(ious: Tensor, thresholds: Sequence[float]) -> Tensor:
    """[S, n] IoU of ranked moments -> [ranks, thresholds, S] bool: has a sentence a hit among the first 1 and 5?"""
    best = torch.stack([ious[:, :rank].amax(dim=1) for rank in RECALL_RANKS])  # [ranks, S]
    return torch.stack([best >= threshold for threshold in thresholds], dim=1)


def count_hits(ious: Tensor, thresholds: Sequence[float]) -> Tensor:
    """[S, n] IoU of ranked moments -> [ranks, thresholds] int64: sentences with a hit among the first 1 and 5."""
    return rank_hits(ious, thresholds).sum(dim=2)


def recall_metrics(hits: Tensor, num_sentences: int, thresholds: Sequence[float]) -> dict[str, float]:
    """Counts of `count_hits` -> shares by the names of the released table, and their means over the thresholds."""
    metrics = {}
    for rank, row in zip(RECALL_RANKS, hits.tolist(), strict=True):
        for threshold, count in zip(thresholds, row, strict=True):
            metrics[f"R@{rank},IoU@{threshold}"] = count / num_sentences
    for rank, row in zip(RECALL_RANKS, hits.tolist(), strict=True):
        metrics[f"Best_R{rank}"] = sum(row) / len(row) / num_sentences
    return metrics


def evaluate(predictions: Predictions, dataset: MomentDataset) -> dict[str, float]:
    """Recall of a split from each process's predictions for its share, on their device; only counts leave it."""
    truth = torch.from_numpy(np.concatenate([video.moments for video in dataset.videos]))
    ious = ranked_ious(predictions, truth.to(predictions.moments.device)[predictions.sentence_ids])
    counts = torch.cat([count_hits(ious, dataset.thresholds).flatten().cpu(), torch.tensor([len(ious)])])
    *hits, total = comm.sum_over_processes(counts)
    return recall_metrics(torch.stack(hits).view(len(RECALL_RANKS), -1), int(total), dataset.thresholds)


def average_precision(ious: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Average precision of one query's ranked moments at each of T IoU thresholds, interpolated, as QVHighlights scores it.

    In rank order a moment is a true positive where the best truth not taken yet has IoU >= the threshold with it.

    Args:
        ious: [n, G] of n ranked moments with the query's G true moments.
    Returns:
        [T] float64.
    """
    thresholds = np.asarray(thresholds, dtype=ious.dtype)  # an IoU of 0.9 in float32 is to reach 0.9
    rows = np.arange(len(thresholds))
    free = np.ones((len(thresholds), ious.shape[1]), dtype=bool)
    is_hit = np.zeros((len(ious), len(thresholds)), dtype=bool)
    for rank, row in enumerate(ious):
        candidates = np.where(free, row, -1.0)
        best = candidates.argmax(axis=1)
        is_hit[rank] = candidates[rows, best] >= thresholds
        free[rows, best] &= ~is_hit[rank]
    precision = is_hit.cumsum(axis=0) / np.arange(1, len(ious) + 1)[:, None]
    # Interpolated: the best precision at this recall or beyond; each hit adds 1 / G of recall.
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return (envelope * is_hit).sum(axis=0) / ious.shape[1]


def format_table(metrics: Mapping[str, float], title: str) -> str:
    """Metrics (shares) as one row of percentages under their names."""
    return AsciiTable([list(metrics), [f"{100 * value:.2f}" for value in metrics.values()]], f" {title} ").table
