"""What is said while an extraction runs."""

import pytest

from mmn.apps.extraction import progress
from mmn.apps.extraction.progress import ExtractionProgress, hours_minutes_seconds
from mmn.utils.logger import get_logger


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(get_logger(), "propagate", True)
    caplog.set_level("INFO", get_logger().name)
    return caplog


@pytest.fixture
def time(monkeypatch):
    """A clock that tests set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_time_to_go_follows_from_the_bytes_done(log, time):
    shown = ExtractionProgress(4, 1000, enabled=True)
    time[0] += 40
    shown.finish_video(10.0, 100)
    shown.advance("two", 5.0, 100)
    assert "1/4 videos, two at 5 s, 0.0 frames/s, eta 0:02:40" in log.text  # 200 of 1000 bytes in 40 s


def test_lines_come_now_and_then(log, time):
    shown = ExtractionProgress(1, 1000, enabled=True)
    for second in range(100):
        time[0] += 1
        shown.advance("one", second, 10 * second)
    assert len(log.records) == 3


def test_other_processes_say_nothing(log, time):
    shown = ExtractionProgress(1, 1000, enabled=False)
    time[0] += 1000
    shown.advance("one", 1.0, 10)
    assert not log.records
    assert shown.num_frames == 1


@pytest.mark.parametrize("seconds, text", [(0, "0:00:00"), (59.6, "0:01:00"), (93784, "26:03:04")])
def test_clock(seconds, text):
    assert hours_minutes_seconds(seconds) == text
