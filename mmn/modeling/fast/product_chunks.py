"""Consecutive channel products of an algorithm, as many at a time as stay in the cache, and the transforms around them.

A product's operands are made, multiplied and used up chunk by chunk (`CHUNK_BYTES`): memory traffic costs as much as
arithmetic here. A chunk may hold products of several blocks of the algorithm, so that one batched product has many
matrices to share out among the processors. In the comments: P = components of the first dimension, q = products in a
chunk, p * s = rows of a block's matrices, X = tiles * B * C or C_in * C_out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmn.modeling.fast.toom_cook import Block

CHUNK_BYTES = {"cpu": 24 << 20, "default": 256 << 20}
"""Size of the largest operand of a chunk, by device type."""


class Part(NamedTuple):
    """Some consecutive products of one block, and their place in the chunk."""

    block: Block
    products: slice
    place: slice

    @property
    def is_first(self) -> bool:
        """True where no products of the block came before."""
        return self.products.start == 0

    @property
    def is_last(self) -> bool:
        """True where no products of the block come after."""
        return self.products.stop == len(self.block.weight_transform)


class Chunk(NamedTuple):
    """Products number `start` to `stop` of an algorithm."""

    start: int
    stop: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Products of the chunk, q."""
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """The components of the first dimension that the chunk needs."""
        return slice(self.parts[0].block.rows.start, self.parts[-1].block.rows.stop)


def chunks(blocks: Sequence[Block], bytes_per_product: int, device: torch.device) -> list[Chunk]:
    """All products, in chunks of whole blocks, or of equal parts of a block that is too large for one."""
    limit = max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["default"]) // bytes_per_product)
    result: list[Chunk] = []
    start = stop = 0
    parts: list[Part] = []
    for block in blocks:
        count = len(block.weight_transform)
        pieces = -(-count // limit)
        bounds = [count * piece // pieces for piece in range(pieces + 1)]
        for first, end in zip(bounds[:-1], bounds[1:], strict=True):
            if parts and stop - start + end - first > limit:
                result.append(Chunk(start, stop, tuple(parts)))
                start, parts = stop, []
            parts.append(Part(block, slice(first, end), slice(stop - start, stop - start + end - first)))
            stop += end - first
    return [*result, Chunk(start, stop, tuple(parts))]


def of_block(components: Tensor, block: Block, first: int = 0) -> Tensor:
    """[P, s, X], from component number `first` on -> the components of one block [p * s, X]."""
    return components[block.rows.start - first : block.rows.stop - first].flatten(0, 1)


def expand(chunk: Chunk, components: Tensor, matrix: str, out: Tensor, first: int = 0) -> Tensor:
    """The operands of a chunk's products from components [P, s, X] -> `out` [q, X].

    Args:
        matrix: name of the blocks' matrix that makes them: [q, p * s], or [p * s, q] for "output_transform".
        first: number of the first of the components.
    """
    for part in chunk.parts:
        rows = getattr(part.block, matrix)
        rows = rows[:, part.products].T if matrix == "output_transform" else rows[part.products]
        torch.mm(rows, of_block(components, part.block, first), out=out[part.place])
    return out


def collect(chunk: Chunk, products: Tensor, components: Tensor) -> None:
    """Add what a chunk's products [q, X] give to the output components [P, s, X], which the first ones overwrite."""
    for part in chunk.parts:
        columns, target = part.block.output_transform[:, part.products], of_block(components, part.block)
        target.addmm_(columns, products[part.place], beta=0 if part.is_first else 1)


class BlockSums:
    """Sums over a block's products that replace the block's components, which are needed up to its last product."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None  # of the block that has had some, but not all of its products

    def collect(self, chunk: Chunk, products: Tensor, matrix: str, components: Tensor) -> None:
        """Add a chunk's products [q, X]; with a block's last one its components in [P, s, X] become the sum.

        Args:
            matrix: name of the blocks' matrix [q, p * s], which is transposed here.
        """
        for part in chunk.parts:
            columns, target = getattr(part.block, matrix)[part.products].T, of_block(components, part.block)
            if part.is_first and part.is_last:
                torch.mm(columns, products[part.place], out=target)
                continue
            if self._sum is None:
                self._sum = torch.zeros_like(target)
            self._sum.addmm_(columns, products[part.place])
            if part.is_last:
                target.copy_(self._sum)
                self._sum = None
