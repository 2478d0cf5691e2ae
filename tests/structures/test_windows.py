"""Windows over long videos."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmn.structures.windows import split_rows


@st.composite
def splits(draw):
    """(rows, duration, window, overlap), windows shorter and longer than the video and than a row."""
    duration = draw(st.floats(0.5, 5000))
    window = draw(st.floats(0.01, 1.5)) * duration
    return draw(st.integers(1, 400)), duration, window, window * draw(st.floats(0, 0.99))


@given(splits())
@example((18, 1.0, 0.0625, 0.0))  # a window of 1.125 rows
def test_windows_are_of_one_length_and_cover_the_video_in_order(split):
    num_rows = split[0]
    windows = split_rows(*split)
    assert windows[0][0] == 0
    assert windows[-1][1] == num_rows
    assert len({stop - start for start, stop in windows}) == 1
    assert len({stop - start for start, stop in windows} - {0}) == 1
    for (start, stop), (following, _) in zip(windows[:-1], windows[1:], strict=True):
        assert start < following <= stop


@given(splits(), st.floats(0, 1), st.floats(0, 1))
def test_moment_no_longer_than_the_overlap_lies_within_a_window(split, place, share):
    num_rows, duration, _, overlap = split
    row = duration / num_rows
    length = share * min(overlap - row, duration)  # windows begin and end at rows
    if length <= 0:
        return
    start = place * (duration - length)
    windows = [(first * row, stop * row) for first, stop in split_rows(*split)]
    slack = 1e-6 * duration
    assert any(first <= start + slack and start + length <= stop + slack for first, stop in windows)


@given(splits())
def test_windows_have_the_length_asked_for_to_the_nearest_row(split):
    num_rows, duration, window, _ = split
    start, stop = split_rows(*split)[0]
    wanted = min(window, duration) * num_rows / duration
    assert stop - start == max(1, round(wanted))


@pytest.mark.parametrize("window", [50.0, 50.1, float("inf")])
def test_window_as_long_as_the_video_is_the_video(window):
    assert split_rows(100, 50.0, window, 10.0) == [(0, 100)]


def test_no_more_windows_than_needed_for_the_overlap():
    assert split_rows(100, 100.0, 40.0, 0.0) == [(0, 40), (30, 70), (60, 100)]
    assert split_rows(100, 100.0, 50.0, 0.0) == [(0, 50), (50, 100)]
