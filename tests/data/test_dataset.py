"""What datasets say about themselves."""

from types import SimpleNamespace

import pytest

from mmn.data.dataset import summarise_durations


def split_of(*durations):
    return SimpleNamespace(videos=[SimpleNamespace(duration=duration) for duration in durations])


def test_durations_are_summarised_by_the_longest_and_the_median():
    durations = summarise_durations([split_of(*range(1, 101), 500)])
    assert durations == {"median": 51.0, "longest": 500.0}


def test_durations_of_several_splits_count_together():
    assert summarise_durations([split_of(30, 10), split_of(50, 20)]) == summarise_durations([split_of(10, 20, 30, 50)])


def test_durations_are_plain_numbers():
    values = summarise_durations([split_of(3, 4)]).values()
    assert [type(value) for value in values] == [float, float]
    assert list(values) == pytest.approx([3.5, 4])
