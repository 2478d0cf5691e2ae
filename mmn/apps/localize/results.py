"""The answers of a `MomentLocalizer`: moments with their scores, and whole maps of scores."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class LocalizedMoment:
    """A moment that may be the one a query describes.

    Attributes:
        start, end: seconds from the beginning of the video.
        score: the value that moments are ranked by, in [0, 1]: the product of both heads, unless TEST.SCORE says otherwise.
        contrastive: cosine of the contrastive head, in [-1, 1]; None of a model without it, such as 2D-TAN.
        iou: the IoU that the other head expects between this moment and the described one, in (0, 1).
    """

    start: float
    end: float
    score: float
    contrastive: float | None
    iou: float


@dataclass(frozen=True)
class QueryResult:
    """The moments of one query, best first."""

    query: str
    moments: tuple[LocalizedMoment, ...]


class ScoreMaps(NamedTuple):
    """The scores of all moments: row i, column j is the moment from clip i to clip j of its window, 0 where there is none.

    Attributes:
        contrastive, iou, final: [S, W, N, N] float32; see `LocalizedMoment`.
    """

    contrastive: np.ndarray | None
    iou: np.ndarray
    final: np.ndarray
