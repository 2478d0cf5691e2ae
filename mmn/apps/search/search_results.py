"""The answers of a `MomentIndex`."""

from dataclasses import dataclass

from mmn.apps.localize.weak_answers import weak_answer


@dataclass(frozen=True)
class FoundMoment:
    """A moment of a library that may be the one a query describes.

    Attributes:
        video: its id in the index.
        start, end: seconds from the beginning of the video.
        score: the value that moments are ranked by, in [0, 1]; see `mmn.apps.search.ranking_rules`.
        contrastive: cosine of the contrastive head, in [-1, 1].
        iou: the IoU that the other head expects between this moment and the described one, in (0, 1).
        path: the video file; "" where the index does not know it.
        confidence: the chance that no wrong video of those searched has a moment with so high a contrastive cosine as the
            best one of this video, so that it is a right one; see `mmn.apps.search.confidence`. None where the index is not
            calibrated, and where the query is a moment.
    """

    video: str
    start: float
    end: float
    score: float
    contrastive: float
    iou: float
    path: str = ""
    confidence: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """The moments of one query, best first.

    Attributes:
        query: the sentence; of a search by example, the example in words.
        moments: those asked for, or fewer where no more pass.
        confidence: the chance that a right video is in the library: that of the best moment of all; None as for moments.
        nothing_fits: True where there are no moments since the confidence is below the threshold that was asked for.
        is_example: True for a search by example, whose moments are compared with a moment instead of a sentence.
    """

    query: str
    moments: tuple[FoundMoment, ...]
    confidence: float | None = None
    nothing_fits: bool = False
    is_example: bool = False

    @property
    def weak(self) -> str:
        """A sentence where no moment fits the query well, see `weak_answer`; "" where one does."""
        return "" if self.is_example else weak_answer(self.moments, self.confidence)
