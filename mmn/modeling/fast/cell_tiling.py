"""Square tiles over the cells that matter, and the copies between cells and tiles.

A convolution layer reads some cells of its input map and is wanted at some cells of its output map. Output (p, q)
reads the inputs (p + a, q + b), 0 <= a, b < k. A Toom-Cook algorithm (`toom_cook.py`) ties `span` = t + k - 1 inputs
in a row to t outputs, so a layer can be tiled in two ways:

* overlap-save: t x t tiles partition the wanted OUTPUT cells; each reads span x span inputs, which overlap;
* overlap-add: t x t tiles partition the valid INPUT cells; each adds to span x span outputs, which overlap.

Both give the same result, so a layer takes the one that needs fewer tiles: with the map growing by k - 1 in each
layer, the first layers have few input cells and the last layers few wanted output cells.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Tile(NamedTuple):
    """A t x t tile. It owns the True cells of its first `height` rows; `row` and `col` are its top left corner."""

    row: int
    col: int
    height: int


def cover(mask: Tensor, size: int) -> list[Tile]:
    """Tiles of size x size that own every True cell of `mask` [H, W] exactly once.

    Tiles stand in horizontal strips of at most `size` rows. Within a strip they are laid greedily from the left,
    which is the fewest possible; where the strips are cut is found by dynamic programming from the last row up.
    Tiles may reach over the edge of the mask.

    >>> cover(torch.tensor([[1, 0, 1], [0, 1, 1], [0, 0, 1]]).bool(), 2)
    [Tile(row=0, col=0, height=1), Tile(row=0, col=2, height=1), Tile(row=1, col=1, height=2)]
    """
    rows = [sum(1 << col for col in line.nonzero().flatten().tolist()) for line in mask]
    best: list[list[Tile]] = [[] for _ in range(len(rows) + 1)]  # best[r] covers the rows from r on
    for top in reversed(range(len(rows))):
        occupied, options = 0, []
        for height in range(1, min(size, len(rows) - top) + 1):
            occupied |= rows[top + height - 1]
            strip = [Tile(top, col, height) for col in _cover_strip(occupied, size)]
            options.append(strip + best[top + height])
        best[top] = min(options, key=len)
    return best[0]


def _cover_strip(occupied: int, size: int) -> list[int]:
    """First columns of the fewest intervals of length `size` that cover the set bits of `occupied`."""
    columns, beyond = [], 0
    while occupied >> beyond:
        rest = occupied >> beyond
        columns.append(beyond + (rest & -rest).bit_length() - 1)
        beyond = columns[-1] + size
    return columns


class TileMap:
    """Copies between packed cells [cells (+ 1), X] and the elements of square tiles [side, side, tiles, X].

    Elements without a cell are zero: in packed tensors that are gathered from, a row of zeros follows the cells.

    Args:
        mask: [H, W] bool, the packed cells, in row-major order.
        tiles: the tiles of `cover`, in the coordinates of `mask`.
        side: cells along the square window that every tile has on this map.
        shift: the window of a tile begins at (row - shift, col - shift).
        owned: True where only the cells that a tile owns count, and the windows do not overlap.
    """

    def __init__(self, mask: Tensor, tiles: list[Tile], side: int, shift: int, owned: bool):
        self.num_cells = int(mask.sum())
        self.num_tiles, self.side, self.owned = len(tiles), side, owned
        margin = side + shift
        number = torch.full((mask.shape[0] + 2 * margin, mask.shape[1] + 2 * margin), self.num_cells)
        inner = number[margin:-margin, margin:-margin]
        inner[mask] = torch.arange(self.num_cells)
        top = torch.tensor([tile.row for tile in tiles]) + margin - shift
        left = torch.tensor([tile.col for tile in tiles]) + margin - shift
        step = torch.arange(side)
        cells = number[top + step[:, None, None], left + step[None, :, None]]  # [side, side, tiles]
        if owned:
            height = torch.tensor([tile.height for tile in tiles])
            cells = torch.where(step[:, None, None] < height, cells, self.num_cells)
        self.cell_of_element = cells
        elements = (cells.flatten() < self.num_cells).nonzero().flatten()
        self.elements, self.counts = _group_by_cell(cells.flatten()[elements], elements, self.num_cells)
        self.starts = self.counts.cumsum(0) - self.counts

    def to(self, device: torch.device) -> "TileMap":
        """Move the indices (in place)."""
        for name in ("cell_of_element", "elements", "starts"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def gather_column(self, cells: Tensor, column: int) -> Tensor:
        """Packed cells with their row of zeros [cells + 1, X] -> one column of all tiles [side, tiles, X]."""
        index = self.cell_of_element[:, column]
        return cells.index_select(0, index.flatten()).view(*index.shape, -1)

    def scatter(self, elements: Tensor) -> Tensor:
        """Tile elements [side, side, tiles, X] -> packed cells [cells, X], the sum over all elements of a cell."""
        elements = elements.reshape(-1, elements.shape[-1])
        if self.owned:
            return elements.index_select(0, self.elements)
        return F.embedding_bag(self.elements, elements, self.starts, mode="sum")


def _group_by_cell(cells: Tensor, elements: Tensor, num_cells: int) -> tuple[Tensor, Tensor]:
    """The elements ordered by their cell, and how many there are of every cell."""
    order = cells.argsort(stable=True)
    return elements[order], torch.bincount(cells, minlength=num_cells)


class LayerTiling:
    """The tiles of one layer for one algorithm, on both sides.

    Attributes:
        overlap_add: tiles partition the input cells (True) or the output cells (False).
        inputs, outputs: `TileMap`s of the two sides.
    """

    def __init__(self, input_mask: Tensor, output_mask: Tensor, kernel_size: int, tile_size: int):
        """Masks: [S, S] the valid cells of the padded input, [S - k + 1, S - k + 1] the wanted cells of the output."""
        save, add = cover(output_mask, tile_size), cover(input_mask, tile_size)
        self.overlap_add = len(add) < len(save)
        span, tiles = tile_size + kernel_size - 1, add if self.overlap_add else save
        self.num_tiles = len(tiles)
        if self.overlap_add:
            self.inputs = TileMap(input_mask, tiles, tile_size, 0, owned=True)
            self.outputs = TileMap(output_mask, tiles, span, kernel_size - 1, owned=False)
        else:
            self.inputs = TileMap(input_mask, tiles, span, 0, owned=False)
            self.outputs = TileMap(output_mask, tiles, tile_size, 0, owned=True)

    def to(self, device: torch.device) -> "LayerTiling":
        """Move the indices (in place)."""
        self.inputs.to(device)
        self.outputs.to(device)
        return self
