"""The null distribution of wrong videos, and what thresholds make of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moment_library import random_library, random_queries

from mmn.apps.search.confidence import (
    TAIL_SHARE,
    Calibration,
    _searched,
    best_cosines,
    equal_error_rate,
    fit_calibration,
    fit_tail,
    measure_rates,
    pareto_tail,
)
from mmn.utils.errors import DataError


def sample(num_queries, num_videos, seed=0, gain=0.0):
    """Best cosines [Q, V] of wrong videos, and of each query's own, which is `gain` better; one query has two."""
    generator = np.random.default_rng(seed)
    best = generator.beta(4, 4, (num_queries, num_videos)).astype(np.float32)
    is_own = np.arange(num_videos) == generator.integers(0, num_videos, num_queries)[:, None]
    is_own[0, :2] = True
    best[is_own] += gain
    return best, is_own


def test_best_cosines_are_those_of_the_videos_moments():
    videos, queries = random_library(4, num_clips=3), random_queries(3)
    best = best_cosines(queries, videos)
    for row, query in enumerate(queries.contrastive):
        for column, video in enumerate(videos):
            assert best[row, column] == pytest.approx(
                max(float(moment @ query) for moment in video.contrastive), abs=1e-3
            )


def test_tail_is_the_share_of_wrong_videos_that_reach_a_cosine():
    best, is_own = sample(200, 60, gain=5.0)
    calibration = fit_calibration("val", best, is_own)
    for cosine in (0.0, 0.2, 0.5, 0.7, 0.85, 0.9):
        share = (best[~is_own] >= cosine).mean()
        assert calibration.tail(np.array(cosine)) == pytest.approx(share, abs=0.004)
    assert (calibration.num_queries, calibration.num_videos) == (200, 60)
    assert calibration.num_pairs == (~is_own).sum()


def test_tail_beyond_the_sample_is_that_of_the_distribution():
    best, is_own = sample(200, 60)
    more = np.random.default_rng(9).beta(4, 4, 4_000_000)
    calibration = fit_calibration("val", best, is_own)
    for share in (3e-3, 1e-3, 3e-4):  # of 12,000 pairs; 240 of them make the tail
        assert calibration.tail(np.quantile(more, 1 - share)) == pytest.approx(share, rel=0.4)


@given(st.lists(st.floats(-1, 1.2), min_size=2, max_size=9), st.integers(1, 10**6))
def test_confidence_grows_with_the_cosine_and_falls_with_the_library(cosines, num_videos):
    calibration = fit_calibration("val", *sample(60, 20))
    confidence = calibration.confidence(np.sort(cosines), num_videos)
    assert (np.diff(confidence) >= 0).all() and (confidence >= 0).all() and (confidence <= 1).all()
    assert (calibration.confidence(np.sort(cosines), 2 * num_videos) <= confidence).all()


@pytest.mark.parametrize("shape, scale", [(0.4, 0.2), (0.0, 0.1), (-0.2, 0.05)])
def test_fit_finds_the_distribution_of_its_sample(shape, scale):
    uniform = np.random.default_rng(0).random(200_000)
    drawn = -np.log(uniform) * scale if shape == 0 else (1 - uniform**shape) / shape * scale
    assert fit_tail(drawn) == pytest.approx((shape, scale), abs=0.01)
    for excess in (0.01, 0.1, 0.3):
        assert pareto_tail(np.array(excess), shape, scale) == pytest.approx((drawn > excess).mean(), abs=0.004)


def test_false_accepts_are_what_the_threshold_says():
    calibration = fit_calibration("val", *sample(300, 80, seed=1))
    for num_videos in (10, None):
        rates = measure_rates(calibration, "test", *sample(3000, 80, seed=2), num_videos)
        assert rates.false_accept == pytest.approx([1 - threshold for threshold in rates.thresholds], abs=0.04)


def test_rates_are_those_of_a_plain_count():
    calibration = fit_calibration("val", *sample(300, 40, seed=1))
    best, is_own = sample(200, 40, seed=2, gain=0.3)
    rates = measure_rates(calibration, "test", best, is_own)
    for number, threshold in enumerate(rates.thresholds):
        accepted = rejected = 0
        for row, own in zip(best, is_own, strict=True):
            accepted += calibration.confidence(row[~own].max(), (~own).sum()) >= threshold
            rejected += calibration.confidence(row.max(), len(row)) < threshold
        assert 0 < rates.false_reject[number] < 1
        assert rates.false_accept[number] == pytest.approx(accepted / 200)
        assert rates.false_reject[number] == pytest.approx(rejected / 200)


def test_rates_in_a_part_are_of_so_many_videos_with_one_own_and_without():
    best, is_own = sample(50, 30, seed=2)
    there, gone = _searched(is_own, 8, np.random.default_rng(0))
    assert (there.sum(axis=1) == 8).all() and (gone.sum(axis=1) == 8).all()
    assert ((there & is_own).sum(axis=1) == 1).all() and not (gone & is_own).any()
    assert (gone.sum(axis=0) > 3).all()  # others for each query
    assert measure_rates(fit_calibration("val", best, is_own), "test", best, is_own, 8).num_videos == 8


def test_query_whose_own_video_stands_out_is_told_from_one_that_is_not_there():
    calibration = fit_calibration("val", *sample(300, 80, seed=1))
    apart = measure_rates(calibration, "test", *sample(300, 80, seed=2, gain=2.0))
    alike = measure_rates(calibration, "test", *sample(300, 80, seed=2, gain=0.0))
    assert apart.equal_error == 0 and max(apart.false_reject) == 0
    assert 0.4 < alike.equal_error < 0.6


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_equal_error_is_the_best_that_a_threshold_can_do_for_both(absent, present):
    absent, present = np.array(absent) / 10, np.array(present) / 10
    errors = [((absent >= threshold).mean(), (present < threshold).mean()) for threshold in np.arange(-0.05, 1.1, 0.1)]
    assert equal_error_rate(absent, present) == pytest.approx(min(map(max, errors)))


def test_calibration_survives_json_values():
    calibration = fit_calibration("val", *sample(60, 20))
    again = Calibration.from_dict({**calibration.to_dict(), "quantiles": list(calibration.quantiles)}, "library")
    assert again == calibration


def test_words_that_are_no_calibration_are_refused():
    values = fit_calibration("val", *sample(60, 20)).to_dict()
    wrong = {"quantiles": "none"}, {"quantiles": [1.0, np.nan]}, {"shape": None}, {"shape": np.nan}, {"scale": np.inf}
    for damaged in (*({**values, **part} for part in wrong), {"split": "val"}):
        with pytest.raises(DataError, match="calibration of the index library cannot be understood"):
            Calibration.from_dict(damaged, "library")


def test_split_with_few_wrong_pairs_is_refused():
    with pytest.raises(DataError, match="val has 90 pairs"):
        fit_calibration("val", np.zeros((10, 10), np.float32), np.eye(10, dtype=bool))


def test_quantiles_reach_the_tail():
    calibration = fit_calibration("val", *sample(60, 20))
    assert calibration.tail(np.array(calibration.quantiles[-1])) == pytest.approx(TAIL_SHARE)
    assert calibration.tail(np.array(calibration.quantiles[-1] + 1e-9)) == pytest.approx(TAIL_SHARE)
