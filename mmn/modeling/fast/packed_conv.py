"""The convolution of one layer on packed cells, by tiles and a Toom-Cook algorithm, with its gradients.

Packed maps are [cells, B, C], one row per cell: a cell's values of the whole batch are moved at once, so no index
depends on the batch, and the matrix products over channels have tiles * B rows. In the comments: P = components of the
first dimension, q = products in a chunk, p * s = rows of a block's matrices, X = tiles * B * C or C_out * C_in.

Memory traffic costs as much as arithmetic here. All transformed data is therefore made and used up chunk by chunk
(`CHUNK_BYTES`), and the transformed weights, several times the size of the weights, never exist as a whole in training.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmn.modeling.fast import onednn
from mmn.modeling.fast.cell_tiling import LayerTiling, TileMap
from mmn.modeling.fast.toom_cook import Block, ToomCook

CHUNK_BYTES = {"cpu": 8 << 20, "default": 256 << 20}
"""Size of the largest operand of a chunk, by device type: on CPUs it should stay in the cache."""

COMPONENTS_AT_ONCE = 6
"""Components of the first dimension that weights are transformed to at once: the fewer, the more often they are read."""

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


def _suits_onednn(weight: Tensor) -> bool:
    """Tell whether [..., C_out, C_in] matrices like these are best multiplied by oneDNN, one by one."""
    return onednn.can_pack(weight) and not onednn.has_fast_mkl()


def batched_linear(inputs: Tensor, weights: Tensor | Sequence[Tensor], out: Tensor) -> None:
    """out[r] = inputs[r] @ weights[r]^T for every r: [q, rows, C_in], [q, C_out, C_in] -> [q, rows, C_out].

    Weights are one tensor, or a sequence of matrices that oneDNN has packed.
    """
    if isinstance(weights, Tensor) and not (inputs.shape[1] >= ONEDNN_MIN_ROWS and _suits_onednn(weights)):
        torch.bmm(inputs, weights.mT, out=out)
        return
    for row, weight in enumerate(weights):
        out[row] = onednn.linear(inputs[row], weight)


def chunks(block: Block, bytes_per_product: int, device: torch.device) -> Iterator[slice]:
    """Consecutive ranges of the products of `block`, as many at a time as fit in a chunk."""
    limit = CHUNK_BYTES.get(device.type, CHUNK_BYTES["default"])
    count = len(block.weight_transform)
    pieces = min(count, -(-count * bytes_per_product // limit))
    bounds = [count * piece // pieces for piece in range(pieces + 1)]
    return (slice(start, end) for start, end in zip(bounds[:-1], bounds[1:], strict=True))


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


def weight_taps(weight: Tensor) -> Tensor:
    """[C_out, C_in, k, k] -> [k * k, C_out * C_in]."""
    return weight.flatten(2).flatten(0, 1).T.contiguous()


def weight_components(weight: Tensor, algorithm: ToomCook) -> Tensor:
    """[C_out, C_in, k, k] -> with the first of the two window dimensions transformed [P, k, C_out * C_in]."""
    size = algorithm.kernel_size
    return (algorithm.weight_transform @ weight_taps(weight).view(size, -1)).unflatten(1, (size, -1))


def transform_weights(block: Block, part: slice, components: Tensor, shape: torch.Size) -> Tensor:
    """Some products of a block from the components [P, k, C_out * C_in] -> [q, C_out, C_in]."""
    return (block.weight_transform[part] @ _of_block(components, block)).view(-1, *shape[:2])


def _of_block(components: Tensor, block: Block) -> Tensor:
    """[P, s, X] -> the components of one block [p * s, X]."""
    return components[block.rows].flatten(0, 1)


WeightsOf = Callable[[int, slice], Tensor | Sequence[Tensor]]
"""(Index of a block, slice of its products) -> transformed weights, as `batched_linear` takes them."""


def forward_products(cells: Tensor, plan: LayerPlan, channels_out: int, weights_of: WeightsOf) -> Tensor:
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
    row_bytes = cells.element_size() * max(rows * max(channels_in, channels_out), channels_in * channels_out)
    for index, block in enumerate(algorithm.blocks):
        source, result = _of_block(sources, block), _of_block(results, block)
        for part in chunks(block, row_bytes, cells.device):
            inputs = (block.input_transform[part] @ source).view(-1, rows, channels_in)
            products = inputs.new_empty(len(inputs), rows, channels_out)
            batched_linear(inputs, weights_of(index, part), products)
            result.addmm_(block.output_transform[:, part], products.flatten(1), beta=0 if part.start == 0 else 1)
    del sources, source, inputs, products, weights_of  # first, so that the elements of the tiles find their memory
    return components_to_cells(results, tiling.outputs, algorithm.output_transform).unflatten(1, (batch, channels_out))


class StreamedWeights:
    """Weights [C_out, C_in, k, k] that `algorithm` transforms block by block, as `forward_products` needs them.

    Beside them it holds one copy of the weights, a few of their components, and of the transformed ones a chunk.
    """

    def __init__(self, weight: Tensor, algorithm: ToomCook):
        self.algorithm, self.shape = algorithm, weight.shape
        self.taps = weight_taps(weight).view(algorithm.kernel_size, -1)
        self._first, self._components = 0, self.taps[:0]

    def __call__(self, index: int, part: slice) -> Tensor:
        block = self.algorithm.blocks[index]
        rows = slice(block.rows.start - self._first, block.rows.stop - self._first)
        if not 0 <= rows.start <= rows.stop <= len(self._components):
            self._first, rows = block.first, slice(0, block.components)
            self._components = self.taps[:0]  # first, so that old and new do not need memory at the same time
            self._components = self.algorithm.weight_transform[block.first :][:COMPONENTS_AT_ONCE] @ self.taps
        components = self._components[rows].view(-1, self.shape[0] * self.shape[1])
        return (block.weight_transform[part] @ components).view(-1, *self.shape[:2])


class TransformedWeights:
    """Weights [C_out, C_in, k, k] transformed by `algorithm` once and for all; called as `forward_products` needs.

    Where oneDNN multiplies, every matrix is stored in its own layout for about `rows` rows.
    """

    def __init__(self, weight: Tensor, algorithm: ToomCook, rows: int):
        streamed = StreamedWeights(weight, algorithm)
        packed = _suits_onednn(weight.permute(2, 3, 0, 1))
        self.blocks: list[Tensor | list[Tensor]] = []
        for index, block in enumerate(algorithm.blocks):
            parts = chunks(block, weight[..., 0, 0].nbytes, weight.device)
            transformed = (streamed(index, part) for part in parts)
            if packed:
                self.blocks.append([onednn.pack(matrix.clone(), rows) for part in transformed for matrix in part])
            else:
                self.blocks.append(torch.cat(list(transformed)))

    def __call__(self, index: int, part: slice) -> Tensor | list[Tensor]:
        return self.blocks[index][part]


class PackedConv(torch.autograd.Function):
    """Convolution without bias: cells [cells + 1, B, C_in], weight [C_out, C_in, k, k] -> [cells_out, B, C_out].

    Saves its two inputs; the backward pass transforms them again.
    """

    @staticmethod
    def forward(ctx: Any, cells: Tensor, weight: Tensor, plan: LayerPlan) -> Tensor:
        ctx.save_for_backward(cells, weight)
        ctx.plan = plan
        components = weight_components(weight, plan.algorithm)

        def weights_of(index: int, part: slice) -> Tensor:
            return transform_weights(plan.algorithm.blocks[index], part, components, weight.shape)

        return forward_products(cells, plan, len(weight), weights_of)

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
    weights = weight_components(weight, algorithm)
    row_bytes = cells.element_size() * max(rows * max(channels_in, channels_out), channels_in * channels_out)
    for block in algorithm.blocks:
        source, grad_result, taps = (_of_block(components, block) for components in (sources, grads, weights))
        grad_source, grad_taps = torch.zeros_like(source), torch.zeros_like(taps)
        for part in chunks(block, row_bytes, grad.device):
            grad_products = (block.output_transform[:, part].T @ grad_result).view(-1, rows, channels_out)
            inputs = (block.input_transform[part] @ source).view(-1, rows, channels_in)
            grad_weights = torch.bmm(grad_products.mT, inputs)
            grad_taps.addmm_(block.weight_transform[part].T, grad_weights.flatten(1))
            transformed = (block.weight_transform[part] @ taps).view(-1, channels_out, channels_in)
            batched_linear(grad_products, transformed.mT, inputs)
            grad_source.addmm_(block.input_transform[part].T, inputs.flatten(1))
        # The components of this block are used up: keep the gradients in their place.
        source.copy_(grad_source)
        taps.copy_(grad_taps)
    grad_cells = components_to_cells(sources, tiling.inputs, algorithm.input_transform.T).view(-1, batch, channels_in)
    return _pad_row(grad_cells), _weight_gradient(weights, weight, algorithm)


def _pad_row(cells: Tensor) -> Tensor:
    """Append the row of zeros that `TileMap.gather` expects."""
    return torch.cat([cells, cells.new_zeros(1, *cells.shape[1:])])


def _weight_gradient(components: Tensor, weight: Tensor, algorithm: ToomCook) -> Tensor:
    """Transpose of `weight_components`: [P, k, C_out * C_in] -> [C_out, C_in, k, k]."""
    size = algorithm.kernel_size
    taps = (algorithm.weight_transform.T @ components.flatten(1)).view(size * size, -1)
    return taps.T.contiguous().view(weight.shape)
