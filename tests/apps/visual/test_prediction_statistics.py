"""The numbers behind the charts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.visual.prediction_statistics import KINDS, equal_bins, error_kinds, query_statistics, wilson_interval
from mmn.evaluation.prediction_file import QueryPrediction


def record(moments, truth=((10, 20),), query="a man runs", duration=30.0):
    scores = [1 / rank for rank in range(1, len(moments) + 1)]
    arrays = (np.array(part, dtype=np.float32).reshape(-1, 2) for part in (truth, moments))
    return QueryPrediction(query, "v", *arrays, scores, 0, duration)


def kind_of(moments, threshold=0.5, **more):
    return KINDS[error_kinds(query_statistics([record(moments, **more)]), threshold)[0]]


@pytest.mark.parametrize(
    "moment, kind",
    [
        ((10, 20), "hit"),
        ((10, 15), "hit"),  # IoU 0.5 is a hit at 0.5
        ((0, 30), "too long"),
        ((12, 15), "too short"),
        ((16, 26), "shifted"),
        ((20, 30), "wrong place"),
        ((0, 5), "wrong place"),
        ((15, 15), "wrong place"),  # an empty moment overlaps nothing
        ((18, 40), "too long"),  # surplus 20, lack 8
        ((18, 33), "shifted"),  # surplus 13, lack 8
        ((4, 12), "shifted"),  # surplus 6, lack 8
        ((9, 12), "too short"),  # surplus 1, lack 8
    ],
)
def test_kind_of_a_first_prediction(moment, kind):
    assert kind_of([moment, (10, 20)]) == kind


def test_query_without_prediction_is_of_the_kind_none():
    assert kind_of([]) == "none"


@given(
    st.lists(st.tuples(*[st.floats(0, 50, width=32)] * 4), min_size=1, max_size=20), st.sampled_from([0.3, 0.5, 0.7])
)
def test_hits_are_the_predictions_whose_iou_reaches_the_threshold(rows, threshold):
    records = [record([sorted(row[:2])], truth=[sorted(row[2:])]) for row in rows]
    statistics = query_statistics(records)
    kinds = error_kinds(statistics, threshold)
    for number, (one, kind) in enumerate(zip(records, kinds, strict=True)):
        iou = float(one.ious()[0, 0])
        assert statistics.first_ious[number] == pytest.approx(iou)
        assert (KINDS[kind] == "hit") == (statistics.first_ious[number] >= threshold)


def test_columns_of_a_query():
    moments = [(8, 18), (0, 1), (10, 19), (2, 3), (3, 4), (10, 20)]
    statistics = query_statistics([record(moments, query="a  man\truns\nfast")])
    assert statistics.first_ious[0] == pytest.approx(8 / 12)
    assert statistics.few_ious[0] == pytest.approx(0.9)  # the sixth does not count
    assert statistics.num_words[0] == 4
    assert statistics.truth_lengths[0] == 10
    assert statistics.scores[0] == 1


@pytest.mark.parametrize(
    "moment, wanted", [((19, 25), (21, 26)), ((1, 2), (0, 4)), ((5, 6), (0, 4)), ((14, 16), (21, 26))]
)
def test_truth_of_several_is_the_overlapping_else_the_nearest(moment, wanted):
    statistics = query_statistics([record([moment], truth=[(0, 4), (21, 26)])])
    assert tuple(statistics.truth[0]) == wanted


def test_query_without_prediction_has_no_moment():
    statistics = query_statistics([record([]), record([(10, 20)])])
    assert np.isnan(statistics.moments[0]).all() and math.isnan(statistics.scores[0])
    assert statistics.first_ious.tolist() == statistics.few_ious.tolist() == [0, 1]


@pytest.mark.parametrize("moments, duration", [([(3, 25)], 25), ([], 20), ([(0, 4)], 20)])
def test_duration_that_the_file_lacks_is_the_last_second_named(moments, duration):
    assert query_statistics([record(moments, duration=None)]).durations[0] == duration


@given(st.lists(st.integers(0, 12) | st.floats(0, 100), min_size=1, max_size=60), st.integers(1, 9))
def test_bins_hold_every_value_once_in_ascending_order(values, most):
    values = np.array(values, dtype=np.float64)
    bins = equal_bins(values, most)
    assert len(bins) <= most
    assert sorted(np.concatenate([bin_.members for bin_ in bins])) == list(range(len(values)))
    ranges = [(values[bin_.members].min(), values[bin_.members].max()) for bin_ in bins]
    assert all(before[1] < after[0] for before, after in zip(ranges, ranges[1:], strict=False))


def test_bins_of_different_values_are_about_equally_large():
    sizes = [len(bin_.members) for bin_ in equal_bins(np.random.default_rng(0).random(1000), 8)]
    assert len(sizes) == 8 and max(sizes) - min(sizes) <= 2


def test_bins_are_labelled_by_their_range():
    assert [bin_.label for bin_ in equal_bins(np.array([3, 3, 4, 5, 9, 9.0]), 3)] == ["3", "4–5", "9"]
    assert [bin_.label for bin_ in equal_bins(np.array([0.123456, 2.5]), 1)] == ["0.123–2.5"]


@given(st.integers(1, 2000), st.data())
def test_bounds_of_the_interval_are_1_96_deviations_from_the_share(total, data):
    hits = data.draw(st.integers(0, total))
    share = hits / total
    low, high = wilson_interval(hits, total)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        assert abs(share - bound) == pytest.approx(1.96 * math.sqrt(bound * (1 - bound) / total), abs=1e-6)
