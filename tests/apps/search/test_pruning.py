"""Pruning against two plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.search.pruning import PRUNE_IOU, kept_moments, moment_ious


def make(num_windows, num_moments, seed, spread=0.3, window=10.0, step=5.0):
    """Windows of random moments (multiples of half a second) and two spaces of vectors that are near each other."""
    generator = np.random.default_rng(seed)
    moments, spaces = [], ([], [])
    for number in range(num_windows):
        bounds = np.sort(generator.integers(0, 2 * window, (num_moments, 2)), axis=1) / 2
        bounds[:, 1] += 0.5
        moments.append((bounds + number * step).astype(np.float32))
        for space in spaces:
            vectors = np.array([1.0, 0, 0, 0]) + spread * generator.standard_normal((num_moments, 4))
            space.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))
    return moments, spaces


def plain_kept(moments, spaces, least_cosine):
    """Each moment in turn against all kept ones before it."""
    moments = np.concatenate(moments)
    spaces = [np.concatenate(space).astype(np.float32) for space in spaces]
    kept = []
    for row in range(len(moments)):
        is_needed = True
        for other in kept:
            inter = min(moments[row, 1], moments[other, 1]) - max(moments[row, 0], moments[other, 0])
            union = max(moments[row, 1], moments[other, 1]) - min(moments[row, 0], moments[other, 0])
            near = all(float(np.dot(space[row], space[other])) >= least_cosine for space in spaces)
            is_needed &= not (near and inter / union >= PRUNE_IOU)
        if is_needed:
            kept.append(row)
    mask = np.zeros(len(moments), bool)
    mask[kept] = True
    return mask


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 1000), st.sampled_from([0.5, 0.9, 0.97]))
def test_kept_moments_are_those_of_the_plain_loops(num_windows, num_moments, seed, least_cosine):
    moments, spaces = make(num_windows, num_moments, seed)
    found = kept_moments(moments, spaces, least_cosine)
    np.testing.assert_array_equal(found, plain_kept(moments, spaces, least_cosine))
    assert found[0]


def test_something_is_left_out_and_something_stays():
    moments, spaces = make(3, 40, 0)
    assert 0.1 < kept_moments(moments, spaces, 0.9).mean() < 0.9


def test_one_space_that_tells_two_moments_apart_keeps_both():
    moments = [np.array([[0, 4], [0, 4]], np.float32)]
    same, different = np.eye(4, dtype=np.float16)[[0, 0]], np.eye(4, dtype=np.float16)[[0, 1]]
    assert kept_moments(moments, ([same], [same]), 0.9).tolist() == [True, False]
    assert kept_moments(moments, ([same], [different]), 0.9).tolist() == [True, True]


@pytest.mark.parametrize("shift, stays", [(1.0, True), (0.9, True), (0.5, False)])
def test_moments_that_overlap_little_both_stay(shift, stays):
    moments = [np.array([[0, 4], [shift, 4 + shift]], np.float32)]
    same = [np.eye(4, dtype=np.float16)[[0, 0]]]
    assert kept_moments(moments, (same, same), 0.9).tolist() == [True, stays]


def test_ious_of_touching_nested_and_equal_moments():
    moments = np.array([[0, 4]], np.float32)
    others = np.array([[4, 8], [1, 3], [0, 4], [2, 6]], np.float32)
    np.testing.assert_allclose(moment_ious(moments, others), [[0, 0.5, 1, 1 / 3]])
