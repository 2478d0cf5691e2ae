"""Times in words."""

from hypothesis import given
from hypothesis import strategies as st

from mmn.utils.clock import clock


@given(st.floats(0, 1e6))
def test_clock_reads_as_the_time_to_a_tenth(seconds):
    parts = [float(part) for part in clock(seconds).split(":")]
    assert all(part < 60 for part in parts[1:])
    read = sum(part * 60**place for place, part in enumerate(reversed(parts)))
    assert abs(read - seconds) <= 0.05 + 1e-6


def test_hours_are_shown_where_there_are_any():
    assert [clock(seconds) for seconds in (0, 62.25, 3725.5, 59.96)] == ["0:00.0", "1:02.2", "1:02:05.5", "1:00.0"]
