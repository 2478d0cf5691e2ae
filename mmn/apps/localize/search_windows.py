"""The windows that a long video is searched in: how long they are, and where they lie. Pure, on numbers."""

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmn.structures.windows import split_rows
from mmn.utils.errors import ConfigError

SCALES = tuple(1.5 * 3 ** (-step / 3) for step in range(4))
"""Lengths of the windows of a long video over the training videos' median: 1.5, 1.04, 0.72, 0.5 (docs/LONG_VIDEO.md)."""


def check_window(window: float | None, overlap: float | None) -> None:
    """Raise ConfigError where one of them cannot be, or not with the other; None is what is not asked for."""
    if window is not None and not window > 0:
        raise ConfigError(f"the window is {window} seconds: it must be a number above 0")
    if overlap is not None and not 0 <= overlap < (math.inf if window is None else window):
        least = "" if window is None else f" in windows of {window:g}"
        raise ConfigError(f"the overlap is {overlap} seconds{least}: it must be at least 0 and less than a window")


def window_lengths(
    duration: float, window: float | None, overlap: float | None, train_durations: Mapping[str, float] | None
) -> tuple[float, ...]:
    """Seconds of the windows that a video of `duration` seconds is searched in, one length per scale, longest first.

    A video that is no longer than the longest one trained on is one window, as in training and evaluation. A longer one
    is searched at `SCALES`, so that some window makes of a moment what the model mostly saw: a clip of the map that is
    short enough for it, and enough of what is around it.

    Args:
        window: the only length, where it is given.
        overlap: seconds; None takes half a window.
        train_durations: lengths of the videos that the model was trained on, see
            `mmn.data.dataset.summarise_durations`; None where they are not known, which gives one window.
    Raises ConfigError where the overlap asked for does not fit the windows.

    >>> [round(length) for length in window_lengths(100.0, None, None, {"median": 50.0, "longest": 90.0})]
    [75, 52, 36, 25]
    >>> window_lengths(80.0, None, None, {"median": 50.0, "longest": 90.0})
    (80.0,)
    """
    if window is not None:
        lengths: tuple[float, ...] = (window,)
    elif train_durations is None or duration <= train_durations["longest"]:
        lengths = (duration,)
    else:
        lengths = tuple(scale * train_durations["median"] for scale in SCALES)
    check_window(min(lengths), overlap)
    return lengths


def place_windows(
    num_rows: int, duration: float, lengths: Sequence[float], overlap: float | None
) -> list[tuple[int, int]]:
    """(first row, one past the last row) of the windows of all lengths, each length from start to end of the video.

    Args:
        num_rows, duration: see `split_rows`.
        lengths: seconds, as `window_lengths` gives them.
        overlap: seconds that neighbours of one length share at least; None takes half of that length.

    >>> place_windows(num_rows=100, duration=50.0, lengths=[40.0, 20.0], overlap=None)
    [(0, 80), (20, 100), (0, 40), (20, 60), (40, 80), (60, 100)]
    """
    spans = (
        split_rows(
            num_rows, duration, length, (0.0 if math.isinf(length) else length / 2) if overlap is None else overlap
        )
        for length in lengths
    )
    return list(dict.fromkeys(itertools.chain.from_iterable(spans)))


def window_bounds(spans: Sequence[tuple[int, int]], num_rows: int, duration: float) -> Tensor:
    """[W, 2] float64 seconds of windows that are given by their rows, (first, one past the last) each."""
    return torch.tensor(spans, dtype=torch.float64) / num_rows * duration
