"""The convolution stack of `MapConv` on packed cells: same parameters, same results, less work.

Three savings over the dense form, all exact up to rounding: cells that cannot matter are skipped (`cell_tiling.py`), the
convolutions take fewer multiplications (`toom_cook.py`), and where no gradient is wanted the batch norm is folded into
weights that are transformed once and kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.fast.cell_tiling import LayerTiling
from mmn.modeling.fast.conv_cost import best_algorithm, dense_cost
from mmn.modeling.fast.fingerprint import fingerprint, same_state
from mmn.modeling.fast.layer_cells import LayerCells, needed_cells, valid_cells
from mmn.modeling.fast.packed_batch_norm import folded_norm, norm_relu_weight, uses_batch_statistics
from mmn.modeling.fast.packed_conv import LayerPlan, PackedConv, TransformedWeights, forward_products, without_autocast

NOMINAL_EVAL_BATCH = 4
"""Videos for which inference picks its form and algorithms. Were they picked for the batch at hand, results would depend
on its size, in their last digits."""


class FoldedLayer(NamedTuple):
    """A layer ready for inference: batch norm folded in, weights transformed (and packed where oneDNN is there)."""

    plan: LayerPlan
    weights: TransformedWeights
    shift: Tensor


class FastStack:
    """Evaluates (convolution, batch norm, ReLU, window weight) x L of `MapConv` on packed cells.

    It owns no parameters: they are passed to every call. What it keeps is derived: indices, matrices, and, for
    inference, transformed weights, which are rebuilt whenever a parameter or running statistic has changed.
    All computation is in float32, or float64 where the parameters are; autocast is switched off inside, since half
    precision does not survive the transforms.

    Args:
        mask: [N, N] bool, the valid cells of the proposal map.
        window_weights: w of every layer, as `map_conv.window_weights` gives them.
        kernel_size: k, odd.
    """

    def __init__(self, mask: Tensor, window_weights: Sequence[Tensor], kernel_size: int):
        mask, window_weights = mask.cpu(), [weight.cpu().float() for weight in window_weights]
        self.kernel_size = kernel_size
        self.valid = valid_cells(mask, window_weights, kernel_size)
        self.needed = needed_cells(mask, window_weights, kernel_size)
        last = self.valid[-1].outputs
        self.wanted = (last.flatten().cumsum(0).view_as(last) - 1)[mask]
        self.reset()

    def reset(self) -> None:
        """Forget all that is made on demand."""
        self._plans: dict[tuple, LayerPlan] = {}
        self._window_weights: dict[tuple, Tensor] = {}
        self._wanted: dict[torch.device, Tensor] = {}
        self._folded: list[FoldedLayer] = []
        self._fingerprint: list[tuple] = []

    def __getstate__(self) -> dict:
        """Copies and pickles leave the derived things behind."""
        kept = ("kernel_size", "valid", "needed", "wanted")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.reset()

    def __call__(self, packed: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None]) -> Tensor:
        """Features of the valid cells [B, H_in, M], row-major -> features after the stack [B, M, H].

        Batch norms in training mode use and update batch statistics exactly as on the dense map; None normalises nothing.
        """
        dtype = torch.promote_types(convs[0].weight.dtype, torch.float32)
        with without_autocast(packed.device.type):
            cells = F.pad(packed.to(dtype).permute(2, 0, 1), (0, 0, 0, 0, 0, 1)).contiguous()
            parameters = [p for module in present(convs, norms) for p in module.parameters(recurse=False)]
            needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (packed, *parameters))
            if needs_grad or any(uses_batch_statistics(norm) for norm in norms):
                cells = self._layer_by_layer(cells, convs, norms)
            else:
                cells = self._folded_layers(cells, convs, norms)
            return cells.transpose(0, 1).to(convs[0].weight.dtype)

    def _layer_by_layer(
        self, cells: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None]
    ) -> Tensor:
        """Training, and gradients with running statistics: [M + 1, B, H_in] -> [M, B, H]."""
        self._folded, self._fingerprint = [], []  # the parameters are about to change
        from_batch = any(uses_batch_statistics(norm) for norm in norms)
        layers = self.valid if from_batch else self.needed
        for layer, conv, norm in zip(layers, convs, norms, strict=True):
            weight = conv.weight.to(cells.dtype)
            outputs = PackedConv.apply(cells, weight, self._plan(layer, weight, cells.shape[1], training=True))
            total = layer.map_size * cells.shape[1]
            cells = norm_relu_weight(outputs, conv.bias, norm, self._window_weight(layer, cells), total)
        return cells.index_select(0, self._wanted_on(cells.device)) if from_batch else cells[:-1]

    def _folded_layers(
        self, cells: Tensor, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None]
    ) -> Tensor:
        """Inference: [M + 1, B, H_in] -> [M, B, H]."""
        modules = present(convs, norms)
        state = fingerprint(t for module in modules for t in (*module.parameters(), *module.buffers()))
        if not same_state(self._fingerprint, state):
            self._folded = []  # first, so that old and new do not need memory at the same time
            self._folded = [self._fold(*parts, cells) for parts in zip(self.needed, convs, norms, strict=True)]
            self._fingerprint = state
        for layer, folded in zip(self.needed, self._folded, strict=True):
            outputs = forward_products(cells, folded.plan, len(folded.shift), folded.weights)
            cells = outputs.new_zeros(len(outputs) + 1, *outputs.shape[1:])
            torch.mul(outputs.add_(folded.shift).relu_(), self._window_weight(layer, cells), out=cells[:-1])
        return cells[:-1]

    def _fold(self, layer: LayerCells, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, cells: Tensor) -> FoldedLayer:
        scale, shift = folded_norm(conv.bias.to(cells.dtype), norm)
        weight = conv.weight.to(cells.dtype) * scale[:, None, None, None]
        plan = self._plan(layer, weight, NOMINAL_EVAL_BATCH, training=False)
        rows = plan.tiling.num_tiles * cells.shape[1]
        return FoldedLayer(plan, TransformedWeights(weight, plan.algorithm, rows), shift)

    def prefers_fast(
        self, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None], batch: int, training: bool
    ) -> bool:
        """Tell whether this form should be faster than the dense one on a CPU, by the estimates of `conv_cost.py`."""
        if not training:
            batch = NOMINAL_EVAL_BATCH
        layers, fast, dense = self.valid if training and present((), norms) else self.needed, 0.0, 0.0
        for layer, whole, conv in zip(layers, self.valid, convs, strict=True):
            channels = conv.weight.shape[:2]
            fast += best_algorithm(layer, self.kernel_size, channels, batch, training)[1]
            dense += dense_cost(whole, self.kernel_size, channels, batch, training)
        return fast < dense

    def _plan(self, layer: LayerCells, weight: Tensor, batch: int, training: bool) -> LayerPlan:
        """The cheapest algorithm for a layer, with its tiles, on the device and in the dtype of `weight`."""
        algorithm, _ = best_algorithm(layer, self.kernel_size, weight.shape[:2], batch, training)
        key = (id(layer), algorithm.name, weight.device, weight.dtype)
        if key not in self._plans:
            tiling = LayerTiling(layer.inputs, layer.outputs, self.kernel_size, algorithm.tile_size)
            if tiling.overlap_add:
                algorithm = algorithm.transposed()
            with torch.inference_mode(False):  # what is kept must also serve calls with gradients
                self._plans[key] = LayerPlan(tiling.to(weight.device), algorithm.to(weight))
        return self._plans[key]

    def _wanted_on(self, device: torch.device) -> Tensor:
        """`wanted` on a device. Copied there once, so that no step waits."""
        if device not in self._wanted:
            with torch.inference_mode(False):
                self._wanted[device] = self.wanted.to(device)
        return self._wanted[device]

    def _window_weight(self, layer: LayerCells, like: Tensor) -> Tensor:
        key = (id(layer), like.device, like.dtype)
        if key not in self._window_weights:
            with torch.inference_mode(False):
                self._window_weights[key] = layer.window_weight.to(like)
        return self._window_weights[key]


def present(convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None]) -> list[nn.Module]:
    """All modules of a stack."""
    return [*convs, *(norm for norm in norms if norm is not None)]
