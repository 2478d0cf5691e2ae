"""The rules that moments of many videos are ranked by."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmn.index.ranking import DEFAULT_RULE, RULES, VIDEO_MOMENTS, find_rule, group_places, rank_scores
from mmn.index.records import HEADS
from mmn.utils.errors import ConfigError

POWER = 0.5
COSINE = st.floats(-1, 1, width=32)


@st.composite
def candidates(draw):
    """Both heads' cosines, and the videos, of some queries' candidates as engines give them: best first, then none."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 12)))
    contrastive = draw(arrays.arrays(np.float32, shape, elements=COSINE))
    iou = draw(arrays.arrays(np.float32, shape, elements=COSINE))
    videos = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, 4)))
    counts = draw(arrays.arrays(np.int64, shape[0], elements=st.integers(0, shape[1])))
    empty = np.arange(shape[1]) >= counts[:, None]
    contrastive = -np.sort(-np.where(empty, np.float32(-1), contrastive), axis=1)
    return np.where(empty, np.float32(-1), contrastive), iou, np.where(empty, -1, videos)


def naive_product(contrastive: float, iou: float) -> float:
    return max((contrastive + 1) / 2, 0) ** POWER / (1 + math.exp(-10 * iou))


def naive_rerank(contrastive, iou, videos) -> list[float]:
    """One query, as the documentation says it."""
    there = [place for place, video in enumerate(videos) if video >= 0]
    scores = [0.0] * len(videos)
    for place in there:
        own = [other for other in there if videos[other] == videos[place]]
        best = sorted((contrastive[other] for other in own), reverse=True)[:VIDEO_MOMENTS]
        best += [min(contrastive[other] for other in there)] * (VIDEO_MOMENTS - len(best))
        share = naive_product(contrastive[place], iou[place]) / max(
            max(naive_product(contrastive[other], iou[other]) for other in own), 1e-30
        )
        scores[place] = (sum(best) / VIDEO_MOMENTS + 1) / 2 * share
    return scores


@given(candidates())
def test_rerank_is_the_mean_of_the_best_of_the_video_times_the_share_of_the_best_product(case):
    contrastive, iou, videos = case
    found = RULES["rerank"].scores(contrastive, iou, videos, POWER)
    wanted = [naive_rerank(*(part.tolist() for part in row)) for row in zip(*case, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


@given(candidates(), st.sampled_from(sorted(RULES)))
def test_scores_are_within_0_and_1_and_0_where_there_is_no_candidate(case, name):
    contrastive, iou, videos = case
    scores = RULES[name].scores(contrastive, iou, videos, POWER)
    assert scores.dtype == np.float32 and scores.shape == videos.shape
    assert (scores >= 0).all() and (scores <= 1).all()
    assert (scores[videos < 0] == 0).all()


@given(candidates(), st.sampled_from(sorted(RULES)))
def test_scores_do_not_depend_on_what_the_videos_are_called_or_on_empty_places(case, name):
    contrastive, iou, videos = case
    scores = RULES[name].scores(contrastive, iou, videos, POWER)
    renamed = np.where(videos < 0, -1, 1_000_000_007 * (9 - videos))
    longer = (
        np.pad(part, ((0, 0), (0, 3)), constant_values=fill)
        for part, fill in ((contrastive, 0.5), (iou, 0.5), (renamed, -1))
    )
    np.testing.assert_allclose(RULES[name].scores(*longer, POWER)[:, : videos.shape[1]], scores, atol=1e-6)


@given(candidates())
def test_rerank_lists_videos_in_the_order_of_their_means(case):
    contrastive, _, videos = case
    scores = RULES["rerank"].scores(*case, POWER)
    for row in range(len(videos)):
        means = {
            video: naive_rerank(contrastive[row].tolist(), [0.0] * len(videos[row]), videos[row].tolist())
            for video in set(videos[row][videos[row] >= 0])
        }
        best = {video: scores[row][videos[row] == video].max() for video in means}
        highest = {video: max(np.array(mean)[videos[row] == video]) for video, mean in means.items()}
        for video, score in best.items():
            assert score == pytest.approx(highest[video], abs=2e-6)


@given(arrays.arrays(np.float32, (2, 9), elements=COSINE), arrays.arrays(np.int64, (2, 9), elements=st.integers(-2, 3)))
def test_places_in_groups_count_the_better_ones_and_the_earlier_equal_ones(values, groups):
    numbers, places = (part.tolist() for part in group_places(torch.from_numpy(values), torch.from_numpy(groups)))
    for row in range(2):
        for here in range(9):
            own = [other for other in range(9) if groups[row, other] == groups[row, here]]
            before = [other for other in own if (-values[row, other], other) < (-values[row, here], here)]
            assert places[row][here] == len(before)
            assert {other for other in range(9) if numbers[row][other] == numbers[row][here]} == set(own)


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
