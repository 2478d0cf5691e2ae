"""Scoring a prediction file of QVHighlights with its official metrics (SPEC section 12)."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmn.evaluation.prediction_file import read_query_lines
from mmn.evaluation.query_identity import pair_queries
from mmn.evaluation.qvhighlights import CLIP_SECONDS, HighlightPrediction, HighlightTruth, qvhighlights_metrics
from mmn.evaluation.recall import format_table
from mmn.structures.query_lines import QueryLine, read_windows
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path
from mmn.utils.text_files import is_number

WINDOWS, SALIENCY = "pred_relevant_windows", "pred_saliency_scores"


def score_qvhighlights_file(path: str, truth_path: str, out: str | None = None) -> None:
    """Print the metrics that papers report, and write all of them as the official metrics file.

    Args:
        path: predictions, a json line per query with pred_relevant_windows, pred_saliency_scores or both.
        truth_path: annotations of the same queries.
        out: the metrics file.
    Raises DataError naming lines or queries that are wrong, and where the two are not of the same queries.
    """
    lines = read_query_lines(path, "prediction file", "give a json line per query")
    truth = read_query_lines(truth_path, "annotation file", "name that of the split")
    pairs = pair_queries(lines, path, truth, truth_path)
    for key in (WINDOWS, SALIENCY):
        _refuse_some_without(key, lines, path)
    if WINDOWS not in lines[0].record and SALIENCY not in lines[0].record:
        raise DataError(f"{path} has neither {WINDOWS} nor {SALIENCY}: nothing can be scored")
    metrics = qvhighlights_metrics([(_truth(annotation), _prediction(line)) for line, annotation in pairs if line])
    brief = {name: value / 100 for name, value in metrics["brief"].items()}
    print(format_table(brief, f"{path}, {len(pairs)} queries"))
    if out is not None:
        with atomic_path(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump(metrics, file, indent=4)


def _refuse_some_without(key: str, lines: Sequence[QueryLine], path: str) -> None:
    without = [line for line in lines if key not in line.record]
    if 0 < len(without) < len(lines):
        raise DataError(
            f"{path} lacks {key} in {len(without)} of its {len(lines)} lines, first in {without[0].where}: give it in all "
            "lines or in none"
        )


def _prediction(line: QueryLine) -> HighlightPrediction:
    windows = saliency = None
    if WINDOWS in line.record:
        rows = read_windows(line, WINDOWS, "[start, end, score]", 3)
        windows = np.array(rows, dtype=np.float64).reshape(-1, 3)
    if SALIENCY in line.record:
        values = line.record[SALIENCY]
        if not isinstance(values, list) or not all(map(is_number, values)):
            raise DataError(f"{line.where} has {SALIENCY} that is no list of finite numbers, one per clip of 2 s")
        saliency = np.array(values, dtype=np.float64)
    return HighlightPrediction(windows, saliency)


def _truth(line: QueryLine) -> HighlightTruth:
    windows = read_windows(line, "relevant_windows", "[start, end]", 2)
    if not windows or any(start >= end for start, end in windows):
        raise DataError(
            f"{line.where} needs relevant_windows that start before they end: is this a file with the truth?"
        )
    duration = line.record.get("duration", 0)
    if not is_number(duration) or duration <= 0:
        raise DataError(f"{line.where} has the duration {duration!r}: it must be seconds above 0")
    num_clips = int(duration / CLIP_SECONDS)
    ids, scores = line.record.get("relevant_clip_ids"), line.record.get("saliency_scores")
    if ids is None and scores is None:
        return HighlightTruth(np.array(windows, dtype=np.float64), num_clips)
    if not _is_saliency(ids, scores, num_clips):
        raise DataError(
            f"{line.where} needs relevant_clip_ids from 0 to {num_clips - 1}, and for each three saliency_scores of 0 to 4"
        )
    clip_ids, clip_scores = np.array(ids, np.int64), np.array(scores, np.int64).reshape(-1, 3)
    return HighlightTruth(np.array(windows, dtype=np.float64), num_clips, clip_ids, clip_scores)


def _is_saliency(ids: Any, scores: Any, num_clips: int) -> bool:
    """Tell whether these are the scored clips of a query and the scores of its three annotators."""
    if not (isinstance(ids, list) and isinstance(scores, list) and len(ids) == len(scores)):
        return False
    rows = (isinstance(row, list) and len(row) == 3 and all(value in range(5) for value in row) for row in scores)
    return all(clip in range(num_clips) for clip in ids) and all(rows)
