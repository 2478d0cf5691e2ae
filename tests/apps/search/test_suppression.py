"""Suppression and the limit per video, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moment_library import plain_select

from mmn.apps.search.suppression import select_moments, video_numbers


@st.composite
def candidates(draw):
    """(scores, videos, moments, takes_part) of some queries; bounds on a coarse grid, so that moments often touch."""
    num_queries, k = draw(st.integers(1, 3)), draw(st.integers(0, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = generator.permuted(np.arange(num_queries * k)).reshape(num_queries, k) / 100
    videos = generator.integers(0, 3, (num_queries, k))
    bounds = np.sort(generator.integers(0, 6, (num_queries, k, 2)), axis=2)
    return scores, videos, bounds.astype(np.float32), generator.random((num_queries, k)) < 0.9


@given(candidates(), st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([None, 1, 2]))
def test_selection_is_that_of_the_plain_loop(given, top_k, nms_threshold, per_video):
    scores, videos, moments, takes_part = given
    chosen = select_moments(scores, videos, moments, takes_part, top_k, nms_threshold, per_video)
    assert chosen.shape == (len(scores), top_k)
    for row in range(len(scores)):
        places = np.flatnonzero(takes_part[row])
        ordered = sorted(places, key=lambda place: -scores[row, place])
        entries = [(videos[row, place], moments[row, place], scores[row, place]) for place in ordered]
        wanted = plain_select(entries, top_k, nms_threshold, per_video)
        found = [place for place in chosen[row] if place >= 0]
        assert scores[row, found].tolist() == [score for *_, score in wanted]
        assert (chosen[row, len(found) :] == -1).all()


def test_of_equal_scores_the_first_candidate_comes_first():
    moments = np.array([[[0, 1], [2, 3], [4, 5]]], np.float32)
    ones = np.ones((1, 3))
    chosen = select_moments(ones, np.zeros((1, 3), int), moments, ones > 0, 3, 0.5)
    assert chosen.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("per_video, wanted", [(None, [0, 1, 3]), (1, [0, 3, -1])])
def test_limit_counts_kept_moments_of_a_video(per_video, wanted):
    moments = np.array([[[0, 1], [2, 3], [4, 5], [0, 1]]], np.float32)
    videos = np.array([[7, 7, 7, 8]])
    chosen = select_moments(np.array([[0.9, 0.8, 0.1, 0.5]]), videos, moments, np.ones((1, 4), bool), 3, 0.5, per_video)
    assert chosen.tolist() == [wanted]


def test_numbers_are_equal_where_ids_are():
    ids = np.array([["b", "a"], ["a", ""]], object)
    numbers = video_numbers(ids)
    assert ((numbers[..., None, None] == numbers) == (ids[..., None, None] == ids)).all()
