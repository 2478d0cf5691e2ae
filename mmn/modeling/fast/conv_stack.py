"""The convolution stack of `MapConv` on packed cells: same parameters, same results, less work.

Three savings over the dense form, all exact up to rounding: cells that cannot matter are skipped (`cell_tiling.py`), the
convolutions take fewer multiplications (`toom_cook.py`), and where no gradient is wanted transformed weights are kept, as
many as a limit of memory allows (`weight_memory.py`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.fast.cell_tiling import LayerTiling
from mmn.modeling.fast.conv_cost import Use, best_algorithm, dense_cost
from mmn.modeling.fast.fingerprint import fingerprint, same_state
from mmn.modeling.fast.layer_cells import LayerCells, needed_cells, valid_cells
from mmn.modeling.fast.packed_batch_norm import folded_norm, norm_relu_weight, uses_batch_statistics
from mmn.modeling.fast.packed_conv import LayerPlan, PackedConv, forward_products, without_autocast
from mmn.modeling.fast.toom_cook import ToomCook
from mmn.modeling.fast.transformed_weights import ChunkWeights, StreamedWeights, TransformedWeights, taps_of
from mmn.modeling.fast.weight_memory import LayerChoice, choose_layers

NOMINAL_EVAL_BATCH = 2
"""Videos for which inference picks its form and algorithms. Were they picked for the batch at hand, results would depend
on its size, in their last digits."""


class FoldedLayer(NamedTuple):
    """A layer ready for inference: batch norm as scale and shift [C], and what is kept of its weights.

    Attributes:
        kept: transformed weights, or the taps that they are made of.
    """

    plan: LayerPlan
    kept: TransformedWeights | Tensor | None
    scale: Tensor
    shift: Tensor

    def weights_of(self, conv: nn.Conv2d, dtype: torch.dtype) -> ChunkWeights:
        """The transformed weights of its convolution, kept or made as they are needed."""
        if isinstance(self.kept, TransformedWeights):
            return self.kept
        return StreamedWeights(conv.weight.detach().to(dtype), self.plan.algorithm, self.kept)


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
        kept_mb: see MODEL.MMN.PREDICTOR.KEPT_MB.
    """

    def __init__(self, mask: Tensor, window_weights: Sequence[Tensor], kernel_size: int, kept_mb: float = math.inf):
        mask, window_weights = mask.cpu(), [weight.cpu().float() for weight in window_weights]
        self.kernel_size, self.kept_mb = kernel_size, kept_mb
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
        self._choices: dict[tuple, tuple[LayerChoice, ...]] = {}
        self._folded: list[FoldedLayer] = []
        self._fingerprint: list[tuple] = []

    def __getstate__(self) -> dict:
        """Copies and pickles leave the derived things behind."""
        kept = ("kernel_size", "kept_mb", "valid", "needed", "wanted")
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
            channels = weight.shape[:2]
            algorithm, _ = best_algorithm(layer, self.kernel_size, channels, cells.shape[1], Use.TRAINING)
            outputs = PackedConv.apply(cells, weight, self._plan(layer, weight, algorithm))
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
            parts = zip(self.needed, self._layer_choices(convs), convs, norms, strict=True)
            self._folded = [self._fold(*part, cells) for part in parts]
            self._fingerprint = state
        for layer, conv, folded in zip(self.needed, convs, self._folded, strict=True):
            outputs = forward_products(cells, folded.plan, len(conv.weight), folded.weights_of(conv, cells.dtype))
            cells = outputs.new_empty(len(outputs) + 1, *outputs.shape[1:])
            cells[-1] = 0
            torch.addcmul(folded.shift, outputs, folded.scale, out=cells[:-1])
            cells[:-1].relu_().mul_(self._window_weight(layer, cells))
        return cells[:-1]

    def _fold(
        self, layer: LayerCells, choice: LayerChoice, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, cells: Tensor
    ) -> FoldedLayer:
        scale, shift = folded_norm(conv.bias.to(cells.dtype), norm)
        weight = conv.weight.detach().to(cells.dtype)
        plan = self._plan(layer, weight, choice.algorithm)
        kept: TransformedWeights | Tensor | None = None
        if choice.use is Use.KEPT:
            kept = TransformedWeights(weight, plan.algorithm, plan.tiling.num_tiles * cells.shape[1])
        elif choice.use is Use.TAPS:
            kept = taps_of(weight)
        return FoldedLayer(plan, kept, scale, shift)

    def _layer_choices(self, convs: Sequence[nn.Conv2d]) -> tuple[LayerChoice, ...]:
        """Choices for all layers in inference."""
        channels = tuple(tuple(conv.weight.shape[:2]) for conv in convs)
        itemsize = torch.promote_types(convs[0].weight.dtype, torch.float32).itemsize
        key = (channels, itemsize)
        if key not in self._choices:
            limits = (NOMINAL_EVAL_BATCH, self.kept_mb, itemsize)
            self._choices[key] = choose_layers(self.needed, self.kernel_size, channels, *limits)
        return self._choices[key]

    def prefers_fast(
        self, convs: Sequence[nn.Conv2d], norms: Sequence[nn.BatchNorm2d | None], batch: int, training: bool
    ) -> bool:
        """Tell whether this form should be faster than the dense one on a CPU, by the estimates of `conv_cost.py`."""
        if not training:
            fast = sum(choice.seconds for choice in self._layer_choices(convs))
            return fast < self._dense_seconds(convs, NOMINAL_EVAL_BATCH, Use.STREAMED)
        layers = self.valid if present((), norms) else self.needed
        fast = sum(
            best_algorithm(layer, self.kernel_size, conv.weight.shape[:2], batch, Use.TRAINING)[1]
            for layer, conv in zip(layers, convs, strict=True)
        )
        return fast < self._dense_seconds(convs, batch, Use.TRAINING)

    def _dense_seconds(self, convs: Sequence[nn.Conv2d], batch: int, use: Use) -> float:
        return sum(
            dense_cost(layer, self.kernel_size, conv.weight.shape[:2], batch, use)
            for layer, conv in zip(self.valid, convs, strict=True)
        )

    def _plan(self, layer: LayerCells, weight: Tensor, algorithm: ToomCook) -> LayerPlan:
        """A layer's tiles for an algorithm, and this in its direction, on the device and in the dtype of `weight`."""
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
