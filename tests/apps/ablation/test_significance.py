"""Differences, intervals, p values and their correction."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.ablation.resampling import Resampling
from mmn.apps.ablation.significance import _query_counts, _seed_weights, compare_rows, holm, mean_and_deviation
from mmn.utils.errors import UserError


def rows_of(*values):
    """Rows from arrays [S, Q] of one metric "m"."""
    return [{seed: {"m": np.array(row, dtype=float)} for seed, row in enumerate(array)} for array in values]


def difference(first, other, **options):
    return compare_rows(rows_of(first, other), Resampling(**options))[1]["m"]


def naive_resamples(first, other, count, generator):
    """Loops over resamples, seeds and queries; seeds paired, S - 1 of them drawn."""
    num_seeds, num_queries = first.shape
    sample = []
    for _ in range(count):
        queries = [generator.integers(num_queries) for _ in range(num_queries)]
        seeds = [generator.integers(num_seeds) for _ in range(max(num_seeds - 1, 1))]
        terms = [other[seed, query] - first[seed, query] for seed in seeds for query in queries]
        sample.append(sum(terms) / len(terms))
    return np.array(sample)


def test_first_row_has_no_difference():
    assert compare_rows(rows_of([[0, 1]], [[1, 1]]), Resampling(100))[0] is None


def test_value_is_the_difference_of_the_means():
    assert difference([[0, 1, 0, 1], [0, 0, 0, 1]], [[1, 1, 0, 1], [1, 1, 1, 0]]).value == pytest.approx(6 / 8 - 3 / 8)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_interval_is_that_of_the_naive_bootstrap(num_seeds):
    generator = np.random.default_rng(1)
    first = generator.random((num_seeds, 40))
    other = first + generator.normal(0.05, 0.2, (num_seeds, 40)) + generator.normal(0, 0.05, (num_seeds, 1))
    sample = naive_resamples(first, other, 3000, generator)
    result = difference(first, other)
    low, high = np.quantile(sample, [0.025, 0.975])
    width = high - low
    assert result.low == pytest.approx(low, abs=0.06 * width)
    assert result.high == pytest.approx(high, abs=0.06 * width)
    naive_p = 2 * min((sample <= 0).mean(), (sample >= 0).mean())
    assert result.p == pytest.approx(naive_p, abs=0.03)


def test_equal_rows_differ_by_nothing():
    values = np.random.default_rng(0).random((2, 30))
    result = difference(values, values)
    assert (result.value, result.low, result.high, result.p) == (0, 0, 0, 1)


def test_row_that_is_better_on_every_query_has_the_smallest_p():
    result = difference(np.zeros((3, 50)), np.ones((3, 50)), count=999)
    assert result.p == pytest.approx(2 / 1000)
    assert result.low == result.high == 1


@given(st.integers(0, 1000))
def test_interval_excludes_zero_exactly_where_p_is_below_the_level(seed):
    generator = np.random.default_rng(seed)
    first = generator.random((2, 20))
    result = difference(first, first + generator.normal(0.08, 0.2, (2, 20)), count=400)
    if abs(result.p - 0.05) > 0.01:  # the quantile interpolates between two resamples
        assert (result.low > 0 or result.high < 0) == (result.p < 0.05)


def test_exchanging_the_rows_mirrors_the_interval():
    generator = np.random.default_rng(3)
    first, other = generator.random((2, 30)), generator.random((2, 30))
    one, back = difference(first, other), difference(other, first)
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-back.value, -back.high, -back.low, back.p))


def test_pairing_makes_the_interval_narrow_where_queries_are_hard_for_both():
    generator = np.random.default_rng(4)
    hardness = generator.random((1, 200))
    first, other = hardness + generator.normal(0, 0.01, (1, 200)), hardness + generator.normal(0, 0.01, (1, 200))
    unpaired = difference(first, generator.permutation(other, axis=1))
    paired = difference(first, other)
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


def test_rows_without_a_common_seed_draw_their_seeds_apart():
    """Their variances over seeds add up, where paired ones may cancel."""
    offsets = np.array([[-0.2], [0.0], [0.2]])
    first = np.full((3, 100), 0.5) + offsets
    paired = difference(first, first)
    rows = rows_of(first, first)
    rows[1] = {f"other {seed}": scores for seed, scores in rows[1].items()}
    apart = compare_rows(rows, Resampling())[1]["m"]
    assert paired.high - paired.low == 0
    assert apart.low < -0.1 < 0.1 < apart.high


def test_only_the_seeds_that_both_rows_have_are_compared():
    rows = rows_of([[0, 0], [1, 1]], [[1, 0], [9, 9]])
    del rows[1][1]
    assert compare_rows(rows, Resampling(100))[1]["m"].value == 0.5


def test_variance_of_resampled_seeds_is_that_of_the_mean():
    """S - 1 draws of S seeds: on average over the resamples, var = s^2 / S, where s^2 divides by S - 1."""
    values = np.array([0.1, 0.5, 0.3])
    means = _seed_weights(3, 200_000, np.random.default_rng(0)) @ values
    assert means.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)


def test_counts_are_of_as_many_draws_as_queries():
    chunks = list(_query_counts(2**21, 5, np.random.default_rng(0)))
    counts = np.concatenate(chunks)
    assert len(chunks) > 1
    assert counts.shape == (5, 2**21)
    assert (counts.sum(axis=1) == 2**21).all()


def test_interval_covers_the_truth_as_often_as_it_says_when_queries_are_what_varies():
    generator, hits = np.random.default_rng(5), 0
    for seed in range(300):
        first = generator.random((3, 60)) < 0.5
        other = generator.random((3, 60)) < 0.5
        result = difference(first, other, count=400, seed=seed)
        hits += result.low <= 0 <= result.high
    assert 0.93 < hits / 300 <= 1.0


def test_few_seeds_cover_less_than_they_say():
    """What the docstring warns of: with three seeds that vary much, about four intervals in five hold the truth."""
    generator, hits = np.random.default_rng(6), 0
    for seed in range(300):
        first = np.zeros((3, 60))
        other = generator.normal(0, 0.01, (3, 60)) + generator.normal(0, 0.1, (3, 1))
        result = difference(first, other, count=400, seed=seed)
        hits += result.low <= 0 <= result.high
    assert 0.65 < hits / 300 < 0.88


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, each at least the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values):
    corrected = holm(p_values)
    assert all(p <= new <= min(1, len(p_values) * p) + 1e-12 for p, new in zip(p_values, corrected, strict=True))
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [new for _, new in pairs] == sorted(corrected)


def test_holm_counts_the_rows_of_the_table():
    zeros, ones = np.zeros((2, 30)), np.ones((2, 30))
    results = compare_rows(rows_of(zeros, ones, ones, zeros), Resampling(999))
    assert [result["m"].p_holm for result in results[1:]] == pytest.approx([0.006, 0.006, 1])


def test_mean_and_deviation_over_seeds():
    assert mean_and_deviation([1, 2, 3]) == (2, 1)
    assert math.isnan(mean_and_deviation([1])[1])


@pytest.mark.parametrize("options", [{"count": 3}, {"confidence": 1.0}])
def test_resampling_that_says_nothing_is_refused(options):
    with pytest.raises(UserError):
        Resampling(**options)
