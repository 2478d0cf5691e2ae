"""One query on its video's time axis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmn.apps.visual.style import GREY, PREDICTION, TRUTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR_HEIGHT = 0.62


def draw_timeline(
    axes: "Axes",
    duration: float,
    moments: np.ndarray,
    scores: Sequence[float] | None = None,
    truth: np.ndarray | None = None,
    ious: Sequence[float] | None = None,
) -> None:
    """Bars over the video: the true moments in the first row, where known, then the predictions, best first.

    Beside every bar stand its bounds, and to the right of the axes its score and its IoU, where given.

    Args:
        duration: seconds, the length of the time axis.
        moments: [n, 2] seconds, predictions, best first; n may be 0.
        scores: n numbers.
        truth: [G, 2] seconds, or None where it is not known.
        ious: n numbers in [0, 1], IoU of each prediction with the true moments.
    """
    moments = np.asarray(moments, dtype=float).reshape(-1, 2)
    labels = [f"{rank}" for rank in range(1, len(moments) + 1)]
    first_row = 0
    if truth is not None:
        truth = np.asarray(truth, dtype=float).reshape(-1, 2)
        labels.insert(0, "truth")
        first_row = 1
        for start, end in truth:
            axes.axvspan(start, end, color=TRUTH, alpha=0.13, linewidth=0)
            _draw_bar(axes, 0, start, end, duration, TRUTH)
    rows = range(first_row, first_row + len(moments))
    for row, (start, end) in zip(rows, moments, strict=True):
        _draw_bar(axes, row, start, end, duration, PREDICTION)
    _write_columns(axes, rows, {"score": scores, "IoU": ious})
    if not len(moments):
        labels.append("")
        axes.text(duration / 2, first_row, "no prediction", ha="center", va="center", color=GREY)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, duration)
    axes.set_xlabel("time (s)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _draw_bar(axes: "Axes", row: int, start: float, end: float, duration: float, color: str) -> None:
    """One moment, with its bounds written into the bar where they fit, else beside it."""
    width = max(end - start, 0.004 * duration)  # an empty moment is still seen
    axes.barh(row, width, left=start, height=BAR_HEIGHT, color=color)
    text = f"{start:.1f} – {end:.1f}"
    style = {"va": "center", "fontsize": 9.5, "clip_on": True}
    if width > 0.16 * duration:
        axes.text((start + end) / 2, row, text, ha="center", color="white", **style)
    elif end < 0.8 * duration:
        axes.text(end + 0.008 * duration, row, text, ha="left", **style)
    else:
        axes.text(start - 0.008 * duration, row, text, ha="right", **style)


def _write_columns(axes: "Axes", rows: range, columns: dict[str, Sequence[float] | None]) -> None:
    """Numbers to the right of the axes, one column per name, for the given rows."""
    place = axes.get_yaxis_transform()  # x in shares of the axes, y in rows
    given = [(name, values) for name, values in columns.items() if values is not None and len(rows)]
    for number, (name, values) in enumerate(given):
        x = 1.065 + 0.07 * number
        axes.text(x, 1.0, name, transform=axes.transAxes, ha="right", va="bottom", fontsize=10, color="#555555")
        for row, value in zip(rows, values, strict=True):
            axes.text(x, row, f"{value:.2f}", transform=place, ha="right", va="center", fontsize=10)
