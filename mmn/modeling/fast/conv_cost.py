"""Estimated cost of a layer, fast and dense: for `weight_memory` to pick algorithms, and between fast and dense.

The estimate counts the arithmetic of the channel products, that of the transforms, the memory traffic of transformed
weights, and calls. Only the ratios of the `RATES` matter. They were fitted to 106 timings of layers of the three released
settings, KEPT and STREAMED, on one core of an Intel Xeon (AVX-512, torch 2.13, float32): 8 % off on average, and what they
choose takes at most 4 % longer than the best. That TAPS halves the transforms of weights was seen in some of them. Ratios
dense / fast of the whole stack, measured earlier in processor time on an AMD EPYC, N = clips, k = kernel, L = layers, B =
batch, C = channels:

    N, k, L, B, C           inference   training
    64, 9, 4, 4, 512             14.2        9.0
    128, 5, 8, 1, 512             9.1        6.8
    16, 5, 8, 8, 512              7.4        5.4
    16, 5, 8, 1, 512              5.1        1.8
    64, 9, 4, 1, 64               2.6        3.4
    16, 5, 8, 48, 64              2.7        3.2
    16, 5, 4, 8, 64               2.6        1.8
    16, 5, 8, 48, 32              1.8        1.9
    16, 5, 4, 8, 24               1.2        1.2
"""

from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import NamedTuple

from torch import Tensor

from mmn.modeling.fast.layer_cells import LayerCells
from mmn.modeling.fast.onednn import MIN_WEIGHTS
from mmn.modeling.fast.toom_cook import ToomCook, toom_cook


class Rates(NamedTuple):
    """Operations, bytes and calls per second on the reference machine."""

    products: float = 118e9
    transforms: float = 240e9
    weight_transforms: float = 26e9
    weight_bytes: float = 16e9
    calls: float = 60e3
    dense: float = 165e9


NARROW = 16
"""The dense convolution runs at C / (C + NARROW) of its full rate with C channels."""


RATES = Rates()


class Use(Enum):
    """Uses of a layer, which differ in what is computed for every batch."""

    TRAINING = "training"  # gradients, too; the weights are transformed in every pass
    STREAMED = "streamed"  # inference that transforms the weights for every batch
    TAPS = "taps"  # the same, from weights that are kept in the best order for it: half of the time
    KEPT = "kept"  # inference by weights that were transformed once and for all

    @property
    def passes(self) -> int:
        """Times a layer's products are computed: forward, gradient of the input, gradient of the weight."""
        return 3 if self is Use.TRAINING else 1


@cache
def candidates(kernel_size: int) -> tuple[ToomCook, ...]:
    """Algorithms worth considering for a kernel size, all as accurate as a float32 FFT."""
    if kernel_size == 1:
        return (toom_cook("fft1", 1),)
    sizes = range(kernel_size + 3, kernel_size + 13, 2)
    return tuple(toom_cook(f"mixed{size}", kernel_size) for size in sizes)


def best_algorithm(
    layer: LayerCells, kernel_size: int, channels: Sequence[int], batch: int, use: Use
) -> tuple[ToomCook, float]:
    """The candidate with the lowest estimate for a layer, and its estimate. `channels`: (C_out, C_in)."""
    costs = [
        (fast_cost(layer.num_tiles(algorithm.tile_size), algorithm, channels, batch, use), order)
        for order, algorithm in enumerate(candidates(kernel_size))
    ]
    cost, order = min(costs)
    return candidates(kernel_size)[order], cost


def fast_cost(num_tiles: int, algorithm: ToomCook, channels: Sequence[int], batch: int, use: Use) -> float:
    """Estimated seconds of one layer with `num_tiles` tiles."""
    (channels_out, channels_in), rows, passes = channels, num_tiles * batch, use.passes
    pairs = channels_out * channels_in
    products = 2 * algorithm.num_products * rows * pairs * passes
    # In training: inputs forward, again for the gradient of the weight, their own gradient; outputs and gradients.
    per_input, per_output, per_weight = transform_operations(algorithm)
    transforms = rows * (channels_in * per_input * passes + channels_out * per_output * (1 if passes == 1 else 2))
    weight_transforms = {Use.KEPT: 0, Use.TAPS: 0.5}.get(use, passes) * pairs * per_weight
    # Many small tensor operations per block and column; a call per product where oneDNN multiplies.
    calls = 6 * len(algorithm.blocks) + 2 * len(algorithm.input_transform) + 20
    if pairs >= MIN_WEIGHTS:
        calls += algorithm.num_products
    weight_bytes = 4 * algorithm.num_products * pairs * passes
    return (
        products / RATES.products
        + transforms / RATES.transforms
        + weight_transforms / RATES.weight_transforms
        + weight_bytes / RATES.weight_bytes
        + calls * passes / RATES.calls
    )


def transform_operations(algorithm: ToomCook) -> tuple[int, int, int]:
    """Operations (multiply and add count as two) to transform one channel of a tile in, out, and one weight."""
    blocks = algorithm.blocks
    return (
        _operations(algorithm.input_transform, algorithm.input_transform.shape[1], [b.input_transform for b in blocks]),
        _operations(
            algorithm.output_transform, algorithm.output_transform.shape[0], [b.output_transform for b in blocks]
        ),
        _operations(algorithm.weight_transform, algorithm.kernel_size, [b.weight_transform for b in blocks]),
    )


def _operations(first: Tensor, side: int, second: Sequence[Tensor]) -> int:
    """Operations of a transform: the first dimension's matrix once per row of the second, then one matrix per block."""
    return 2 * (first.numel() * side + sum(matrix.numel() for matrix in second))


def dense_cost(layer: LayerCells, kernel_size: int, channels: Sequence[int], batch: int, use: Use) -> float:
    """Estimated seconds of one layer as a convolution over the whole map."""
    operations = 2 * layer.map_size * batch * channels[0] * channels[1] * kernel_size**2
    rate = RATES.dense * min(channels) / (min(channels) + NARROW)
    return operations * use.passes / rate
