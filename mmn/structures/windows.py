"""Long videos as overlapping windows: which feature rows each window takes. Pure, on numbers."""

import math


def split_rows(num_rows: int, duration: float, window: float, overlap: float) -> list[tuple[int, int]]:
    """Evenly spread windows of one length over a video, the first at its start, the last at its end.

    Neighbours share `overlap` seconds or more, up to the rounding to rows: a moment that is no longer lies within one
    of the windows as a whole.

    Args:
        num_rows: T0, feature rows of the video, evenly spread over it.
        duration: seconds, of the video.
        window: seconds, above 0; a window as long as the video gives one.
        overlap: seconds, 0 <= overlap < window.
    Returns:
        (first row, one past the last row) of each window, in order.

    >>> split_rows(num_rows=100, duration=50.0, window=20.0, overlap=10.0)
    [(0, 40), (20, 60), (40, 80), (60, 100)]
    """
    if window >= duration:
        return [(0, num_rows)]
    rows_per_second = num_rows / duration
    length = min(num_rows, max(1, round(window * rows_per_second)))
    last = num_rows - length  # where the last window begins
    step = min((window - overlap) * rows_per_second, length)  # windows are rounded to rows: no row between two of them
    num_steps = min(last, math.ceil(last / step))
    starts = [round(last * number / num_steps) for number in range(num_steps)] + [last]
    return [(start, start + length) for start in starts]
