"""Moment geometry, pure: tensors in, tensors out. A moment is (start, end) in seconds, float32, start <= end."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

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
    return cells.bounds_like(durations) * durations[:, None, None] / cells.num_clips


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
    score 0 or below do not take part (SPEC section 5).

    Args:
        moments: [S, M, 2] seconds.
        scores: [S, M], finite.
        num_kept: n, how many moments to keep per set at most.
    Returns:
        kept moments [S, n, 2] and their scores [S, n], best first; where a set has fewer, zeros with score 0.
    """
    kept, kept_scores = nms_indices(moments, scores, iou_threshold, num_kept)
    if not moments.shape[1]:
        return moments.new_zeros(*kept.shape, 2), kept_scores
    kept_moments = moments.gather(1, kept[..., None].expand(-1, -1, 2))
    return kept_moments * (kept_scores > 0)[..., None], kept_scores


def nms_indices(moments: Tensor, scores: Tensor, iou_threshold: float, num_kept: int) -> tuple[Tensor, Tensor]:
    """`nms`, which candidates it keeps: their places [S, n] int64 and scores [S, n]; score 0 where a set has fewer.

    All S sets advance together, one kept moment each per turn, and stop at `num_kept`, so nothing is sorted that
    nobody asked for.
    """
    num_sets = len(scores)
    kept = torch.zeros(num_sets, num_kept, dtype=torch.int64, device=scores.device)
    kept_scores = scores.new_zeros(num_sets, num_kept)
    starts, ends = (bound.contiguous() for bound in moments.unbind(-1))
    remaining = scores.clamp(min=0)
    suppressed = torch.empty_like(remaining)  # 0 or 1
    for turn in range(num_kept if remaining.shape[1] else 0):
        best = first_argmax(remaining)
        score, start, end = remaining.gather(1, best), starts.gather(1, best), ends.gather(1, best)
        kept[:, turn] = best.squeeze(1)
        kept_scores[:, turn] = score.squeeze(1)
        # In plain form: remaining[temporal_iou(moments, the kept moment) > iou_threshold] = 0. For speed the clamp at 0 is
        # left out, which decides nothing since no threshold is negative, and the mask is 0 and 1, to multiply with.
        overlap = torch.minimum(ends, end).sub_(torch.maximum(starts, start))
        hull = torch.maximum(ends, end).sub_(torch.minimum(starts, start))
        torch.gt(overlap.div_(hull), iou_threshold, out=suppressed)
        remaining.addcmul_(remaining, suppressed, value=-1)
        # A moment of length zero has no IoU with itself, and a threshold of 1 suppresses nothing: take it out by hand.
        remaining.scatter_(1, best, 0)
    return kept, kept_scores


def first_argmax(values: Tensor) -> Tensor:
    """Place of the first maximum of each row [S, M] of values >= 0 -> [S, 1] int64.

    In two steps, over blocks and within the best block: reductions without an index are many times faster on a CPU.
    """
    size = max(1, math.isqrt(values.shape[1]))
    blocks = F.pad(values, (0, -values.shape[1] % size)).unflatten(1, (-1, size))
    block = blocks.amax(dim=2).argmax(dim=1, keepdim=True)  # [S, 1]
    best = blocks.gather(1, block[..., None].expand(-1, -1, size)).squeeze(1)  # [S, size]
    return block * size + best.argmax(dim=1, keepdim=True)
