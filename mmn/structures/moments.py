"""Moment geometry, pure: tensors in, tensors out. A moment is (start, end) in seconds, float32, start <= end."""

import torch
from torch import Tensor

from mmn.structures.proposals import ProposalCells


def temporal_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of moments a [..., 2] with moments b [..., 2], broadcast over the leading dimensions -> [...].

    The overlap over the hull, which for disjoint moments is 0 (SPEC section 1). Two empty moments at one point give 0.

    >>> temporal_iou(torch.tensor([0.0, 4.0]), torch.tensor([[2.0, 6.0], [4.0, 8.0]]))
    tensor([0.3333, 0.0000])
    """
    overlap = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return torch.where(hull > 0, overlap / hull, torch.zeros_like(hull))


def cell_moments(cells: ProposalCells, durations: Tensor) -> Tensor:
    """The moments of the valid cells of videos with `durations` [S] seconds -> [S, M, 2] seconds.

    Bounds are index * duration / N in this order of operations, which float32 results depend on (SPEC section 1).
    """
    bounds = torch.stack([cells.rows, cells.cols + 1], dim=-1).to(durations)
    return bounds * durations[:, None, None] / cells.num_clips


def cell_ious(cells: ProposalCells, moments: Tensor, durations: Tensor) -> Tensor:
    """The packed IoU map: IoU of each moment with the valid cells of its video (SPEC section 1).

    Args:
        moments: [S, 2] seconds.
        durations: [S] seconds, of the moments' videos.
    Returns:
        [S, M] in [0, 1].
    """
    return temporal_iou(cell_moments(cells, durations), moments[:, None])


def nms(moments: Tensor, scores: Tensor, iou_threshold: float, num_kept: int) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression of S independent sets of candidates at once.

    By descending score, a candidate is dropped where its IoU with a kept one is above the threshold; candidates of
    score 0 or below do not take part (SPEC section 5). All S sets advance together, one kept moment each per turn, and
    stop at `num_kept`, so nothing is sorted that nobody asked for.

    Args:
        moments: [S, M, 2] seconds.
        scores: [S, M], finite.
        num_kept: n, how many moments to keep per set at most.
    Returns:
        kept moments [S, n, 2] and their scores [S, n], best first; where a set has fewer, zeros with score 0.
    """
    num_sets = len(scores)
    kept_moments = moments.new_zeros(num_sets, num_kept, 2)
    kept_scores = scores.new_zeros(num_sets, num_kept)
    remaining = scores.clamp(min=0)
    every_set = torch.arange(num_sets, device=scores.device)
    for turn in range(num_kept if remaining.shape[1] else 0):
        score, best = remaining.max(dim=1)
        is_left = score > 0
        moment = torch.where(is_left[:, None], moments[every_set, best], 0.0)
        kept_moments[:, turn], kept_scores[:, turn] = moment, score
        suppressed = temporal_iou(moments, moment[:, None]) > iou_threshold
        remaining = remaining.masked_fill(suppressed, 0)
        # A moment of length zero has no IoU with itself, and a threshold of 1 suppresses nothing: take it out by hand.
        remaining[every_set, best] = 0
    return kept_moments, kept_scores
