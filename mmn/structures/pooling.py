"""The reductions that lead from short moments of a proposal map to longer ones. Nothing here takes time to import."""

from collections.abc import Sequence
from typing import NamedTuple

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
