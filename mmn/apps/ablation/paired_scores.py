"""Bringing prediction files together query by query, whichever tools wrote them."""

from collections.abc import Sequence

import numpy as np

from mmn.evaluation.prediction_file import QueryPrediction, read_predictions, same_moments
from mmn.evaluation.query_identity import pair_queries
from mmn.evaluation.score_file import score_queries
from mmn.structures.iou_thresholds import checked_thresholds
from mmn.utils.errors import DataError


def read_scores(
    paths: Sequence[str], thresholds: Sequence[float], truth: str | None = None, missing_as_wrong: bool = False
) -> list[dict[str, np.ndarray]]:
    """The scores of the queries of each file (see `score_queries`), all in the order of the first file.

    Args:
        truth, missing_as_wrong: those of `read_predictions`.
    Raises DataError, naming file and query, where the files are not of the same queries with the same true moments.
    """
    thresholds = checked_thresholds(thresholds)
    first = read_predictions(paths[0], truth, missing_as_wrong)
    scores = [score_queries(first, thresholds)]
    for path in paths[1:]:
        pairs = pair_queries(read_predictions(path, truth, missing_as_wrong), path, first, paths[0])
        for other, record in pairs:
            _refuse_other_truth(paths[0], record, path, other)
        scores.append(score_queries([other for other, _ in pairs], thresholds))
    return scores


def _refuse_other_truth(path: str, record: QueryPrediction, other_path: str, other: QueryPrediction) -> None:
    if not same_moments(record.truth, other.truth):
        raise DataError(
            f"{record.query[:60]!r} of {record.video_id} has the true moments {record.truth.tolist()} in {path} but "
            f"{other.truth.tolist()} in {other_path}: compare predictions for the same split"
        )
