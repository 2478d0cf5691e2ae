"""Cells that each layer of the stack reads and computes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from mmn.modeling.fast.cell_tiling import cover


@dataclass(frozen=True, eq=False)
class LayerCells:
    """The cells of one layer: masks of its padded input and of its output, square, and w at the output cells."""

    inputs: Tensor
    outputs: Tensor
    window_weight: Tensor  # [cells, 1, 1] float32
    tile_counts: dict[int, int] = field(default_factory=dict)

    @property
    def map_size(self) -> int:
        """Cells of the whole output map."""
        return self.outputs.numel()

    def num_tiles(self, size: int) -> int:
        """Number of tiles of size x size outputs (or inputs) `LayerTiling` needs."""
        if size not in self.tile_counts:
            self.tile_counts[size] = min(len(cover(self.inputs, size)), len(cover(self.outputs, size)))
        return self.tile_counts[size]


def valid_cells(mask: Tensor, window_weights: Sequence[Tensor], kernel_size: int) -> list[LayerCells]:
    """Per layer, all valid cells: the ones that enter batch statistics with values of their own."""
    margin = (kernel_size - 1) * len(window_weights) // 2
    masks = [F.pad(mask, (margin,) * 4), *(weight > 0 for weight in window_weights)]
    return _layers(masks, window_weights)


def needed_cells(mask: Tensor, window_weights: Sequence[Tensor], kernel_size: int) -> list[LayerCells]:
    """Per layer, the valid cells from which a cell of `mask` can be reached: enough without batch statistics."""
    masks = [layer.inputs for layer in valid_cells(mask, window_weights, kernel_size)] + [mask]
    window = torch.ones(1, 1, kernel_size, kernel_size)
    for index in reversed(range(len(window_weights))):
        reached = F.conv_transpose2d(masks[index + 1].float()[None, None], window)[0, 0] > 0.5
        masks[index] = masks[index] & reached
    return _layers(masks, window_weights)


def _layers(masks: Sequence[Tensor], window_weights: Sequence[Tensor]) -> list[LayerCells]:
    return [
        LayerCells(inputs, outputs, weight[outputs][:, None, None])
        for inputs, outputs, weight in zip(masks[:-1], masks[1:], window_weights, strict=True)
    ]
