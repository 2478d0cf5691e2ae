"""Prediction files: one json line per sentence, in the QVHighlights schema that the field's other tools read.

    {"qid": 0, "query": "...", "vid": "...", "duration": 30.1,
     "relevant_windows": [[start, end]], "pred_relevant_windows": [[start, end, score], ...]}

Times are seconds; predictions are best first. The true moments may stand in a file of their own, as QVHighlights has them.
Reading and scoring such a file needs no network, so nothing here loads PyTorch.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mmn.utils.errors import DataError
from mmn.utils.files import atomic_path


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
    truth: np.ndarray
    moments: np.ndarray
    scores: list[float]
    qid: int | str | None = None
    duration: float | None = None

    def ious(self) -> np.ndarray:
        """IoU of every prediction with every true moment, [n, G] float32 (see `mmn.structures.moments.temporal_iou`)."""
        (start, end), (true_start, true_end) = self.moments.T[..., None], self.truth.T
        overlap = (np.minimum(end, true_end) - np.maximum(start, true_start)).clip(min=0)
        hull = np.maximum(end, true_end) - np.minimum(start, true_start)
        return np.divide(overlap, hull, out=np.zeros_like(hull), where=hull > 0)


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
    """Place and json object of every line that is not blank; at least one."""
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
        np.array(true_moments, dtype=np.float32),
        np.array([window[:2] for window in predicted], dtype=np.float32).reshape(-1, 2),
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
