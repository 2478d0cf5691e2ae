"""Predictions that look at no video."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmn.apps.probes import priors
from mmn.data.annotations import VideoAnnotation
from mmn.structures.moments import temporal_iou

THRESHOLDS = (0.5, 0.7)


def video(number, duration, *pairs):
    """pairs: (sentence, start, end)."""
    moments = np.array([pair[1:] for pair in pairs], dtype=np.float32)
    return VideoAnnotation(f"v{number}", duration, [pair[0] for pair in pairs], moments[:, None])


def random_shares(count, seed=0):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values


def test_moments_are_shares_of_their_videos():
    videos = [video(0, 10.0, ("a", 0, 5)), video(1, 40.0, ("b", 10, 20), ("c", 30, 40))]
    assert priors.shares(videos).tolist() == [[[0, 0.5]], [[0.25, 0.5]], [[0.75, 1]]]


def several_moments():
    """Three sentences with one, three and two moments, in shares, and the same as lists."""
    moments = [[[0.0, 0.2]], [[0.1, 0.3], [0.5, 0.6], [0.7, 1.0]], [[0.4, 0.8], [0.9, 1.0]]]
    videos = [
        VideoAnnotation("a", 10.0, ["x", "y"], [10 * np.array(part) for part in moments[:2]]),
        VideoAnnotation("b", 5.0, ["z"], [5 * np.array(moments[2])]),
    ]
    return videos, [torch.tensor(part) for part in moments]


def test_the_best_of_several_moments_counts():
    videos, moments = several_moments()
    candidates = random_shares(30)
    wanted = torch.stack([torch.stack([temporal_iou(c, part).max() for c in candidates]) for part in moments])
    shares = priors.shares(videos)
    torch.testing.assert_close(priors.best_ious(candidates, shares), wanted)
    own = candidates[:9].view(3, 3, 2)
    wanted = torch.stack([wanted[number, 3 * number : 3 * number + 3] for number in range(3)])
    torch.testing.assert_close(priors.best_ious(own, shares), wanted)


def test_every_moment_is_in_the_histogram_once():
    videos, moments = several_moments()
    single = priors.smoothed_histogram(torch.cat(moments)[:, None])
    torch.testing.assert_close(priors.smoothed_histogram(priors.shares(videos)), single)


def test_ceiling_of_several_moments():
    """A video's one moment is right for each of its sentences that has it among its own."""
    windows = [np.array([[0.0, 2], [6, 8]]), np.array([[6.0, 8]]), np.array([[3.0, 5]])]
    videos = [VideoAnnotation("a", 10.0, ["x", "y", "z"], windows)]
    assert priors.video_ceiling(videos, (0.9,)) == {"R@1,IoU@0.9": 2 / 3}


def test_candidates_are_all_moments_of_the_grid():
    wanted = {(a / 64, b / 64) for a in range(64) for b in range(a + 1, 65)}
    assert {tuple(moment) for moment in priors.candidate_moments().tolist()} == wanted


@given(st.integers(0, 1000))
def test_hit_rates_by_loops(seed):
    candidates, moments = random_shares(5, seed), random_shares(4, seed + 1)
    wanted = [
        [sum(float(temporal_iou(c, m)) >= t for t in THRESHOLDS) / len(THRESHOLDS) for c in candidates] for m in moments
    ]
    moments = moments[:, None]
    rates = priors.hit_rates(candidates, moments, THRESHOLDS)
    assert rates.tolist() == pytest.approx(np.array(wanted))
    assert priors.mean_hit_rates(candidates, moments, THRESHOLDS).tolist() == pytest.approx(np.mean(wanted, axis=0))


def test_best_constant_is_the_best_of_all_candidates_on_train():
    """By trying every candidate as the one prediction."""
    moments, grid = random_shares(60)[:, None], priors.candidate_moments()
    ranked = priors.rank(grid, priors.mean_hit_rates(grid, moments, THRESHOLDS)[None], 0.5)
    score = priors.recall(priors.ranked_ious(ranked, moments), THRESHOLDS)["Best_R1"]
    tried = [priors.recall(temporal_iou(c[None], moments[:, 0])[:, None], THRESHOLDS)["Best_R1"] for c in grid]
    assert score == pytest.approx(max(tried))


def test_histogram_peaks_where_the_moments_are_and_keeps_its_mass_inside():
    density = priors.smoothed_histogram(torch.tensor([[[0.252, 0.495]]] * 3 + [[[0.0, 0.999]]]))
    start, end = priors.candidate_moments()[density.argmax()].tolist()
    assert (start, end) == (16 / 64, 32 / 64)
    assert 0 < density.sum() <= 4 + 1e-4


def test_ranked_moments_are_those_of_nms():
    grid = priors.candidate_moments()
    ranked = priors.rank(grid, torch.rand(3, len(grid)), 0.5)
    assert ranked.shape == (3, priors.NUM_RANKED, 2)
    for row in ranked:
        ious = temporal_iou(row[:, None], row)
        assert (ious - torch.eye(len(row))).max() <= 0.5


def test_list_that_ends_early_is_no_hit():
    ranked = torch.zeros(1, 5, 2)
    assert not priors.ranked_ious(ranked, torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]])).any()


def test_ceiling_by_hand():
    """Of three sentences two share their moment; of the other video one of two can be found."""
    videos = [video(0, 10.0, ("a", 0, 2), ("b", 0, 2), ("c", 8, 10)), video(1, 10.0, ("d", 0, 3), ("e", 7, 10))]
    assert priors.video_ceiling(videos, (0.5,)) == {"R@1,IoU@0.5": 3 / 5}


def make_told_videos(count, seed):
    """Sentences whose second word says where the moment is."""
    places = {"early": (0, 30), "late": (70, 100)}
    generator = np.random.default_rng(seed)
    return [
        video(
            number, 100.0, *(("it " + (word := str(generator.choice(list(places)))), *places[word]) for _ in range(2))
        )
        for number in range(count)
    ]


def test_words_that_tell_the_place_are_learnt():
    train, test = make_told_videos(150, 0), make_told_videos(20, 1)
    tokens, num_tokens = priors.word_tokens(train, train)
    held = priors.held_out_sentences(train)
    model = priors.train_bag_model(tokens, priors.shares(train), held, num_tokens, THRESHOLDS, 0.5)
    ranked = priors.predict_bags(model, priors.word_tokens(train, test)[0], 0.5)
    assert priors.recall(priors.ranked_ious(ranked, priors.shares(test)), THRESHOLDS)["R@1,IoU@0.7"] > 0.9


def test_untrained_bag_model_is_the_prior():
    prior = torch.tensor([0.1, 0.6, 0.3])
    assert priors.BagModel(5, prior)(torch.tensor([[1, 2], [3, 0]])).sigmoid().allclose(prior.expand(2, -1))


def test_words_are_those_that_come_twice_in_train():
    train = [video(0, 10.0, ("a b", 0, 1), ("A c", 0, 1)), video(1, 10.0, ("c", 0, 1))]
    tokens, num_tokens = priors.word_tokens(train, [video(2, 10.0, ("a c", 0, 1), ("b unseen", 0, 1))])
    assert num_tokens == 3
    assert sorted(tokens[0].tolist()) == [1, 2]
    assert tokens[1].tolist() == [0, 0]


def test_durations_become_quantiles_of_train():
    train = [video(number, float(number + 1), ("a", 0, 1)) for number in range(16)]
    tokens, num_tokens = priors.duration_tokens(train, train, num_bins=4)
    assert num_tokens == 5
    assert torch.bincount(tokens[:, 0], minlength=5).tolist() == [0, 4, 4, 4, 4]


def test_held_out_sentences_are_those_of_whole_videos():
    videos = [video(number, 10.0, ("a", 0, 1), ("b", 0, 1)) for number in range(20)]
    held = priors.held_out_sentences(videos).view(20, 2)
    assert held.sum() == 4
    assert (held[:, 0] == held[:, 1]).all()


def test_tokens_are_numbered_as_the_words_come():
    """Not as a set happens to hold them, which another process does in another order."""
    train = [video(0, 10.0, ("e d c b a", 0, 1), ("a b c d e", 0, 1))]
    assert priors.word_tokens(train, train)[0][0].tolist() == [1, 2, 3, 4, 5]
