"""N clips -> the proposal map: every valid cell gets the pooled (or convolved) feature of its clips.

Shapes: see the legend in `mmn.modeling`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.structures.proposals import ProposalCells
from mmn.utils.registry import Registry

FEAT2D = Registry("MODEL.MMN.FEAT2D.NAME")


class Feat2d(nn.Module):
    """Shared frame of the maps: run the reductions, then sort their outputs into row-major cell order."""

    def __init__(self, cells: ProposalCells):
        super().__init__()
        self.steps = cells.steps
        self.register_buffer("packed_order", cells.packed_order, persistent=False)

    def first(self, clips: Tensor) -> Tensor:
        """The clips [B, H, N] -> the diagonal of the map, where the running sequence begins [B, H, N]."""
        return clips

    def reduce(self, x: Tensor, index: int) -> Tensor:
        """The running sequence [B, H, T] before step `index` -> the sequence [B, H, T'] of that step."""
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        """clips [B, H, N] -> features of the valid cells [B, H, M], row-major."""
        sequences = [self.first(clips)]
        for index in range(len(self.steps)):
            sequences.append(self.reduce(sequences[-1], index))
        return torch.cat(sequences, dim=-1).index_select(-1, self.packed_order)


@FEAT2D.register("pool")
class PoolFeat2d(Feat2d):
    """Max pooling: the feature of a moment is the maximum over its clips (SPEC section 2)."""

    def __init__(self, cells: ProposalCells, hidden_size: int):
        super().__init__(cells)

    def reduce(self, x: Tensor, index: int) -> Tensor:
        return F.max_pool1d(x, self.steps[index].kernel_size, self.steps[index].reduction_stride)


@FEAT2D.register("conv")
class ConvFeat2d(Feat2d):
    """A Conv1d of its own in the place of each max pooling, same kernel and stride (SPEC section 2)."""

    def __init__(self, cells: ProposalCells, hidden_size: int):
        super().__init__(cells)
        self.convs = nn.ModuleList(
            nn.Conv1d(hidden_size, hidden_size, step.kernel_size, step.reduction_stride) for step in cells.steps
        )

    def reduce(self, x: Tensor, index: int) -> Tensor:
        return self.convs[index](x)
