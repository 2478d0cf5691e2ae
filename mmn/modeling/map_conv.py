"""The masked convolution stack over the proposal map, which all networks have: MMN with batch norm, 2D-TAN without.

Shapes: see the legend in `mmn.modeling`. `MapConv.dense_features` is the readable definition, on N x N maps (SPEC
sections 2 and 10); `mmn.modeling.fast` computes the same from the valid cells alone.
"""

import contextlib
import functools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmn.modeling.batch_norm import BATCH_NORMS
from mmn.modeling.fast import FastStack
from mmn.structures.proposals import ProposalCells


def window_weights(mask: Tensor, kernel_size: int, num_layers: int) -> list[Tensor]:
    """The factor w of every layer: one over the number of valid cells in the window, 0 where there is none.

    The cells with w > 0 are the valid cells of the next layer's input.

    Args:
        mask: [N, N] bool, the valid cells of the first layer's input, before its padding.
    Returns:
        one float32 map per layer, of that layer's output size; the last is [N, N].
    """
    valid = mask.float()[None, None]
    window = valid.new_ones(1, 1, kernel_size, kernel_size)
    weights = []
    for layer in range(num_layers):
        padding = first_padding(kernel_size, num_layers) if layer == 0 else 0
        count = F.conv2d(valid, window, padding=padding).round()
        weights.append(torch.where(count > 0, 1 / count.clamp(min=1), torch.zeros_like(count))[0, 0])
        valid = (count > 0).float()
    return weights


def first_padding(kernel_size: int, num_layers: int) -> int:
    """Padding of layer 0; the other layers have none, so the map is back at N x N after the last."""
    return (kernel_size - 1) * num_layers // 2


@contextlib.contextmanager
def frozen_statistics(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Batch norm in training mode, with running statistics left as they are: for computing a layer a second time."""
    momentum, count = norm.momentum, norm.num_batches_tracked.clone()
    norm.momentum = 0.0
    try:  # the second computation is stopped by an exception as soon as it has what it was made for
        yield
    finally:
        norm.momentum = momentum
        norm.num_batches_tracked.copy_(count)


class MapConv(nn.Module):
    """L x (convolution, batch norm where there is one, ReLU, window weight).

    Args:
        cells: the proposal map's cells.
        input_size, hidden_size: channels before and after the first layer.
        kernel_size: k, odd. num_layers: L.
        impl: "dense", "fast" or "auto", see MODEL.MMN.PREDICTOR.IMPL.
        checkpoint_activations, channels_last: for the dense form, see the keys of these names.
        batch_norm: see MODEL.MMN.PREDICTOR.BATCH_NORM; None for a stack that normalises nothing.
        kept_mb: for the fast form, see MODEL.MMN.PREDICTOR.KEPT_MB.
    """

    def __init__(
        self,
        cells: ProposalCells,
        input_size: int,
        hidden_size: int,
        kernel_size: int,
        num_layers: int,
        impl: str = "auto",
        checkpoint_activations: bool = False,
        channels_last: bool = False,
        batch_norm: str | None = None,
        kept_mb: float = math.inf,
    ):
        super().__init__()
        self.cells = cells
        self.num_layers = num_layers
        self.impl = impl
        self.checkpoint_activations = checkpoint_activations
        self.channels_last = channels_last
        self.kept_mb = kept_mb
        # The order of the modules is the order of the parameters in released optimizer states.
        norms = [BATCH_NORMS[batch_norm](hidden_size) for _ in range(num_layers)] if batch_norm else []
        self.bn = nn.ModuleList(norms)
        self.convs = nn.ModuleList(
            nn.Conv2d(
                hidden_size if layer else input_size,
                hidden_size,
                kernel_size,
                padding=0 if layer else first_padding(kernel_size, num_layers),
            )
            for layer in range(num_layers)
        )
        weights = window_weights(cells.mask, kernel_size, num_layers)
        for layer, weight in enumerate(weights):
            self.register_buffer(f"window_weight_{layer}", weight, persistent=False)

    @property
    def norms(self) -> Sequence[nn.BatchNorm2d | None]:
        """The batch norm of each layer, None where there is none."""
        return list(self.bn) or [None] * self.num_layers

    def features(self, packed: Tensor, around: Tensor | None = None) -> Tensor:
        """Features of the valid cells [B, H, M] -> those after the stack [B, M, hidden_size].

        Args:
            around: [B, H], what all other cells of the N x N map hold; None for zeros, which the fast form needs.
        """
        if around is None and self.uses_fast(packed):
            return self.fast_stack(packed, self.convs, self.norms)
        return self.cells.from_map(self.dense_features(self.cells.to_map(packed, around))).mT

    @functools.cached_property
    def fast_stack(self) -> FastStack:
        """The fast form, made when it is first needed."""
        weights = [getattr(self, f"window_weight_{layer}") for layer in range(self.num_layers)]
        return FastStack(self.cells.mask, weights, self.convs[0].kernel_size[0], self.kept_mb)

    def uses_fast(self, packed: Tensor) -> bool:
        """Tell whether `features` takes the fast form for this input, zero outside the valid cells."""
        if self.impl == "auto":
            # Measured on CPUs only; a GPU's convolutions are another matter.
            if packed.device.type != "cpu":
                return False
            return self.fast_stack.prefers_fast(self.convs, self.norms, len(packed), self.training)
        return self.impl == "fast"

    def dense_features(self, x: Tensor) -> Tensor:
        """Proposal map [B, H, N, N] -> the map after the last layer, [B, hidden_size, N, N], not masked."""
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        for layer in range(self.num_layers):
            if self.checkpoint_activations and self.training:
                contexts = functools.partial(_recompute_contexts, self.norms[layer])
                x = checkpoint(self._dense_layer, x, layer, use_reentrant=False, context_fn=contexts)
            else:
                x = self._dense_layer(x, layer)
        return x

    def _dense_layer(self, x: Tensor, layer: int) -> Tensor:
        x, norm = self.convs[layer](x), self.norms[layer]
        if norm is not None:
            # Batch statistics are over all cells of the padded map, the zero ones too: released weights were trained so.
            x = norm(x)
        # The weight, which is not negative, goes before the ReLU: in place, so that a map in half precision stays one.
        return x.mul_(getattr(self, f"window_weight_{layer}")).relu()


def _recompute_contexts(
    norm: nn.BatchNorm2d | None,
) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    """Contexts of a layer's forward and of its second computation in the backward pass."""
    return contextlib.nullcontext(), contextlib.nullcontext() if norm is None else frozen_statistics(norm)
