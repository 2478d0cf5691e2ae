"""The rules that the moments of a whole library are ranked by.

A rule says which head is searched, and in what order the moments that it finds are listed. Which one is the default was
measured on held-out videos: docs/SEARCH.md has the figures.

Shapes: Q queries, K candidates of each, which are its nearest moments in the space of the rule's head, nearest first.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmn.modeling.scoring import final_score, iou_score
from mmn.utils.errors import ConfigError, nearest

DEFAULT_PER_VIDEO = 3
"""Moments of one video in a list, at most."""
VIDEO_MOMENTS = 4
"""The rule rerank places a video by the mean of so many of its moments."""


@dataclass(frozen=True)
class Rule:
    """How moments are ranked: the first `depth` of a head by `scores`, then those beyond in the order of the head.

    Attributes:
        name: what users call it.
        head: the one of HEADS whose nearest moments are taken.
        depth: how many of them are candidates; 0 where their order is that of the scores already.
        kind: of `rank_scores`.
    """

    name: str
    head: str
    depth: int
    kind: str

    def scores(self, contrastive: np.ndarray, iou: np.ndarray, videos: np.ndarray, power: float) -> np.ndarray:
        """`rank_scores` for NumPy arrays."""
        return rank_scores(*map(torch.from_numpy, (contrastive, iou, videos)), power, self.kind).numpy()


RULES = {
    rule.name: rule
    for rule in (
        Rule("rerank", "contrastive", 1000, "rerank"),
        Rule("contrastive", "contrastive", 0, "contrastive"),
        Rule("iou", "iou", 0, "iou"),
        Rule("product", "contrastive", 1000, "product"),
    )
}
DEFAULT_RULE = "rerank"


def find_rule(name: str) -> Rule:
    """One of RULES. Raises ConfigError for another name."""
    if name not in RULES:
        raise ConfigError(f"there is no rule {name!r} to rank moments by{nearest(name, list(RULES))}")
    return RULES[name]


def rank_scores(contrastive: Tensor, iou: Tensor, videos: Tensor, power: float, kind: str) -> Tensor:
    """What candidates are listed by, highest first.

    * "contrastive", "iou", "product": `mmn.modeling.scoring.final_score` of that kind.
    * "rerank": videos by the contrastive head, which alone saw other videos in training, and the moments of a video by
      both heads. A video's place is decided by the mean of its VIDEO_MOMENTS best cosines, since one moment alone is
      easily high by chance; a moment gets that mean, scaled to [0, 1] as in the product, times its product as a share of
      the best product in its video.

    Args:
        contrastive, iou: [Q, K] float32, the candidates' cosines with the query in the two spaces; where `videos` is
            below 0, any finite number.
        videos: [Q, K] int64, the same number for the moments of one video; below 0 where there is no candidate.
        power: TEST.CONTRASTIVE_SCORE_POW.
    Returns:
        [Q, K] float32 in [0, 1]; 0 where there is no candidate.
    """
    is_there = videos >= 0
    if kind != "rerank":
        return final_score(contrastive, iou_score(iou), power, kind) * is_there
    product = final_score(contrastive, iou_score(iou), power)
    groups, places = group_places(contrastive, videos)
    # A video with fewer candidates has its other moments behind the last of them.
    last = contrastive.masked_fill(~is_there, torch.inf).amin(dim=1, keepdim=True)
    above_last = ((contrastive - last) * (places < VIDEO_MOMENTS)).masked_fill(~is_there, 0)
    mean = last + torch.zeros_like(above_last).scatter_add(1, groups, above_last) / VIDEO_MOMENTS  # [Q, groups]
    best = torch.zeros_like(product).scatter_reduce(1, groups, product * is_there, "amax")
    share = product / best.gather(1, groups).clamp(min=torch.finfo(product.dtype).tiny)
    scores = final_score(mean.gather(1, groups), iou_score(iou), power, "contrastive") * share
    return scores.clamp(max=1).masked_fill(~is_there, 0)


def group_places(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers the groups of every row, and the places within them.

    Args:
        values: [Q, K].
        groups: [Q, K] integers.
    Returns:
        For every entry the number of its group in 0 .. K - 1, and its place in the group from 0 by descending value, the
        earlier first where values are equal; int64 [Q, K] each.

    >>> group_places(torch.tensor([[0.1, 0.3, 0.2]]), torch.tensor([[7, 7, 4]]))
    (tensor([[1, 1, 0]]), tensor([[1, 0, 0]]))
    """
    order = values.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, groups.gather(1, order).argsort(dim=1, stable=True))
    grouped = groups.gather(1, order)
    is_first = torch.ones_like(grouped, dtype=torch.bool)
    is_first[:, 1:] = grouped[:, 1:] != grouped[:, :-1]
    numbers = is_first.cumsum(dim=1) - 1
    along = torch.arange(grouped.shape[1], device=grouped.device).expand_as(grouped)
    places = along - (along * is_first).cummax(dim=1).values
    back = torch.zeros_like(order)
    return back.scatter(1, order, numbers), back.scatter(1, order, places)
