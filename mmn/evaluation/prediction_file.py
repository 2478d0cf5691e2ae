"""Prediction files: one json line per sentence, in the QVHighlights schema that the field's other tools read.

    {"qid": 0, "query": "...", "vid": "...", "duration": 30.1,
     "relevant_windows": [[start, end]], "pred_relevant_windows": [[start, end, score], ...]}

Times are seconds. Predictions are ranked by their scores, the first of the line first where scores are equal. The true
moments may stand in a file of their own, as QVHighlights has them. Nothing here loads PyTorch.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmn.evaluation.query_identity import by_identity, pair_queries
from mmn.structures.annotation_forms import FORMS, JSON_LINES, form_of_text, form_of_whole_json
from mmn.structures.query_lines import TRUE_WINDOWS, QueryLine, parse_query_line, read_windows
from mmn.utils.errors import DataError, failed_read
from mmn.utils.files import atomic_path
from mmn.utils.logger import get_logger
from mmn.utils.text_files import is_number, numbered_lines, read_text

DURATION_TOLERANCE = 1.0  # seconds by which they may differ on the length of a video, which some give in whole seconds
LARGEST = float(np.finfo(np.float32).max)  # what IoUs are computed in
TRUTH_TOLERANCE = 0.01  # seconds by which two files may differ on a true moment: some tools round


@dataclass
class QueryPrediction:
    """One line of a prediction file.

    Attributes:
        query, video_id: the sentence and its video.
        truth: [G, 2] float32 seconds, the true moments.
        moments: [n, 2] float32 seconds, best first; n may be 0.
        scores: n numbers.
        qid: id that pairs the query with the same one of another file; None where the line has none.
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
    qid: int | str,
    query: str,
    video_id: str,
    duration: float,
    truth: list[list[float]],
    predicted: list[list[float]],
    saliency: list[float] | None = None,
) -> dict[str, object]:
    """One line of a prediction file.

    Args:
        truth: [start, end] of each true moment; none where it is not known.
        predicted: [start, end, score] of each prediction, best first.
        saliency: numbers, one for each clip of the video; None for datasets that have no highlights.
    """
    record: dict[str, object] = {
        "qid": qid,
        "query": query,
        "vid": video_id,
        "duration": duration,
        "relevant_windows": truth,
        "pred_relevant_windows": predicted,
    }
    return record if saliency is None else {**record, "pred_saliency_scores": saliency}


def write_records(path: str, records: Iterable[dict[str, object]]) -> None:
    """Write the lines of a prediction file, which appears whole or not at all."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_predictions(path: str, truth_path: str | None = None, missing_as_wrong: bool = False) -> list[QueryPrediction]:
    """All lines of a prediction file, in its order.

    Args:
        truth_path: an annotation file of QVHighlights' form, one json line per query, with the true moments (and the
            duration). Both files must be about the same queries, see `mmn.evaluation.query_identity`.
        missing_as_wrong: a query of `truth_path` without a prediction counts as one without a moment, which the log
            says, and stands at the end.
    Raises DataError naming the line where one does not follow the schema, and the queries where one is missing, twice or
    not of that truth.
    """
    lines = read_query_lines(path, "prediction file", "write it by test_net.py --dump")
    if truth_path is None:
        by_identity(lines, path)
        return [_query(line, line) for line in lines]
    truth = read_query_lines(truth_path, "annotation file", "name one with qid and relevant_windows")
    pairs = pair_queries(lines, path, truth, truth_path, allow_missing=missing_as_wrong)
    num_missing = sum(line is None for line, _ in pairs)
    if num_missing:
        get_logger().warning(
            "%d of the %d queries of %s have no prediction and count as wrong", num_missing, len(pairs), truth_path
        )
    places = {id(line): place for place, line in enumerate(lines)}
    pairs.sort(key=lambda pair: places.get(id(pair[0]), len(lines)))
    return [_query(line, annotation) for line, annotation in pairs]


def read_query_lines(path: str, kind: str, advice: str) -> list[QueryLine]:
    """Every line that is not blank; at least one."""
    try:
        text = read_text(path)
    except OSError as error:
        raise DataError(f"the {kind} {path} cannot be read ({failed_read(error)}): check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the {kind} {path} is no UTF-8 text: {advice}") from error
    if not text.strip():
        raise DataError(f"the {kind} {path} has no line: {advice}")
    form = form_of_text(text) or form_of_whole_json(text)
    if form not in (None, FORMS[JSON_LINES]):
        raise DataError(f"the {kind} {path} is {form}, but JSON lines are expected, one object per query: {advice}")
    return [parse_query_line(f"line {number} of {path}", line) for number, line in numbered_lines(text)]


def _query(line: QueryLine | None, annotation: QueryLine) -> QueryPrediction:
    """The prediction of `line`, None for no moment at all, with the truth of `annotation`, which may be the same line."""
    known = [found for found in (line, annotation) if found is not None]
    duration = _common_duration(line, annotation)
    truth = _true_windows(annotation, duration)
    if line is not None and line is not annotation and line.record.get("relevant_windows"):
        _refuse_other_truth(line, _true_windows(line, duration), truth)
    predicted = _predicted_windows(line, duration) if line is not None else []
    predicted.sort(key=lambda window: -window[2])  # stable: equal scores keep the file's order
    return QueryPrediction(
        next((found.query for found in known if found.query), ""),
        next((found.video_id for found in known if found.video_id), ""),
        np.array(truth, dtype=np.float32),
        np.array([window[:2] for window in predicted], dtype=np.float32).reshape(-1, 2),
        [window[2] for window in predicted],
        known[0].qid,
        duration,
    )


def _common_duration(line: QueryLine | None, annotation: QueryLine) -> float | None:
    """The video's seconds as the truth says them, else as the prediction does; where both do, they must agree."""
    true = _duration(annotation)
    said = true if line is None or line is annotation else _duration(line)
    if true is not None and said is not None and abs(true - said) > DURATION_TOLERANCE:
        raise DataError(
            f"{line.where if line else ''} says that its video lasts {said} s, but the file with the truth says {true}: "
            "are both of the same video, in seconds?"
        )
    return said if true is None else true


def _duration(line: QueryLine) -> float | None:
    value = line.record.get("duration")
    if value is None:
        return None
    if not is_number(value) or value <= 0:
        raise DataError(f"{line.where} has the duration {value!r}: it must be seconds above 0")
    return float(value)


def _true_windows(line: QueryLine, duration: float | None) -> list[list[float]]:
    """The true moments of a line, cut to the video as training cuts them (SPEC section 1)."""
    windows = read_windows(line, TRUE_WINDOWS, "[start, end]", 2) if TRUE_WINDOWS in line.record else []
    if not windows:
        raise DataError(
            f"{line.where} has no relevant_windows, so its true moments are not known: name a file that has them by --truth"
        )
    _refuse_outside(line, windows, duration)
    return [[max(start, 0), end if duration is None else min(end, duration)] for start, end in windows]


def _predicted_windows(line: QueryLine, duration: float | None) -> list[list[float]]:
    windows = read_windows(line, "pred_relevant_windows", "[start, end, score]", 3)
    _refuse_outside(line, windows, duration)
    return windows


def _refuse_outside(line: QueryLine, windows: Sequence[Sequence[float]], duration: float | None) -> None:
    for start, end, *_ in windows:
        if start >= end:
            raise DataError(f"{line.where} has the window {start} to {end}: a moment must start before it ends")
        if max(abs(start), abs(end)) > LARGEST:
            raise DataError(f"{line.where} has the window {start} to {end}, which are no times of a video in seconds")
        if end <= 0 or (duration is not None and start >= duration):
            raise DataError(
                f"{line.where} has the window {start} to {end}, which is outside its video of {duration} s: are these "
                "seconds from the beginning?"
            )


def _refuse_other_truth(line: QueryLine, own: list[list[float]], truth: list[list[float]]) -> None:
    if not same_moments(np.array(own), np.array(truth)):
        raise DataError(
            f"{line.where} says that the true moments are {own}, but the file with the truth says {truth}: leave one out"
        )


def same_moments(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two sets of moments [G, 2] are equal but for their order and for rounding by TRUTH_TOLERANCE."""
    one, other = one[one[:, 0].argsort(kind="stable")], other[other[:, 0].argsort(kind="stable")]
    return one.shape == other.shape and np.allclose(one, other, rtol=0, atol=TRUTH_TOLERANCE)
