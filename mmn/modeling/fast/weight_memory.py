"""Choice of layers whose transformed weights inference keeps, within a limit of memory; others do it for every batch.

Transformed weights take several times the memory of the weights, the more the larger the tiles. Where a batch has few
tiles, to transform them again takes a quarter of a layer's time or more, with many tiles next to nothing. Kept taps,
the weights in another order, take the memory of the weights and save half of that.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mmn.modeling.fast.conv_cost import Use, best_algorithm, candidates, fast_cost
from mmn.modeling.fast.layer_cells import LayerCells
from mmn.modeling.fast.toom_cook import ToomCook


class LayerChoice(NamedTuple):
    """Choice of how inference computes a layer.

    Attributes:
        use: KEPT, TAPS or STREAMED.
        seconds: estimate for a batch.
        nbytes: bytes of what is kept.
    """

    algorithm: ToomCook
    use: Use
    seconds: float
    nbytes: int


def choose_layers(
    layers: Sequence[LayerCells],
    kernel_size: int,
    channels: Sequence[Sequence[int]],
    batch: int,
    kept_mb: float,
    itemsize: int = 4,
) -> tuple[LayerChoice, ...]:
    """The choices of all layers that take the least time while what they keep stays within the limit.

    Args:
        channels: (C_out, C_in) of each layer.
        kept_mb: the limit in MB.
        itemsize: bytes of a weight.
    """
    plans: list[tuple[int, float, tuple[LayerChoice, ...]]] = [(0, 0.0, ())]  # (bytes, seconds, choices)
    for layer, pair in zip(layers, channels, strict=True):
        choices = _choices(layer, kernel_size, pair, batch, itemsize)
        longer = [
            (nbytes + choice.nbytes, seconds + choice.seconds, (*chosen, choice))
            for nbytes, seconds, chosen in plans
            for choice in choices
            if nbytes + choice.nbytes <= kept_mb * 2**20
        ]
        plans = []  # those that no other beats in both: more bytes, less time
        for plan in sorted(longer, key=lambda plan: plan[:2]):
            if not plans or plan[1] < plans[-1][1]:
                plans.append(plan)
    return plans[-1][2]


def _choices(
    layer: LayerCells, kernel_size: int, channels: Sequence[int], batch: int, itemsize: int
) -> list[LayerChoice]:
    """The best ways to compute a layer that keep nothing, or its taps, and all that keep its transformed weights."""
    size = itemsize * channels[0] * channels[1]
    choices = []
    for use, nbytes in ((Use.STREAMED, 0), (Use.TAPS, kernel_size**2 * size)):
        algorithm, seconds = best_algorithm(layer, kernel_size, channels, batch, use)
        choices.append(LayerChoice(algorithm, use, seconds, nbytes))
    for algorithm in candidates(kernel_size):
        seconds = fast_cost(layer.num_tiles(algorithm.tile_size), algorithm, channels, batch, Use.KEPT)
        choices.append(LayerChoice(algorithm, Use.KEPT, seconds, algorithm.num_products * size))
    return choices
