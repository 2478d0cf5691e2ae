"""The scores that the moments of a whole library are ranked by, see `mmn.apps.search.ranking_rules`.

Shapes: Q queries, K candidates of each, which are its nearest moments in the space of the rule's head, nearest first.
"""

import numpy as np
import torch
from torch import Tensor

from mmn.apps.search.ranking_rules import RankingRule
from mmn.modeling.scoring import final_score, iou_score

VIDEO_TEMPERATURE = 0.05
"""How soft the maximum is over a video's cosines by which the rule rerank places it."""
MOMENT_POWER = 16.0
"""Of the contrastive score in the product by which rerank orders the moments of a video. A step of cosine then counts about
as much in one head as in the other, whose score is sigmoid(10 cos)."""


def rank_arrays(
    rule: RankingRule, contrastive: np.ndarray, iou: np.ndarray, videos: np.ndarray, power: float
) -> np.ndarray:
    """`rank_scores` of a rule for NumPy arrays."""
    return rank_scores(*map(torch.from_numpy, (contrastive, iou, videos)), power, rule.kind).numpy()


def rank_scores(contrastive: Tensor, iou: Tensor, videos: Tensor, power: float, kind: str) -> Tensor:
    """The scores that candidates are listed by, highest first.

    * "contrastive", "iou", "product": `mmn.modeling.scoring.final_score` of that kind.
    * "rerank": videos by the contrastive head, which alone saw other videos in training, and the moments of a video by
      both heads. A video has the soft maximum t log(sum of exp(cos / t) / K) of its candidates' cosines, t being
      VIDEO_TEMPERATURE, since one moment alone is easily high by chance; a moment gets that, scaled to [0, 1] as in the
      product, times its product (with MOMENT_POWER) as a share of the best product in its video.

    Args:
        contrastive, iou: [Q, K] float32, the candidates' cosines with the query in the two spaces; where `videos` is
            below 0, any finite number.
        videos: [Q, K] int64, the same number for the moments of one video; below 0 where there is no candidate.
        power: TEST.CONTRASTIVE_SCORE_POW, of the product alone.
    Returns:
        [Q, K] float32 in [0, 1]; 0 where there is no candidate.
    """
    is_there = videos >= 0
    if kind != "rerank":
        return final_score(contrastive, iou_score(iou), power, kind) * is_there
    groups = number_groups(videos)
    product = final_score(contrastive, iou_score(iou), MOMENT_POWER).masked_fill(~is_there, 0)
    best = torch.zeros_like(product).scatter_reduce(1, groups, product, "amax").gather(1, groups)
    video = soft_maximum(contrastive.masked_fill(~is_there, -torch.inf), groups).gather(1, groups)
    match = ((video + 1) / 2).clamp(0, 1)
    share = product / best.clamp(min=torch.finfo(product.dtype).tiny)
    return (match * share).masked_fill(~is_there, 0)


def soft_maximum(cosines: Tensor, groups: Tensor) -> Tensor:
    """t log(sum of exp(cos / t) / K) over each group, K being all finite cosines of the row; t is VIDEO_TEMPERATURE.

    Args:
        cosines: [Q, K], -inf where there is none.
        groups: [Q, K] int64 in 0 .. K - 1.
    Returns:
        [Q, K] by the groups' numbers, at most the group's highest; for one without a cosine -inf or nan.
    """
    highest = cosines.amax(dim=1, keepdim=True)  # so that nothing overflows
    parts = ((cosines - highest) / VIDEO_TEMPERATURE).exp()
    count = cosines.isfinite().sum(dim=1, keepdim=True)
    sums = torch.zeros_like(parts).scatter_add(1, groups, parts)
    return highest + VIDEO_TEMPERATURE * (sums / count).log()


def number_groups(groups: Tensor) -> Tensor:
    """Integers [Q, K] -> [Q, K] int64 in 0 .. K - 1, equal in a row where they were.

    >>> number_groups(torch.tensor([[700, 700, -1]]))
    tensor([[1, 1, 0]])
    """
    ordered, order = groups.sort(dim=1, stable=True)
    is_next = torch.zeros_like(order)
    is_next[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(order).scatter(1, order, is_next.cumsum(dim=1))
