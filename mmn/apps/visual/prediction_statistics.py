"""The numbers behind the pictures of a prediction file. Numbers here, drawing in `charts.py`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmn.evaluation.prediction_file import QueryPrediction

FEW = 5  # "R@5": the predictions that count as the first few

# Kinds of first predictions, see `error_kinds`.
KINDS = ("hit", "too long", "too short", "shifted", "wrong place", "none")
HIT, TOO_LONG, TOO_SHORT, SHIFTED, WRONG_PLACE, NONE = range(len(KINDS))


@dataclass(frozen=True)
class QueryStatistics:
    """A prediction file in columns, each [Q] float64.

    Attributes:
        durations: seconds; where the file does not say, the last second that the query's moments name.
        truth: [Q, 2] seconds, the true moment; of several the one that the first prediction overlaps most, else the
            one whose middle is nearest to its middle.
        moments: [Q, 2] seconds, the first prediction; NaN where there is none.
        scores: score of the first prediction; NaN where there is none.
        first_ious: IoU of the first prediction with `truth`; 0 where there is none.
        few_ious: the best IoU of the first five predictions with any true moment.
        num_words: words of the query, separated by white space.
    """

    durations: np.ndarray
    truth: np.ndarray
    moments: np.ndarray
    scores: np.ndarray
    first_ious: np.ndarray
    few_ious: np.ndarray
    num_words: np.ndarray

    def __len__(self) -> int:
        return len(self.durations)

    @property
    def truth_lengths(self) -> np.ndarray:
        """[Q] seconds."""
        return self.truth[:, 1] - self.truth[:, 0]


def query_statistics(records: Sequence[QueryPrediction]) -> QueryStatistics:
    """The columns of a prediction file's lines."""
    rows = [_statistics_of(record) for record in records]
    columns = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return QueryStatistics(*columns)


def _statistics_of(record: QueryPrediction) -> tuple:
    """One row of `QueryStatistics`, in the order of its fields."""
    truth, moments = record.truth, record.moments
    duration = video_duration(record)
    num_words = len(record.query.split())
    if not len(moments):
        return duration, truth[0], (math.nan, math.nan), math.nan, 0.0, 0.0, num_words
    ious = record.ious()
    distance = np.abs(truth.sum(axis=1) - moments[0].sum()) / 2
    nearest = np.lexsort((distance, -ious[0]))[0]
    few = ious[:FEW].max()
    return duration, truth[nearest], moments[0], record.scores[0], ious[0, nearest], few, num_words


def video_duration(record: QueryPrediction) -> float:
    """Seconds; where the file does not say, the last second that the query's moments name (1 if all are 0)."""
    if record.duration is not None:
        return record.duration
    ends = [*record.truth[:, 1].tolist(), *record.moments[:, 1].tolist()]
    return max(ends) if max(ends) > 0 else 1.0


def error_kinds(statistics: QueryStatistics, iou_threshold: float) -> np.ndarray:
    """[Q] int, the kind of every first prediction, an index of KINDS.

    A prediction that reaches the threshold is a hit, and one without any overlap in the wrong place. Of the others,
    let the surplus be its seconds outside the true moment and the lack the true moment's seconds outside it: too long
    has at least twice as much surplus as lack, too short twice as much lack as surplus, and shifted neither.
    """
    start, end = statistics.moments.T
    true_start, true_end = statistics.truth.T
    overlap = np.maximum(np.minimum(end, true_end) - np.maximum(start, true_start), 0)
    surplus, lack = end - start - overlap, true_end - true_start - overlap
    conditions = {
        NONE: np.isnan(start),
        HIT: statistics.first_ious >= iou_threshold,
        WRONG_PLACE: overlap == 0,
        TOO_LONG: surplus >= 2 * lack,
        TOO_SHORT: lack >= 2 * surplus,
    }
    return np.select(list(conditions.values()), list(conditions), default=SHIFTED)


@dataclass(frozen=True)
class Bin:
    """Queries whose quantity lies in one range: its label and their positions [q]."""

    label: str
    members: np.ndarray


def equal_bins(values: np.ndarray, most: int = 8) -> list[Bin]:
    """Ranges of about equally many values [Q], at most `most`, in ascending order; equal values share one.

    Whole numbers are labelled by the first and last value of a range, others by its bounds in three digits.
    """
    firsts = np.sort(values)[np.arange(1, most) * len(values) // most]
    number = np.searchsorted(np.unique(firsts), values, side="right")  # equal values are in the later range
    is_whole = bool((values == np.round(values)).all())
    bins = []
    for position in range(most):
        members = np.flatnonzero(number == position)
        if len(members):
            low, high = values[members].min(), values[members].max()
            bins.append(Bin(_range_label(low, high, is_whole), members))
    return bins


def _range_label(low: float, high: float, is_whole: bool) -> str:
    texts = [f"{value:.0f}" if is_whole else f"{value:.3g}" for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else "–".join(texts)


def wilson_interval(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% confidence interval of a share of `hits` among `total` > 0 queries (Wilson 1927).

    >>> [round(bound, 3) for bound in wilson_interval(5, 10)]
    [0.237, 0.763]
    """
    share = hits / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return 0.0 if hits == 0 else low, 1.0 if hits == total else high  # exact there
