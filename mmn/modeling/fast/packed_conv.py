"""The convolution of one layer on packed cells, by tiles and a Toom-Cook algorithm, with its gradients.

Packed maps are [cells, B, C], one row per cell: a cell's values of the whole batch are moved at once, so no index
depends on the batch, and the matrix products over channels have tiles * B rows. Letters as in `product_chunks.py`.
The transformed weights, several times the size of the weights, never exist as a whole in training.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmn.modeling.fast import onednn
from mmn.modeling.fast.cell_tiling import LayerTiling, TileMap
from mmn.modeling.fast.product_chunks import BlockSums, Chunk, chunks, collect, expand
from mmn.modeling.fast.toom_cook import ToomCook
from mmn.modeling.fast.transformed_weights import ChunkWeights, StreamedWeights, weight_components, weight_gradient

ONEDNN_MIN_ROWS = 64
"""Fewest rows for which one oneDNN call per product is no slower than one batched product for all."""


class LayerPlan(NamedTuple):
    """Plan of a layer's computation: where its tiles are, and the algorithm in the layer's direction, dtype and device."""

    tiling: LayerTiling
    algorithm: ToomCook


def without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    """Context without autocast, which not every device has."""
    if not torch.amp.is_autocast_available(device_type):
        return contextlib.nullcontext()
    return torch.autocast(device_type, enabled=False)


def batched_linear(inputs: Tensor, weights: Tensor | Sequence[Tensor], out: Tensor) -> None:
    """out[r] = inputs[r] @ weights[r] for every r: [q, rows, C_in], [q, C_in, C_out] -> [q, rows, C_out].

    Weights are one tensor, or a sequence of matrices that oneDNN has packed.
    """
    if isinstance(weights, Tensor):
        if inputs.shape[1] < ONEDNN_MIN_ROWS or not onednn.suits(weights.mT):
            torch.bmm(inputs, weights, out=out)
            return
        weights = weights.mT
    for row, weight in enumerate(weights):
        out[row] = onednn.linear(inputs[row], weight)


def tiles_to_components(cells: Tensor, tile_map: TileMap, matrix: Tensor) -> Tensor:
    """Gather tiles and transform their first dimension: packed cells [cells + 1, X'], [P, side] -> [P, side, X]."""
    side = tile_map.side
    result = cells.new_empty(len(matrix), side, tile_map.num_tiles * cells.shape[1])
    for column in range(side):
        torch.mm(matrix, tile_map.gather_column(cells, column).view(side, -1), out=result[:, column])
    return result


def components_to_cells(components: Tensor, tile_map: TileMap, matrix: Tensor) -> Tensor:
    """The inverse way: components [P, side, X], matrix [side, P] -> sums over tiles, packed cells [cells, X']."""
    elements = matrix @ components.flatten(1)
    return tile_map.scatter(elements.view(tile_map.side, tile_map.side, tile_map.num_tiles, -1))


def forward_products(cells: Tensor, plan: LayerPlan, channels_out: int, weights_of: ChunkWeights) -> Tensor:
    """Convolve packed cells [cells + 1, B, C_in] (the last row zero) -> [cells_out, B, C_out].

    Args:
        plan: the layer's tiles and algorithm.
        weights_of: where the transformed weights come from.
    """
    tiling, algorithm = plan
    batch, channels_in = cells.shape[1:]
    rows = tiling.num_tiles * batch
    sources = tiles_to_components(cells.flatten(1), tiling.inputs, algorithm.input_transform)
    results = cells.new_empty(len(sources), tiling.outputs.side, rows * channels_out)
    in_chunks = _chunks_of(plan, cells, channels_out)
    most = max(chunk.size for chunk in in_chunks)
    inputs, products = cells.new_empty(most, rows, channels_in), cells.new_empty(most, rows, channels_out)
    for chunk in in_chunks:
        expand(chunk, sources, "input_transform", inputs[: chunk.size].flatten(1))
        batched_linear(inputs[: chunk.size], weights_of(chunk), products[: chunk.size])
        collect(chunk, products.flatten(1), results)
    del sources, inputs, products, weights_of  # first, so that the elements of the tiles find their memory
    return components_to_cells(results, tiling.outputs, algorithm.output_transform).unflatten(1, (batch, channels_out))


def _chunks_of(plan: LayerPlan, cells: Tensor, channels_out: int) -> list[Chunk]:
    """The chunks of a layer's products on packed cells [cells + 1, B, C_in]."""
    batch, channels_in = cells.shape[1:]
    rows = plan.tiling.num_tiles * batch
    largest = max(rows * max(channels_in, channels_out), channels_in * channels_out)
    return chunks(plan.algorithm.blocks, cells.element_size() * largest, cells.device)


class PackedConv(torch.autograd.Function):
    """Convolution without bias: cells [cells + 1, B, C_in], weight [C_out, C_in, k, k] -> [cells_out, B, C_out].

    Saves its two inputs; the backward pass transforms them again.
    """

    @staticmethod
    def forward(ctx: Any, cells: Tensor, weight: Tensor, plan: LayerPlan) -> Tensor:
        ctx.save_for_backward(cells, weight)
        ctx.plan = plan
        return forward_products(cells, plan, len(weight), StreamedWeights(weight, plan.algorithm))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        cells, weight = ctx.saved_tensors
        with without_autocast(grad.device.type):
            return *_backward_products(grad, cells, weight, ctx.plan), None


def _backward_products(grad: Tensor, cells: Tensor, weight: Tensor, plan: LayerPlan) -> tuple[Tensor, Tensor]:
    """Gradients of the cells and the weight. Every step of the forward pass is linear: here are the transposes."""
    tiling, algorithm = plan
    (channels_out, channels_in), batch = weight.shape[:2], cells.shape[1]
    rows = tiling.num_tiles * batch
    sources = tiles_to_components(cells.flatten(1), tiling.inputs, algorithm.input_transform)
    grads = tiles_to_components(_pad_row(grad).flatten(1), tiling.outputs, algorithm.output_transform.T)
    taps = weight_components(weight, algorithm)
    in_chunks = _chunks_of(plan, cells, channels_out)
    most = max(chunk.size for chunk in in_chunks)
    inputs, products = cells.new_empty(most, rows, channels_in), cells.new_empty(most, rows, channels_out)
    matrices, grad_matrices = (cells.new_empty(most, channels_out, channels_in) for _ in range(2))
    source_sums, tap_sums = BlockSums(), BlockSums()
    for chunk in in_chunks:
        q = chunk.size
        expand(chunk, grads, "output_transform", products[:q].flatten(1))
        expand(chunk, sources, "input_transform", inputs[:q].flatten(1))
        expand(chunk, taps, "weight_transform", matrices[:q].flatten(1))
        torch.bmm(products[:q].mT, inputs[:q], out=grad_matrices[:q])
        # The inputs are used up: their gradients, in their place.
        batched_linear(products[:q], matrices[:q], inputs[:q])
        tap_sums.collect(chunk, grad_matrices.flatten(1), "weight_transform", taps)
        source_sums.collect(chunk, inputs.flatten(1), "input_transform", sources)
    del inputs, products, matrices, grad_matrices, grads
    grad_cells = components_to_cells(sources, tiling.inputs, algorithm.input_transform.T).view(-1, batch, channels_in)
    return _pad_row(grad_cells), weight_gradient(taps, weight, algorithm)


def _pad_row(cells: Tensor) -> Tensor:
    """Append the row of zeros that `TileMap.gather` expects."""
    return torch.cat([cells, cells.new_zeros(1, *cells.shape[1:])])
