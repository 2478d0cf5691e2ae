"""Predictions without a video: what the moments of the train split, a sentence's words or a duration give away alone.

IoU does not change with the unit of time, so everything here is in shares of the video's duration, and a prior is one
ranked list of moments for all videos. Candidates are the moments of a grid of NUM_BINS bins. True moments are [S, G, 2],
empty ones [0, 0] where a sentence has fewer than G; the best of them counts.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.apps.probes.similar_sentences import words
from mmn.data.annotations import VideoAnnotation, count_sentences
from mmn.evaluation.recall import count_hits, recall_metrics
from mmn.structures.batch import RowLayout
from mmn.structures.moments import nms, temporal_iou
from mmn.structures.proposals import ProposalCells

NUM_BINS = 64
NUM_RANKED = 5  # predictions per sentence, which R@5 needs
SMOOTHING = 1.5  # bins: standard deviation of the Gaussian over the histogram
CHUNK = 1024  # sentences at once


def shares(videos: Sequence[VideoAnnotation]) -> Tensor:
    """The moments of all sentences [S, G, 2] float32, as shares of their videos' durations."""
    counts = np.concatenate([video.moment_counts for video in videos])
    moments = torch.cat([torch.from_numpy(video.moments) / video.duration for video in videos])
    return RowLayout.from_counts(counts.tolist()).pad(moments)


def real_moments(moments: Tensor) -> Tensor:
    """[S, G, 2] -> those that are not empty [W, 2]."""
    return moments[moments[..., 1] > moments[..., 0]]


def best_ious(candidates: Tensor, moments: Tensor) -> Tensor:
    """IoU [S, C] of candidates [C, 2], or of each sentence's own [S, C, 2], with the best of its moments [S, G, 2]."""
    candidates = candidates.expand(len(moments), -1, -1)
    best = temporal_iou(candidates, moments[:, :1])
    for further in moments[:, 1:].unbind(dim=1):
        rows = (further[:, 1] > further[:, 0]).nonzero().squeeze(1)
        best[rows] = torch.maximum(best[rows], temporal_iou(candidates[rows], further[rows, None]))
    return best


def candidate_moments() -> Tensor:
    """All moments of the grid [C, 2] float32, in shares."""
    cells = ProposalCells(NUM_BINS, [NUM_BINS - 1])
    return torch.stack([cells.rows, cells.cols + 1], dim=1) / NUM_BINS


def hit_rates(candidates: Tensor, moments: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The share of the thresholds that the IoU of each candidate [C, 2] with each sentence's moments reaches: [S, C].

    Its mean over sentences is the mean R@1 over the thresholds that predicting the candidate always would have.
    """
    iou = best_ious(candidates, moments)
    return torch.stack([(iou >= threshold).float() for threshold in thresholds]).mean(dim=0)


def mean_hit_rates(candidates: Tensor, moments: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The mean of `hit_rates` over the sentences, [C]."""
    total = sum(hit_rates(candidates, part, thresholds).sum(dim=0) for part in moments.split(CHUNK))
    return total / len(moments)


def smoothed_histogram(moments: Tensor) -> Tensor:
    """The density of moments [S, G, 2] over the grid's cells (start bin, end bin), smoothed by a Gaussian -> [C]."""
    bins = (real_moments(moments) * NUM_BINS).long().clamp(0, NUM_BINS - 1)
    counts = torch.zeros(NUM_BINS, NUM_BINS).index_put_(
        (bins[:, 0], bins[:, 1]), torch.ones(len(bins)), accumulate=True
    )
    offsets = torch.arange(NUM_BINS)[:, None] - torch.arange(NUM_BINS)
    kernel = torch.exp(-0.5 * (offsets / SMOOTHING) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    return ProposalCells(NUM_BINS, [NUM_BINS - 1]).from_map(kernel @ counts @ kernel.T)


def rank(candidates: Tensor, scores: Tensor, nms_threshold: float) -> Tensor:
    """The best candidates by scores [S, C] after non-maximum suppression: ranked moments [S, NUM_RANKED, 2] in shares."""
    parts = [
        nms(candidates.expand(len(part), -1, -1), part, nms_threshold, NUM_RANKED)[0] for part in scores.split(CHUNK)
    ]
    return torch.cat(parts)


def ranked_ious(ranked: Tensor, moments: Tensor) -> Tensor:
    """IoU [S, NUM_RANKED] of ranked moments (those of one list for all where S is 1) with the true moments [S, G, 2].

    Where a list has fewer moments it ends in empty ones, whose IoU is 0.
    """
    return best_ious(ranked, moments) * (ranked[..., 1] > ranked[..., 0])


def recall(ious: Tensor, thresholds: Sequence[float]) -> dict[str, float]:
    """The released table from IoUs [S, n], and mIoU of the first prediction; shares."""
    metrics = recall_metrics(count_hits(ious, thresholds), len(ious), thresholds)
    return {**metrics, "mIoU": ious[:, 0].double().mean().item()}


def video_ceiling(videos: Sequence[VideoAnnotation], thresholds: Sequence[float]) -> dict[str, float]:
    """The highest R@1 that a model which does not read the sentence can have: one moment per video, the best of the
    grid and of the video's own true moments, chosen for each threshold with the truth in view."""
    grid, hits = candidate_moments(), dict.fromkeys(thresholds, 0)
    for video in videos:
        moments = shares([video])
        iou = best_ious(torch.cat([grid, real_moments(moments)]), moments)  # [S, C + W]
        for threshold in thresholds:
            hits[threshold] += int((iou >= threshold).sum(dim=0).max())
    return {f"R@1,IoU@{threshold}": count / count_sentences(videos) for threshold, count in hits.items()}


class BagModel(nn.Module):
    """Scores of the grid's candidates from a bag of tokens: the mean of their vectors, then a linear layer.

    Trained to tell the hit rate of every candidate (`hit_rates`), by binary cross-entropy. It starts as the prior.
    """

    def __init__(self, num_tokens: int, prior: Tensor, size: int = 64):
        super().__init__()
        self.vectors = nn.EmbeddingBag(num_tokens, size, mode="mean", padding_idx=0)
        self.output = nn.Linear(size, len(prior))
        nn.init.normal_(self.vectors.weight, std=0.1)
        nn.init.zeros_(self.output.weight)
        self.output.bias.data.copy_(torch.logit(prior.clamp(1e-4, 1 - 1e-4)))

    def forward(self, tokens: Tensor) -> Tensor:
        """[S, L] int64 tokens, 0 where a bag has fewer -> logits [S, C]."""
        return self.output(self.vectors(tokens))


def train_bag_model(
    tokens: Tensor,
    moments: Tensor,
    is_held_out: Tensor,
    num_tokens: int,
    thresholds: Sequence[float],
    nms_threshold: float,
) -> BagModel:
    """Fit a BagModel to training sentences; the epoch with the best mean R@1 on those held out is kept.

    Args:
        tokens: [S, L] int64, 0 is no token.
        moments: [S, G, 2] shares.
        is_held_out: [S] bool.
    """
    epochs, batch_size = 10, 128
    candidates = candidate_moments()
    generator = torch.Generator().manual_seed(0)
    fit, held = (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BagModel(num_tokens, mean_hit_rates(candidates, moments[fit], thresholds))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    best, best_state = -math.inf, model.state_dict()
    for epoch in range(epochs + 1):
        ious = ranked_ious(predict_bags(model, tokens[held], nms_threshold), moments[held])
        score = recall(ious, thresholds)["Best_R1"]
        if score > best:
            best, best_state = score, {name: value.clone() for name, value in model.state_dict().items()}
        if epoch == epochs:
            break
        for rows in fit[torch.randperm(len(fit), generator=generator)].split(batch_size):
            target = hit_rates(candidates, moments[rows], thresholds)
            loss = F.binary_cross_entropy_with_logits(model(tokens[rows]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.load_state_dict(best_state)
    return model


@torch.no_grad()
def predict_bags(model: BagModel, tokens: Tensor, nms_threshold: float) -> Tensor:
    """Ranked moments [S, NUM_RANKED, 2] in shares."""
    candidates = candidate_moments()
    return torch.cat([rank(candidates, model(part).sigmoid(), nms_threshold) for part in tokens.split(CHUNK)])


def held_out_sentences(videos: Sequence[VideoAnnotation]) -> Tensor:
    """[S] bool: the sentences of every tenth video, or of half of the videos where there are fewer than ten."""
    step = min(10, max(2, len(videos) // 2))
    return torch.tensor([number % step == step - 1 for number, video in enumerate(videos) for _ in video.sentences])


def word_tokens(train: Sequence[VideoAnnotation], videos: Sequence[VideoAnnotation]) -> tuple[Tensor, int]:
    """The sentences of `videos` as bags of the words that come twice or more in `train`: [S, L] int64, 0 being none, and
    the number of tokens, 0 included."""
    counts = Counter(word for video in train for sentence in video.sentences for word in dict.fromkeys(words(sentence)))
    numbers = {word: number for number, word in enumerate((w for w, count in counts.items() if count > 1), start=1)}
    bags = [
        torch.tensor([numbers[word] for word in dict.fromkeys(words(sentence)) if word in numbers] or [0])
        for video in videos
        for sentence in video.sentences
    ]
    return nn.utils.rnn.pad_sequence(bags, batch_first=True), len(numbers) + 1


def duration_tokens(
    train: Sequence[VideoAnnotation], videos: Sequence[VideoAnnotation], num_bins: int = 16
) -> tuple[Tensor, int]:
    """The duration of each sentence's video as one of `num_bins` tokens, whose bounds are quantiles of `train`."""
    known = torch.tensor([video.duration for video in train], dtype=torch.float64)
    bounds = known.quantile(torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1])
    durations = torch.tensor([video.duration for video in videos for _ in video.sentences], dtype=torch.float64)
    return torch.bucketize(durations, bounds)[:, None] + 1, num_bins + 1
