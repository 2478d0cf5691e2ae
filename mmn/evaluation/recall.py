"""Recall and average precision of ranked moments: numbers first, the table apart.

Recall works on NumPy arrays and tensors alike, so that a prediction file is scored without loading PyTorch, and a split
on the device that its predictions are on.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from terminaltables import AsciiTable

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")

RECALL_RANKS = (1, 5)
SELECTION_METRIC = "Best_R1"  # the best checkpoint is the one with the highest
VALIDATION_LOSS = (
    "loss"  # the name of the loss among the metrics of an evaluation, where a task has one; it is no share
)


def rank_hits(
    ious: Array, thresholds: Sequence[float], is_hit: Callable[[Array, float], Array] = operator.ge
) -> list[list[Array]]:
    """Find the queries that have a hit among their first 1 and 5 moments.

    Args:
        ious: [Q, n] float32, IoU of each query's ranked moments with its truth, best score first.
        thresholds: IoU from which a moment counts as a hit.
        is_hit: compares IoUs with a threshold; 2D-TAN's metric takes `operator.gt` (SPEC section 10).
    Returns:
        [ranks][thresholds] of [Q] bool.
    """
    return [
        [is_hit(ious[:, :rank], threshold).any(axis=1) for threshold in thresholds]  # type: ignore[misc]  # no scalar
        for rank in RECALL_RANKS
    ]


def count_hits(
    ious: Array, thresholds: Sequence[float], is_hit: Callable[[Array, float], Array] = operator.ge
) -> list[list[int]]:
    """Numbers of queries with a hit, [ranks][thresholds]; see `rank_hits`."""
    return [[int(hits.sum()) for hits in row] for row in rank_hits(ious, thresholds, is_hit)]


def recall_metrics(hits: Sequence[Sequence[int]], num_queries: int, thresholds: Sequence[float]) -> dict[str, float]:
    """Shares by the names of the released table, and their means over the thresholds, from the counts of `count_hits`."""
    metrics = {}
    for rank, row in zip(RECALL_RANKS, hits, strict=True):
        for threshold, count in zip(thresholds, row, strict=True):
            metrics[f"R@{rank},IoU@{threshold}"] = count / num_queries
    for rank, row in zip(RECALL_RANKS, hits, strict=True):
        metrics[f"Best_R{rank}"] = sum(row) / len(row) / num_queries
    return metrics


def recall_above(ious: np.ndarray, ranks: Sequence[int], thresholds: Sequence[float]) -> dict[str, float]:
    """Shares of queries with a moment of IoU above a threshold among their first n, "R@n,IoU>t", as MAD and Ego4D count.

    Args:
        ious: [Q, n] IoU of each query's ranked moments with its truth, best score first, n at least the largest rank.
    """
    limits = np.asarray(thresholds, dtype=ious.dtype)  # an IoU of 0.3 in float32 is not above 0.3
    best = np.maximum.accumulate(ious, axis=1)
    return {
        f"R@{rank},IoU>{threshold}": float((best[:, rank - 1] > limit).mean())
        for rank in ranks
        for threshold, limit in zip(thresholds, limits, strict=True)
    }


def average_precision(ious: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Average precision of one query's ranked moments at each of T IoU thresholds, interpolated.

    In rank order a moment is a true positive where the best truth not taken yet has IoU >= the threshold with it. The
    official metric of QVHighlights (`mmn.evaluation.qvhighlights.window_average_precision`) looks at the first 10 moments
    alone, and takes the last of several truths that are equally good, where this one takes the first.

    Args:
        ious: [n, G] of n ranked moments with the query's G true moments.
    Returns:
        [T] float64.
    """
    limits = np.asarray(thresholds, dtype=ious.dtype)  # an IoU of 0.9 in float32 is to reach 0.9
    rows = np.arange(len(limits))
    free = np.ones((len(limits), ious.shape[1]), dtype=bool)
    is_hit = np.zeros((len(ious), len(limits)), dtype=bool)
    for rank, row in enumerate(ious):
        candidates = np.where(free, row, -1.0)
        best = candidates.argmax(axis=1)
        is_hit[rank] = candidates[rows, best] >= limits
        free[rows, best] &= ~is_hit[rank]
    precision = is_hit.cumsum(axis=0) / np.arange(1, len(ious) + 1)[:, None]
    # Interpolated: the best precision at this recall or beyond; each hit adds 1 / G of recall.
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    return (envelope * is_hit).sum(axis=0) / ious.shape[1]


def title_of(name: str, num_videos: int, num_sentences: int, comparison: str) -> str:
    """The title of a table: of what it is, how many videos and sentences that has, and when a moment is a hit.

    Args:
        comparison: sign between an IoU and a threshold, ">=" or ">".
    """
    return f"{name}: {num_videos} videos, {num_sentences} sentences, a hit is IoU {comparison} threshold"


def format_table(metrics: Mapping[str, float], title: str) -> str:
    """Metrics (shares) as one row of percentages under their names."""
    return AsciiTable([list(metrics), [f"{100 * value:.2f}" for value in metrics.values()]], f" {title} ").table
