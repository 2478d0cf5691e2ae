"""Prediction files: one json line per sentence, in the QVHighlights schema that the field's other tools read.

    {"qid": 0, "query": "...", "vid": "...", "duration": 30.1,
     "relevant_windows": [[start, end]], "pred_relevant_windows": [[start, end, score], ...]}

Times are seconds; predictions are best first. The true moments may stand in a file of their own, as QVHighlights has them.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmn.data.annotations import iterate_sentences
from mmn.data.dataset import MomentDataset
from mmn.evaluation.inference import Predictions
from mmn.evaluation.recall import RECALL_RANKS, average_precision, count_hits, rank_hits, recall_metrics
from mmn.structures.moments import temporal_iou
from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path

MAP_THRESHOLDS = np.linspace(0.5, 0.95, 10).round(2).tolist()


@dataclass
class QueryPrediction:
    """One line of a prediction file.

    Attributes:
        query, video_id: the sentence and its video.
        truth: [G, 2] float32 seconds, the true moments.
        moments: [n, 2] float32 seconds, best first; n may be 0.
        scores: n numbers.
        qid: what pairs the query with the same one of another file; None where the line has none.
        duration: seconds, of the video; None where the file does not say.
    """

    query: str
    video_id: str
    truth: torch.Tensor
    moments: torch.Tensor
    scores: list[float]
    qid: int | str | None = None
    duration: float | None = None

    def ious(self) -> torch.Tensor:
        """[n, G] IoU of every prediction with every true moment."""
        return temporal_iou(self.moments[:, None], self.truth)


def write_predictions(path: str, dataset: MomentDataset, predictions: Predictions) -> None:
    """Write the merged predictions of a split in annotation order.

    Numbers are written with all digits of float32, so that the file scores exactly as the model did.
    """
    columns = (predictions.sentence_ids.tolist(), predictions.moments.tolist(), predictions.scores.tolist())
    rows = zip(iterate_sentences(dataset.videos), *columns, strict=True)
    write_records(
        path,
        (
            prediction_record(
                sentence_id,
                video.sentences[number],
                video.video_id,
                video.duration,
                [video.moments[number].tolist()],
                [[*moment, score] for moment, score in zip(moments, scores, strict=True) if score > 0],
            )
            for (video, number), sentence_id, moments, scores in rows
        ),
    )


def prediction_record(
    qid: int, query: str, video_id: str, duration: float, truth: list[list[float]], predicted: list[list[float]]
) -> dict[str, object]:
    """One line of a prediction file.

    Args:
        truth: [start, end] of each true moment; none where it is not known.
        predicted: [start, end, score] of each prediction, best first.
    """
    return {
        "qid": qid,
        "query": query,
        "vid": video_id,
        "duration": duration,
        "relevant_windows": truth,
        "pred_relevant_windows": predicted,
    }


def write_records(path: str, records: Iterable[dict[str, object]]) -> None:
    """Write the lines of a prediction file, which appears whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_predictions(path: str, truth_path: str | None = None) -> list[QueryPrediction]:
    """All lines of a prediction file.

    Args:
        truth_path: an annotation file of QVHighlights' form, one json line per query, which gives the true moments (and
            the duration) of the qids whose prediction has none.
    Raises DataError naming the line where one does not follow the schema.
    """
    truth = {}
    if truth_path is not None:
        for where, record in _read_json_lines(truth_path, "annotation file", "name one with qid and relevant_windows"):
            truth[_qid(where, record)] = record
    return [
        _parse(where, record, truth, truth_path)
        for where, record in _read_json_lines(path, "prediction file", "write it by test_net.py --dump")
    ]


def _read_json_lines(path: str, kind: str, advice: str) -> list[tuple[str, dict]]:
    """(where it is, json object) of every line that is not blank; at least one."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")  # splitlines() would also split at U+2028 within a query
    except OSError as error:
        raise DataError(f"the {kind} {path} cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the {kind} {path} is no UTF-8 text: {advice}") from error
    records = [_load(f"line {number} of {path}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not records:
        raise DataError(f"the {kind} {path} has no line: {advice}")
    return records


def _load(where: str, line: str) -> tuple[str, dict]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid json ({error}): write the file again") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} must be a json object with relevant_windows and pred_relevant_windows")
    return where, record


def _parse(where: str, record: dict, truth: dict[int | str, dict], truth_path: str | None) -> QueryPrediction:
    qid = _qid(where, record)
    annotation = record
    if record.get("relevant_windows", []) == [] and truth_path is not None:
        if qid not in truth:
            raise DataError(
                f"{where} has the qid {qid!r}, which {truth_path} does not: name the file of the same split"
            )
        annotation = truth[qid]
    true_moments = _windows(where, annotation, "relevant_windows", width=2)
    predicted = _windows(where, record, "pred_relevant_windows", width=3)
    if not true_moments:
        raise DataError(f"{where} has no relevant_windows: a query without a true moment cannot be scored")
    predicted.sort(key=lambda window: -window[2])  # stable: equal scores keep the file's order
    return QueryPrediction(
        str(record.get("query", "")),
        str(record.get("vid", "")),
        torch.tensor(true_moments, dtype=torch.float32),
        torch.tensor([window[:2] for window in predicted], dtype=torch.float32).view(-1, 2),
        [window[2] for window in predicted],
        qid,
        _duration(where, record.get("duration", annotation.get("duration"))),
    )


def _qid(where: str, record: dict) -> int | str | None:
    qid = record.get("qid")
    if isinstance(qid, bool) or not isinstance(qid, (int, str, type(None))):
        raise DataError(f"{where} has the qid {qid!r}: it must be a whole number or a text")
    return qid


def _duration(where: str, value: object) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or value <= 0:
        raise DataError(f"{where} has the duration {value!r}: it must be seconds above 0")
    return float(value)


def _windows(where: str, record: dict, key: str, width: int) -> list[list[float]]:
    windows = record.get(key)
    columns = "[start, end]" if width == 2 else "[start, end, score]"
    if not isinstance(windows, list):
        raise DataError(f"{where} has no list {key!r} of {columns}: write the file by test_net.py --dump")
    for window in windows:
        if not isinstance(window, list) or len(window) != width or not all(_is_number(value) for value in window):
            raise DataError(f"{where} has {window!r} in {key!r}, which must be {columns} in finite numbers")
    return windows


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def score_predictions(records: Sequence[QueryPrediction], thresholds: Sequence[float]) -> dict[str, float]:
    """The recall table, mIoU of the first prediction, and mAP over IoU 0.5:0.95, all as shares.

    A query with several true moments counts the best of them for recall and mIoU.
    """
    ious = [record.ious() for record in records]
    best = best_ious(ious)
    metrics = recall_metrics(count_hits(best, thresholds), len(records), thresholds)
    metrics["mIoU"] = best[:, 0].double().mean().item()
    metrics["mAP"] = float(np.mean([average_precision(iou.numpy(), MAP_THRESHOLDS).mean() for iou in ious]))
    return metrics


def score_queries(records: Sequence[QueryPrediction], thresholds: Sequence[float]) -> dict[str, np.ndarray]:
    """The terms that the metrics of `score_predictions` are means of: by name, [Q] float64, one per query."""
    ious = [record.ious() for record in records]
    best = best_ious(ious)
    hits = rank_hits(best, thresholds).double().numpy()  # [ranks, thresholds, Q]
    metrics = {
        f"R@{rank},IoU@{threshold}": hits[row, column]
        for row, rank in enumerate(RECALL_RANKS)
        for column, threshold in enumerate(thresholds)
    }
    metrics |= {f"Best_R{rank}": hits[row].mean(axis=0) for row, rank in enumerate(RECALL_RANKS)}
    metrics["mIoU"] = best[:, 0].double().numpy()
    metrics["mAP"] = np.array([average_precision(iou.numpy(), MAP_THRESHOLDS).mean() for iou in ious])
    return metrics


def best_ious(ious: Sequence[torch.Tensor]) -> torch.Tensor:
    """IoUs [n_q, G_q] of each query's ranked moments -> [Q, n] with the best true moment, 0 where a query has fewer."""
    best = torch.zeros(len(ious), max(max(len(iou) for iou in ious), 1))
    for row, iou in zip(best, ious, strict=True):
        if len(iou):
            row[: len(iou)] = iou.amax(dim=1)
    return best


def format_examples(records: Sequence[QueryPrediction], count: int) -> str:
    """A few queries, evenly spread over the file, with their true and first predicted moments."""
    lines = []
    for number in np.linspace(0, len(records) - 1, min(count, len(records))).astype(int):
        record = records[number]
        truth = ", ".join(f"{start:.1f}-{end:.1f} s" for start, end in record.truth.tolist())
        lines.append(f"{record.video_id}: {record.query.strip()!r}  truth {truth}")
        for (start, end), score, iou in zip(
            record.moments[:3].tolist(), record.scores, record.ious().amax(dim=1).tolist(), strict=False
        ):
            lines.append(f"    {start:6.1f}-{end:.1f} s  score {score:.3f}  IoU {iou:.2f}")
    return "\n".join(lines)
