"""Which cells of the N x N proposal map are moments, and in which order they are computed and stored.

A cell (i, j), i <= j, is the moment from clip i to clip j inclusive, i.e. from i * duration / N to
(j + 1) * duration / N seconds. Only some cells are valid: all short moments, and ever fewer the longer
they get (SPEC section 2, `feat2d`; the sparse sampling of 2D-TAN).

Throughout the code a "packed" tensor has one entry per valid cell, in row-major order of (i, j); M is their number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmn.utils.errors import ConfigError


class PoolingStep(NamedTuple):
    """One reduction of the running sequence: it yields the cells (i, i + offset) for i = 0, stride, 2 * stride, ..."""

    kernel_size: int  # of the reduction that produces the step, over the sequence of the step before
    reduction_stride: int
    offset: int
    stride: int


def pooling_steps(num_clips: int, pooling_counts: Sequence[int]) -> list[PoolingStep]:
    """The reductions that fill the map above its diagonal, in order (SPEC section 2).

    Group g of `pooling_counts` has stride 2^g. Each of its steps advances the offset by that stride; the first step
    of every later group halves the resolution (kernel 3, stride 2), all others are kernel 2, stride 1.

    Raises ConfigError where the counts ask for moments longer than the video.

    >>> [(step.offset, step.stride) for step in pooling_steps(8, [3, 2])]
    [(1, 1), (2, 1), (3, 1), (5, 2), (7, 2)]
    """
    steps, offset = [], 0
    for group, count in enumerate(pooling_counts):
        stride = 2**group
        for position in range(count):
            offset += stride
            if offset >= num_clips:
                raise ConfigError(
                    f"MODEL.MMN.FEAT2D.POOLING_COUNTS {list(pooling_counts)} needs moments of {offset + 1} clips, "
                    f"but MODEL.MMN.NUM_CLIPS is {num_clips}: lower the counts or raise NUM_CLIPS"
                )
            halves = group > 0 and position == 0
            steps.append(PoolingStep(3 if halves else 2, 2 if halves else 1, offset, stride))
    return steps


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

    def to_map(self, packed: Tensor) -> Tensor:
        """Packed values [..., M] -> dense maps [..., N, N], zero outside the valid cells."""
        dense = packed.new_zeros(*packed.shape[:-1], self.num_clips * self.num_clips)
        dense = dense.index_copy(-1, self.flat_on(packed.device), packed)
        return dense.unflatten(-1, (self.num_clips, self.num_clips))

    def from_map(self, dense: Tensor) -> Tensor:
        """Dense maps [..., N, N] -> the values at the valid cells [..., M]."""
        return dense.flatten(-2).index_select(-1, self.flat_on(dense.device))
