"""The windows that a long video is searched in: how long they are, and where they lie. Pure, on numbers."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmn.utils.errors import ConfigError


def check_window(window: float | None, overlap: float | None) -> None:
    """Raise ConfigError where one of them cannot be, or not with the other; None is what is not asked for."""
    if window is not None and not window > 0:
        raise ConfigError(f"the window is {window} seconds: it must be a number above 0")
    if overlap is not None and not 0 <= overlap < (math.inf if window is None else window):
        least = "" if window is None else f" in windows of {window:g}"
        raise ConfigError(f"the overlap is {overlap} seconds{least}: it must be at least 0 and less than a window")


def choose_window(
    duration: float, window: float | None, overlap: float | None, train_durations: Mapping[str, float] | None
) -> tuple[float, float]:
    """Seconds of a window, and of the overlap of two, for a video of `duration` seconds.

    Args:
        window: None takes `default_window`.
        overlap: None takes half a window.
        train_durations: lengths of the videos that the model was trained on, see `default_window`.
    Raises ConfigError where the overlap asked for does not fit the window.
    """
    if window is None:
        window = default_window(duration, train_durations)
        check_window(window, overlap)
    if overlap is None:
        overlap = 0.0 if math.isinf(window) else window / 2
    return window, overlap


def default_window(duration: float, train_durations: Mapping[str, float] | None) -> float:
    """Seconds of a window for a video of `duration` seconds, unless asked otherwise.

    A video that is no longer than the longest one trained on is one window, as in training and evaluation. A longer one
    is searched in windows of the training videos' median length, so that the clips of a window last as long as those that
    the model mostly saw.

    >>> default_window(100.0, {"median": 50.0, "longest": 90.0}), default_window(80.0, {"median": 50.0, "longest": 90.0})
    (50.0, 80.0)
    """
    if train_durations is None or duration <= train_durations["longest"]:
        return duration
    return train_durations["median"]


def window_bounds(spans: Sequence[tuple[int, int]], num_rows: int, duration: float) -> Tensor:
    """[W, 2] float64 seconds of windows that are given by their rows, (first, one past the last) each."""
    return torch.tensor(spans, dtype=torch.float64) / num_rows * duration
