"""Transformed weights as the channel products need them: made chunk by chunk, or kept."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mmn.modeling.fast import onednn
from mmn.modeling.fast.product_chunks import Chunk, chunks, expand
from mmn.modeling.fast.toom_cook import ToomCook

COMPONENTS_AT_ONCE = 6
"""Components of the first dimension that weights are transformed to at once: the fewer, the more often they are read."""


class ChunkWeights(Protocol):
    """Source of the transformed weights of any chunk: [q, C_in, C_out], or matrices that oneDNN has packed."""

    def __call__(self, chunk: Chunk, /) -> Tensor | Sequence[Tensor]: ...


def weight_components(weight: Tensor, algorithm: ToomCook, rows: slice = slice(None)) -> Tensor:
    """[C_out, C_in, k, k] -> with the first of the two window dimensions transformed [P, k, C_out * C_in].

    Args:
        rows: the components that are wanted.
    """
    return (first_transform(algorithm, rows) @ weight.flatten(2).flatten(0, 1).T).unflatten(
        0, (-1, algorithm.kernel_size)
    )


def weight_gradient(components: Tensor, weight: Tensor, algorithm: ToomCook) -> Tensor:
    """Gradient of all `weight_components` [P, k, C_out * C_in] -> that of the weight [C_out, C_in, k, k]."""
    return (components.flatten(0, 1).T @ first_transform(algorithm)).view(weight.shape)


def first_transform(algorithm: ToomCook, rows: slice = slice(None)) -> Tensor:
    """The transform of the window's first dimension at once for all columns of the window, [P * k, k * k].

    It has k times the entries that are needed, but with it weights are read as they lie in memory. To bring the window
    to the front first, as the second dimension needs it, takes several times as long.
    """
    matrix = algorithm.weight_transform[rows]
    return torch.kron(matrix, torch.eye(algorithm.kernel_size, dtype=matrix.dtype, device=matrix.device))


def taps_of(weight: Tensor) -> Tensor:
    """Weights [C_out, C_in, k, k] in the order in which they are used fastest, [k, k * C_in * C_out]."""
    window_first = weight.flatten(2).flatten(0, 1).T.contiguous().view(-1, *weight.shape[:2])
    return window_first.mT.contiguous().view(weight.shape[-1], -1)


class StreamedWeights:
    """Weights [C_out, C_in, k, k] that `algorithm` transforms chunk by chunk, whenever they are asked for.

    Beside them it holds a few of their components, and of the transformed ones a chunk.

    Args:
        taps: their `taps_of`, where these are kept: half of the time.
    """

    def __init__(self, weight: Tensor, algorithm: ToomCook, taps: Tensor | None = None):
        self.weight, self.algorithm, self.taps = weight, algorithm, taps
        size = len(weight) * weight.shape[1]
        self._first, self._components = 0, weight.new_empty(0, algorithm.kernel_size, size)
        self._chunk = weight.new_empty(0, size)

    def __call__(self, chunk: Chunk) -> Tensor:
        if len(self._chunk) < chunk.size:
            self._chunk = self._chunk.new_empty(chunk.size, self._chunk.shape[1])
        self._make_components(chunk.rows)
        out = expand(chunk, self._components, "weight_transform", self._chunk[: chunk.size], self._first)
        if self.taps is None:
            return out.view(-1, *self.weight.shape[:2]).mT
        return out.view(-1, *self.weight.shape[1::-1])

    def _make_components(self, rows: slice) -> None:
        """See that the components `rows` of the first dimension are there."""
        if self._first <= rows.start <= rows.stop <= self._first + len(self._components):
            return
        self._first, stop = rows.start, max(rows.stop, rows.start + COMPONENTS_AT_ONCE)
        self._components = self._components.new_empty(0)  # first: old and new do not need memory at the same time
        rows = slice(rows.start, stop)
        if self.taps is None:
            self._components = weight_components(self.weight, self.algorithm, rows)
        else:
            self._components = (self.algorithm.weight_transform[rows] @ self.taps).unflatten(
                1, (-1, self._chunk.shape[1])
            )


class TransformedWeights:
    """Weights [C_out, C_in, k, k] transformed by `algorithm` once and for all.

    Where oneDNN multiplies, every matrix is stored in its own layout for about `rows` rows.
    """

    def __init__(self, weight: Tensor, algorithm: ToomCook, rows: int):
        packed = onednn.suits(weight[..., 0, 0])
        streamed = StreamedWeights(weight, algorithm)
        self.matrices: Tensor | list[Tensor] = []
        if not packed:
            self.matrices = weight.new_empty(algorithm.num_products, *weight.shape[1::-1])
        for chunk in chunks(algorithm.blocks, weight[..., 0, 0].nbytes, weight.device):
            if isinstance(self.matrices, Tensor):
                self.matrices[chunk.start : chunk.stop] = streamed(chunk)
            else:
                self.matrices += [onednn.pack(matrix.T.clone(), rows) for matrix in streamed(chunk)]

    def __call__(self, chunk: Chunk) -> Tensor | list[Tensor]:
        return self.matrices[chunk.start : chunk.stop]
