"""Cells of the N x N proposal map: which are moments, and in which order they are computed and stored.

A cell (i, j), i <= j, is the moment from clip i to clip j inclusive, i.e. from i * duration / N to
(j + 1) * duration / N seconds. Only some cells are valid: all short moments, and ever fewer the longer
they get (SPEC section 2, `feat2d`; the sparse sampling of 2D-TAN).

Throughout the code a "packed" tensor has one entry per valid cell, in row-major order of (i, j); M is their number.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmn.structures.pooling import pooling_steps


class ProposalCells:
    """The valid cells of an N x N proposal map.

    Attributes:
        num_clips: N.
        steps: the reductions that produce the cells above the diagonal.
        rows, cols: [M] int64, the i and j of every valid cell in row-major order.
        mask: [N, N] bool, True at valid cells.
        packed_order: [M] int64. Entry m is the position of cell m in the concatenation of the diagonal and the
            sequences of all steps, the order in which `feat2d` computes them.
    """

    def __init__(self, num_clips: int, pooling_counts: Sequence[int]):
        self.num_clips = num_clips
        self.steps = pooling_steps(num_clips, pooling_counts)
        starts = [torch.arange(num_clips)]
        ends = [torch.arange(num_clips)]
        for step in self.steps:
            start = torch.arange(0, num_clips - step.offset, step.stride)
            starts.append(start)
            ends.append(start + step.offset)
        flat = torch.cat(starts) * num_clips + torch.cat(ends)
        flat, self.packed_order = flat.sort()
        self.rows, self.cols = flat // num_clips, flat % num_clips
        self.mask = torch.zeros(num_clips, num_clips, dtype=torch.bool)
        self.mask[self.rows, self.cols] = True
        self._flat: dict[torch.device, Tensor] = {}
        self._bounds: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def flat_on(self, device: torch.device) -> Tensor:
        """[M] int64 on `device`: the cells' places in the flattened map. Copied there once, so that no step waits."""
        if device not in self._flat:
            self._flat[device] = (self.rows * self.num_clips + self.cols).to(device)
        return self._flat[device]

    def bounds_like(self, like: Tensor) -> Tensor:
        """[M, 2] on the device and in the dtype of `like`: first clip and one past the last clip of every cell."""
        key = (like.device, like.dtype)
        if key not in self._bounds:
            self._bounds[key] = torch.stack([self.rows, self.cols + 1], dim=-1).to(like)
        return self._bounds[key]

    def to_map(self, packed: Tensor, around: Tensor | None = None) -> Tensor:
        """Packed values [..., M] -> dense maps [..., N, N], outside the valid cells `around` [...], or zero."""
        shape = *packed.shape[:-1], self.num_clips * self.num_clips
        dense = packed.new_zeros(shape) if around is None else around[..., None].expand(shape)
        dense = dense.index_copy(-1, self.flat_on(packed.device), packed)
        return dense.unflatten(-1, (self.num_clips, self.num_clips))

    def diagonal(self, packed: Tensor) -> Tensor:
        """Packed values [..., M] -> those of the single clips [..., N]."""
        return packed[..., (self.rows == self.cols).to(packed.device)]

    def from_map(self, dense: Tensor) -> Tensor:
        """Dense maps [..., N, N] -> the values at the valid cells [..., M]."""
        return dense.flatten(-2).index_select(-1, self.flat_on(dense.device))
