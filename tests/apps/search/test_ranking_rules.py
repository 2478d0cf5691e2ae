"""The rules that moments of many videos are ranked by."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmn.apps.search.rank_scores import number_groups, rank_arrays, rank_scores
from mmn.apps.search.ranking_rules import DEFAULT_RULE, RULES, find_rule
from mmn.structures.query_vectors import HEADS
from mmn.utils.errors import ConfigError

POWER = 0.5
COSINE = st.floats(-1, 1, width=32)


@st.composite
def candidates(draw):
    """Both heads' cosines, and the videos, of some queries' candidates as stores give them: best first, then none."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12)))
    contrastive = draw(arrays.arrays(np.float32, shape, elements=COSINE))
    iou = draw(arrays.arrays(np.float32, shape, elements=COSINE))
    videos = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 4)))
    counts = draw(arrays.arrays(np.int64, shape[0], elements=st.integers(0, shape[1])))
    empty = np.arange(shape[1]) >= counts[:, None]
    contrastive = -np.sort(-np.where(empty, np.float32(-1), contrastive), axis=1)
    return np.where(empty, np.float32(-1), contrastive), iou, np.where(empty, -1, videos)


def naive_rerank(contrastive, iou, videos) -> list[float]:
    """One query, as the documentation says it."""
    there = [place for place, video in enumerate(videos) if video >= 0]
    products = [
        ((match + 1) / 2) ** 16 / (1 + math.exp(-10 * fit)) for match, fit in zip(contrastive, iou, strict=True)
    ]
    scores = [0.0] * len(videos)
    for place in there:
        own = [other for other in there if videos[other] == videos[place]]
        soft = 0.05 * math.log(sum(math.exp(contrastive[other] / 0.05) for other in own) / len(there))
        share = products[place] / max(max(products[other] for other in own), 1e-38)
        scores[place] = max(soft + 1, 0) / 2 * share
    return scores


@given(candidates())
def test_rerank_is_the_soft_maximum_of_the_video_times_the_share_of_the_best_product(case):
    contrastive, iou, videos = case
    found = rank_arrays(RULES["rerank"], contrastive, iou, videos, POWER)
    wanted = [naive_rerank(*(part.tolist() for part in row)) for row in zip(*case, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


@given(candidates(), st.sampled_from(sorted(RULES)))
def test_scores_are_within_0_and_1_and_0_where_there_is_no_candidate(case, name):
    contrastive, iou, videos = case
    scores = rank_arrays(RULES[name], contrastive, iou, videos, POWER)
    assert scores.dtype == np.float32 and scores.shape == videos.shape
    assert (scores >= 0).all() and (scores <= 1).all()
    assert (scores[videos < 0] == 0).all()


@given(candidates(), st.sampled_from(sorted(RULES)))
def test_scores_do_not_depend_on_what_the_videos_are_called_or_on_empty_places(case, name):
    contrastive, iou, videos = case
    scores = rank_arrays(RULES[name], contrastive, iou, videos, POWER)
    renamed = np.where(videos < 0, -1, 1_000_000_007 * (9 - videos))
    longer = (
        np.pad(part, ((0, 0), (0, 3)), constant_values=fill)
        for part, fill in ((contrastive, 0.5), (iou, 0.5), (renamed, -1))
    )
    np.testing.assert_allclose(rank_arrays(RULES[name], *longer, POWER)[:, : videos.shape[1]], scores, atol=1e-6)


@given(candidates())
def test_rerank_never_places_a_video_above_its_best_moment(case):
    contrastive, _, videos = case
    scores = rank_arrays(RULES["rerank"], *case, POWER)
    for row in range(len(videos)):
        for video in set(videos[row][videos[row] >= 0]):
            own = videos[row] == video
            assert scores[row][own].max() <= (contrastive[row][own].max() + 1) / 2 + 1e-6


def test_rerank_prefers_the_video_with_more_evidence_to_the_one_with_the_highest_moment():
    contrastive, videos = np.array([[0.51, 0.5, 0.49, 0.48, 0.2]], np.float32), np.array([[1, 2, 2, 2, 1]])
    scores = rank_arrays(RULES["rerank"], contrastive, np.zeros_like(contrastive), videos, POWER)[0]
    assert scores.argmax() == 1


def test_rerank_orders_the_moments_of_a_video_by_both_heads():
    contrastive, iou = np.array([[0.52, 0.5, 0.3]], np.float32), np.array([[-0.1, 0.1, 0.1]], np.float32)
    scores = rank_arrays(RULES["rerank"], contrastive, iou, np.zeros((1, 3), np.int64), POWER)[0]
    assert scores.argsort().tolist() == [2, 0, 1]


@given(arrays.arrays(np.int64, (2, 9), elements=st.integers(-2, 3)))
def test_groups_are_numbered_from_0_and_stay_apart(groups):
    numbers = number_groups(torch.from_numpy(groups)).numpy()
    for row, new in zip(groups, numbers, strict=True):
        assert set(new) == set(range(len(set(row))))
        assert np.array_equal(row[:, None] == row, new[:, None] == new)


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not rule.depth])
def test_rule_without_a_depth_lists_in_the_order_of_its_head(name):
    rule = RULES[name]
    cosines = {head: torch.randn(1, 50).clamp(-1, 1) for head in HEADS}
    scores = rank_scores(*cosines.values(), torch.zeros(1, 50, dtype=torch.int64), POWER, rule.kind)
    order = cosines[rule.head].argsort(descending=True)
    assert (scores.gather(1, order).diff() <= 0).all()


def test_default_rule_is_there():
    assert find_rule(DEFAULT_RULE).name == DEFAULT_RULE


def test_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no rule 're-rank' to rank moments by: did you mean rerank?"):
        find_rule("re-rank")
