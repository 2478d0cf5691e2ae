"""The baseline that looks neither at the query nor at the videos, against draws of random orders."""

import numpy as np
import pytest
import torch
from test_corpus_recall import CELLS, LISTING, VIDEOS, iou, video

from mmn.apps.corpus.corpus_prior import chance_within, expected_rank, right_videos, score_prior
from mmn.apps.corpus.corpus_recall import find_answers

TRAIN = [
    video("t", ("x", 0, 5), ("y", 0, 6.25), ("z", 5, 10), ("w", 2.5, 3.75)),
    video("u", ("x", 0, 20), duration=40.0),
]


@pytest.mark.parametrize("rank", [1, 3, 7, 12, 100])
def test_chance_is_the_share_of_random_orders_with_a_right_one_that_early(rank):
    right, num_videos, draws = np.array([[1, 0, 2], [0, 2, 1], [0, 0, 0], [5, 5, 5]]), 5, 4000
    generator = np.random.default_rng(0)
    hits = np.zeros(len(right))
    for _ in range(draws):
        steps = [generator.permutation(num_videos) for _ in right.T]
        for query, counts in enumerate(right):
            is_right = np.concatenate([order < count for order, count in zip(steps, counts, strict=True)])
            hits[query] += is_right[:rank].any()
    np.testing.assert_allclose(chance_within(right, num_videos, rank), hits / draws, atol=0.03)


def test_expected_rank_is_the_mean_over_random_orders():
    right, num_videos, draws = np.array([[1, 0], [0, 2], [3, 1]]), 5, 4000
    generator = np.random.default_rng(0)
    total = np.zeros(len(right))
    for _ in range(draws):
        for query, counts in enumerate(right):
            is_right = np.concatenate([generator.permutation(num_videos) < count for count in counts])
            total[query] += 1 + is_right.argmax()
    np.testing.assert_allclose(expected_rank(right, num_videos), total / draws, rtol=0.03)


def test_nothing_right_has_no_rank():
    assert np.isnan(expected_rank(np.zeros((1, 3), dtype=int), 5)).all()


def test_right_videos_are_counted_once_each():
    answers = find_answers(VIDEOS)
    moments = torch.tensor([[0.0, 0.5], [0.6, 0.9], [0.0, 0.3]])
    counts = right_videos(answers, moments, torch.full((len(VIDEOS),), 10.0), 0.5)
    for query in range(len(answers)):
        there = answers.videos[query] >= 0
        found = list(zip(answers.videos[query][there].tolist(), answers.moments[query][there].tolist(), strict=True))
        for column, moment in enumerate((10 * moments).tolist()):
            right = {place for place, truth in found if iou(moment, truth) >= 0.5}
            assert counts[query, column] == len(right)


@pytest.mark.parametrize(
    ("query", "threshold", "right"), [(0, 0.5, 2), (0, 0.7, 1), (2, 0.5, 0), (4, 0.5, 1), (4, 0.7, 0), (8, 0.7, 1)]
)
def test_prior_lists_what_is_frequent_in_training_and_draws_the_video(query, threshold, right):
    """That is the first half of a video: IoU 1 and 0.6 with "a man runs", 0 with "he sits", 0.5 with "somebody sings"."""
    scores = score_prior(TRAIN, VIDEOS, find_answers(VIDEOS), CELLS, LISTING)
    assert scores.recalls[f"R@1,IoU@{threshold}"][query] == pytest.approx(right / len(VIDEOS))


def test_videos_are_drawn():
    scores = score_prior(TRAIN, VIDEOS, find_answers(VIDEOS), CELLS, LISTING)
    np.testing.assert_allclose(scores.recalls["video R@1"][[0, 5]], [2 / 5, 1 / 5])
    np.testing.assert_allclose(scores.ranks["video rank"][[0, 5]], [6 / 3, 6 / 2])
