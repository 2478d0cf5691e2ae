"""The sentence that stands before moments of which none fits well: something is always nearest, also in a wrong video."""

import sys
from collections.abc import Sequence
from typing import Protocol

LEAST_CONFIDENCE = 0.5  # of an index that is calibrated: below it a right video is less likely there than not
# Without a calibration: expected IoU of the best moment. Chosen on the val split of the synthetic data, and held against
# its test split in docs/LOCALIZE.md.
LEAST_IOU = 0.1


class Scored(Protocol):
    """A moment with the score that it is ranked by, and the IoU that the model expects with what is described."""

    @property
    def score(self) -> float:
        """In [0, 1]."""

    @property
    def iou(self) -> float:
        """In (0, 1)."""


def weak_answer(moments: Sequence[Scored], confidence: float | None = None) -> str:
    """A sentence where no moment fits a sentence well; "" where one does, and where there is none.

    Args:
        moments: best first.
        confidence: the chance that a right video is among those searched; None where the index does not say.
    """
    if not moments:
        return ""
    if confidence is not None:
        if confidence >= LEAST_CONFIDENCE:
            return ""
        return (
            f"Nothing fits well: the confidence that a right video is here is {confidence:.2f}, below "
            f"{LEAST_CONFIDENCE:.2f}. The nearest moments:"
        )
    expected = max(moment.iou for moment in moments)
    if expected >= LEAST_IOU:
        return ""
    return (
        f"Nothing fits well: the best score is {moments[0].score:.2f}, as the model expects an overlap (IoU) of at most "
        f"{expected:.2f} with what is described, below {LEAST_IOU:.2f}. The nearest moments:"
    )


def muted(text: str) -> str:
    """The text in faint letters, where a terminal shows it."""
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text
