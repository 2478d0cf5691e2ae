"""A search of a corpus without looking: moments by the training set's prior, in videos drawn by chance.

The prior is the same for all videos, so at every step of it all videos tie. They are taken to come in random order, and
what is given are exact chances and expected ranks, not those of one draw.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmn.apps.corpus.corpus_recall import (
    RECALL_RANKS,
    THRESHOLDS,
    Answers,
    CorpusScores,
    Listing,
    rank_names,
    recall_names,
)
from mmn.apps.probes.priors import mean_hit_rates, shares
from mmn.apps.probes.similar_sentences import chance_in_batch
from mmn.data.annotations import VideoAnnotation
from mmn.structures.moments import nms_indices, temporal_iou
from mmn.structures.proposals import ProposalCells


def score_prior(
    train: Sequence[VideoAnnotation],
    videos: Sequence[VideoAnnotation],
    answers: Answers,
    cells: ProposalCells,
    listing: Listing,
) -> CorpusScores:
    """The prior-only baseline for the queries of a split.

    Moments are ranked by the mean share of THRESHOLDS that their IoU with the moments of `train` reaches.

    Args:
        train, videos: annotations of the training set and of the split.
        answers: those of the split's queries, on the CPU.
        cells: the moments of every video.
    """
    candidates = torch.stack([cells.rows, cells.cols + 1], dim=1) / cells.num_clips  # [M, 2] shares
    prior = mean_hit_rates(candidates, shares(train), THRESHOLDS)
    order = prior.argsort(descending=True, stable=True)
    # Where no training moment fits, the prior knows nothing; NMS takes no moment of score 0.
    kept, kept_scores = nms_indices(candidates[None], prior[None], listing.nms_threshold, listing.per_video)
    kept = kept[kept_scores > 0]
    durations = torch.tensor([video.duration for video in videos])
    listed = [right_videos(answers, candidates[kept], durations, threshold) for threshold in THRESHOLDS]
    every = [right_videos(answers, candidates[order], durations, threshold) for threshold in THRESHOLDS]
    right = answers.video_counts()[:, None]
    recalls = [chance_within(steps, len(videos), rank) for steps in (right, *listed) for rank in RECALL_RANKS]
    ranks = [expected_rank(steps, len(videos)) for steps in (right, *every)]
    return CorpusScores(dict(zip(recall_names(), recalls, strict=True)), dict(zip(rank_names(), ranks, strict=True)))


def right_videos(answers: Answers, moments: Tensor, durations: Tensor, threshold: float) -> np.ndarray:
    """Counts of the videos in which each of n moments [n, 2], in shares, is right for each query: [Q, n] int64."""
    counts = torch.zeros(len(answers), len(moments), dtype=torch.int64)
    for number, (places, truths) in enumerate(zip(answers.videos, answers.moments, strict=True)):
        is_answer = places >= 0
        places, truths = places[is_answer], truths[is_answer] / durations[places[is_answer], None]
        is_right = temporal_iou(moments, truths[:, None]) >= threshold  # [A, n]
        for place in places.unique():
            counts[number] += is_right[places == place].any(dim=0)
    return counts.numpy()


def chance_within(right: np.ndarray, num_videos: int, rank: int) -> np.ndarray:
    """The chance [Q] that one of the first `rank` is right.

    Args:
        right: [Q, n], how many of the `num_videos` that come in random order at each of n steps are right.
    """
    none = np.ones(len(right))
    for step, count in enumerate(right.T):
        taken = min(max(rank - step * num_videos, 0), num_videos)
        none *= 1 - chance_in_batch(count, num_videos + 1, taken + 1)
    return 1 - none


def expected_rank(right: np.ndarray, num_videos: int) -> np.ndarray:
    """The expected rank [Q] of the first right one; nan where there is none. `right`: see `chance_within`.

    Of r right ones among V in random order the first is expected at (V + 1) / (r + 1).
    """
    step = (right > 0).argmax(axis=1)
    count = right[np.arange(len(right)), step]
    return np.where(count > 0, step * num_videos + (num_videos + 1) / (count + 1), np.nan)
