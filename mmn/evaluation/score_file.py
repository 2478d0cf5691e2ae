"""Scoring a prediction file without a model: NumPy alone, so that it starts at once."""

from collections.abc import Sequence

import numpy as np

from mmn.evaluation.prediction_file import QueryPrediction, read_predictions
from mmn.evaluation.qvhighlights import THRESHOLDS as MAP_THRESHOLDS
from mmn.evaluation.recall import (
    RECALL_RANKS,
    average_precision,
    count_hits,
    format_table,
    rank_hits,
    recall_metrics,
    title_of,
)
from mmn.structures.iou_thresholds import checked_thresholds


def score_file(
    path: str,
    thresholds: Sequence[float],
    num_examples: int,
    truth: str | None = None,
    missing_as_wrong: bool = False,
) -> None:
    """Print the metrics of a prediction file, and some of its queries.

    Args:
        path: the prediction file.
        thresholds: IoU from which a moment counts as a hit.
        num_examples: how many queries to show.
        truth, missing_as_wrong: a file with the true moments, and what a query without a prediction is, see
            `read_predictions`, which also says what is refused.
    Raises ConfigError for a threshold that is no IoU.
    """
    thresholds = checked_thresholds(thresholds)
    records = read_predictions(path, truth, missing_as_wrong)
    print(format_table(score_predictions(records, thresholds), _title(path, records)))
    if num_examples:
        print(format_examples(records, num_examples))


def _title(path: str, records: Sequence[QueryPrediction]) -> str:
    return title_of(path, len({record.video_id for record in records}), len(records), ">=")


def score_predictions(records: Sequence[QueryPrediction], thresholds: Sequence[float]) -> dict[str, float]:
    """The recall table, mIoU of the first prediction, and mAP over IoU 0.5:0.95, all as shares.

    A query with several true moments counts the best of them for recall and mIoU.
    """
    ious = [record.ious() for record in records]
    best = best_ious(ious)
    metrics = recall_metrics(count_hits(best, thresholds), len(records), thresholds)
    metrics["mIoU"] = best[:, 0].mean(dtype=np.float64).item()
    metrics["mAP"] = float(np.mean([average_precision(iou, MAP_THRESHOLDS).mean() for iou in ious]))
    return metrics


def score_queries(records: Sequence[QueryPrediction], thresholds: Sequence[float]) -> dict[str, np.ndarray]:
    """The terms that the metrics of `score_predictions` are means of: by name, [Q] float64, one per query."""
    ious = [record.ious() for record in records]
    best = best_ious(ious)
    hits = np.array(rank_hits(best, thresholds), dtype=np.float64)  # [ranks, thresholds, Q]
    metrics = {
        f"R@{rank},IoU@{threshold}": hits[row, column]
        for row, rank in enumerate(RECALL_RANKS)
        for column, threshold in enumerate(thresholds)
    }
    metrics |= {f"Best_R{rank}": hits[row].mean(axis=0) for row, rank in enumerate(RECALL_RANKS)}
    metrics["mIoU"] = best[:, 0].astype(np.float64)
    metrics["mAP"] = np.array([average_precision(iou, MAP_THRESHOLDS).mean() for iou in ious])
    return metrics


def best_ious(ious: Sequence[np.ndarray]) -> np.ndarray:
    """IoUs [n_q, G_q] of each query's ranked moments -> [Q, n] float32 with the best true moment.

    A query with fewer than n moments has 0 for the rest.
    """
    best = np.zeros((len(ious), max(max(len(iou) for iou in ious), 1)), dtype=np.float32)
    for row, iou in zip(best, ious, strict=True):
        row[: len(iou)] = iou.max(axis=1)
    return best


def format_examples(records: Sequence[QueryPrediction], count: int) -> str:
    """A few queries, evenly spread over the file, with their true and first predicted moments."""
    lines = []
    for number in np.linspace(0, len(records) - 1, min(count, len(records))).astype(int):
        record = records[number]
        truth = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in record.truth.tolist())
        lines.append(f"{record.video_id}: {record.query.strip()!r}  truth {truth}")
        for (start, end), score, iou in zip(
            record.moments[:3].tolist(), record.scores, record.ious().max(axis=1).tolist(), strict=False
        ):
            lines.append(f"    {start:6.1f}-{end:.1f} s  score {score:.3f}  IoU {iou:.2f}")
    return "\n".join(lines)
