"""Scoring predictions with the official metrics of QVHighlights, all of them or those of moments (SPEC section 12)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmn.evaluation.prediction_file import read_query_lines
from mmn.evaluation.query_identity import pair_queries
from mmn.evaluation.qvhighlights import CLIP_SECONDS, HighlightPrediction, HighlightTruth, qvhighlights_metrics
from mmn.evaluation.recall import format_table, title_of
from mmn.structures.query_lines import QueryLine, read_windows
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path
from mmn.utils.text_files import is_number

WINDOWS, SALIENCY = "pred_relevant_windows", "pred_saliency_scores"
FULL = "MR-full-"  # of the metrics of moments of any length
COMPARISON = ">="  # of an IoU with a threshold


def score_qvhighlights_file(path: str, truth_path: str, out: str | None = None) -> None:
    """Print the metrics that papers report, and write all of them as the official metrics file.

    Args:
        path: predictions, a json line per query with pred_relevant_windows, pred_saliency_scores or both.
        truth_path: annotations of the same queries.
        out: the metrics file.
    Raises DataError naming lines or queries that are wrong, and where the two are not of the same queries.
    """
    lines = read_query_lines(path, "prediction file", "give a json line per query")
    metrics = official_metrics(lines, path, truth_path)
    print(format_brief(metrics, _title(path, lines)))
    if out is not None:
        write_official(out, metrics)


def score_detr_file(path: str, truth_path: str | None = None) -> None:
    """Print R1 and mAP of a prediction file as papers of DETR-like models report them.

    Args:
        truth_path: annotations of the same queries; None where the predictions have the truth beside them.
    """
    lines = read_query_lines(path, "prediction file", "give a json line per query")
    print(format_brief(detr_metrics(lines, path, truth_path), _title(path, lines)))


def _title(path: str, lines: Sequence[QueryLine]) -> str:
    return title_of(path, len({line.video_id for line in lines}), len(lines), COMPARISON)


def official_metrics(lines: Sequence[QueryLine], path: str, truth_path: str) -> dict[str, dict]:
    """The content of the official metrics file for the predictions `lines`, which `path` names in messages."""
    truth = read_query_lines(truth_path, "annotation file", "name that of the split")
    return _metrics_of(lines, path, truth, truth_path)


def check_truth(truth_path: str) -> None:
    """Raise DataError, naming the line, where an annotation file lacks what the official metrics need."""
    for line in read_query_lines(truth_path, "annotation file", "the official metrics need that of QVHighlights"):
        _truth(line)


def detr_metrics(lines: Sequence[QueryLine], path: str, truth_path: str | None = None) -> dict[str, dict]:
    """R1 at IoU 0.5 and 0.7, and mAP, of the moments of any dataset, as `brief`; see `score_detr_file`."""
    truth = lines if truth_path is None else read_query_lines(truth_path, "annotation file", "name that of the split")
    windows = [
        replace(line, record={key: value for key, value in line.record.items() if key != SALIENCY}) for line in lines
    ]
    brief = _metrics_of(windows, path, truth, truth_path or path)["brief"]
    full = {name.removeprefix(FULL): value for name, value in brief.items() if name.startswith(FULL)}
    return {"brief": full}


def _metrics_of(lines: Sequence[QueryLine], path: str, truth: Sequence[QueryLine], truth_path: str) -> dict[str, dict]:
    pairs = pair_queries(lines, path, truth, truth_path)
    for key in (WINDOWS, SALIENCY):
        _refuse_some_without(key, lines, path)
    if WINDOWS not in lines[0].record and SALIENCY not in lines[0].record:
        raise DataError(f"{path} has neither {WINDOWS} nor {SALIENCY}: nothing can be scored")
    return qvhighlights_metrics([(_truth(annotation), _prediction(line)) for line, annotation in pairs if line])


def format_brief(metrics: Mapping[str, dict], title: str) -> str:
    """The table of the few numbers that papers report."""
    return format_table({name: value / 100 for name, value in metrics["brief"].items()}, title)


def write_official(path: str, metrics: Mapping[str, dict]) -> None:
    """Write the official metrics file, which appears whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
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
