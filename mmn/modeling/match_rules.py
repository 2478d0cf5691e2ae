"""Rules by which the moments of a map match a sentence, from the contrastive head's cosines (TEST.CONTRASTIVE_RULE).

The released rule takes the cosine of the moment itself. The others take the cosines of the single clips, the map's
diagonal, and compare those inside a moment with those outside, as tests for a change in a series do: a vector that is a
mean over clips prefers what is long, and a dual encoder (CLIP and its like) gives nothing but such means. With n clips
inside, m outside and T = n + m, "within" the mean of the cosines inside and "without" that outside:

    centred     within - mean of all
    contrast    within - without
    scaled      sqrt(n m / T) (within - without): the statistic of the likelihood ratio test for an epidemic change of the
                mean under Gaussian noise (Levin and Kline, 1985); divided by the norm of the centred cosines it is the
                correlation of the cosines with the moment's indicator
    cusum       n m / T (within - without): how far the cumulative sum of the centred cosines rises in the moment
    local       as scaled, but outside is no further from the moment than it is long

All are made from cumulative sums, so that a map costs as much as it has cells.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mmn.modeling.scoring import cosine_match
from mmn.structures.proposals import ProposalCells

COSINE = "cosine"


def own_cosine(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    """The released rule: the moment's own cosine, from [-1, 1] to [0, 1]."""
    return cosine_match(contrastive)


def mean_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    """Mean cosine of the clips inside, from [-1, 1] to [0, 1]."""
    clips = ClipSums(contrastive, cells)
    return ((clips.inside / clips.num_inside + clips.mean + 1) / 2).clamp(0, 1).to(contrastive.dtype)


def centred_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    clips = ClipSums(contrastive, cells)
    return (clips.inside / clips.num_inside / 2).clamp(0, 1).to(contrastive.dtype)


def contrast_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    clips = ClipSums(contrastive, cells)
    return (clips.inside / clips.weight / 2).clamp(0, 1).to(contrastive.dtype)


def scaled_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    """As a correlation, in [0, 1]: its square is the share of the cosines' variation that the moment explains."""
    clips = ClipSums(contrastive, cells)
    return clips.share_of_norm(clips.inside / clips.weight.sqrt()).to(contrastive.dtype)


def cusum_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    clips = ClipSums(contrastive, cells)
    return clips.share_of_norm(2 * clips.inside / cells.num_clips**0.5).to(contrastive.dtype)


def local_match(contrastive: Tensor, cells: ProposalCells) -> Tensor:
    clips = ClipSums(contrastive, cells)
    around, num_around = clips.around()
    weight = clips.num_inside * num_around / (clips.num_inside + num_around)
    difference = clips.inside / clips.num_inside - around / num_around.clamp(min=1)
    return clips.share_of_norm(difference * weight.sqrt()).to(contrastive.dtype)


class ClipSums:
    """Sums of the cosines of clips, in float64; they are centred, so that sums inside and outside cancel.

    Args:
        contrastive: [S, W, M] cosines of the cells of W maps, which are windows of one video.

    Attributes:
        mean: [S, W, 1] of all clips of a map.
        inside: [S, W, M] sum over the clips of a cell, of which the mean was taken.
        num_inside: [M] n.
        weight: [M] n m / T; for the whole map, outside of which there is nothing, 1 in place of 0.
        norm: [S, 1, 1] of the centred cosines of all W maps.
    """

    def __init__(self, contrastive: Tensor, cells: ProposalCells):
        bounds = cells.bounds_like(contrastive).long()
        self.first, self.stop = bounds.unbind(dim=1)
        clips = cells.diagonal(contrastive).double()
        self.mean = clips.mean(dim=-1, keepdim=True)
        clips = clips - self.mean
        self.norm = clips.square().sum(dim=(-2, -1), keepdim=True).sqrt()
        self.sums = torch.nn.functional.pad(clips.cumsum(dim=-1), (1, 0))
        self.num_clips = cells.num_clips
        self.num_inside = (self.stop - self.first).double()
        self.weight = (self.num_inside * (self.num_clips - self.num_inside) / self.num_clips).clamp(min=0.5)
        self.inside = self.between(self.first, self.stop)
        self.inside = self.inside.masked_fill(self.num_inside == self.num_clips, 0.0)  # 0 but for rounding

    def between(self, first: Tensor, stop: Tensor) -> Tensor:
        """Sum over the clips from `first` to before `stop`, [M] each -> [S, W, M]."""
        return self.sums[..., stop] - self.sums[..., first]

    def around(self) -> tuple[Tensor, Tensor]:
        """Sum over the clips on either side that are no further away than the cell is long, and their number [M]."""
        length = self.stop - self.first
        before, after = (self.first - length).clamp(min=0), (self.stop + length).clamp(max=self.num_clips)
        number = (self.first - before) + (after - self.stop)
        return self.between(before, self.first) + self.between(self.stop, after), number.double()

    def share_of_norm(self, values: Tensor) -> Tensor:
        """Values [S, W, M] as a share of `norm`, in [0, 1]; 0 where all clips have one cosine."""
        return torch.where(self.norm == 0, torch.zeros_like(values), values / self.norm).clamp(0, 1)


MatchRule = Callable[[Tensor, ProposalCells], Tensor]
"""Cosines [S, W, M] of sentences with the cells of W windows of a video -> [S, W, M] in [0, 1]."""

MATCH_RULES: dict[str, MatchRule] = {
    COSINE: own_cosine,
    "mean": mean_match,
    "centred": centred_match,
    "contrast": contrast_match,
    "scaled": scaled_match,
    "cusum": cusum_match,
    "local": local_match,
}
