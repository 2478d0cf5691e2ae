"""Linear layers that keep their weights in the layout that a CPU multiplies fastest, where no gradient is wanted."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmn.modeling.fast import onednn
from mmn.modeling.fast.fingerprint import fingerprint, same_state

NOMINAL_ROWS = 256
"""Tokens of a forward for which the layout is chosen."""

FEW_ROWS = 128
"""Tokens below which packed weights save a fifth of the time or more; above, they would only take memory."""


class PackedLinear(nn.Linear):
    """`nn.Linear` with the same parameters, state dict and gradients.

    Without a gradient to compute, on a CPU in float32, it multiplies few rows by a packed copy of its weight. The copy is
    made when few rows come twice in a row, as queries do and the rest of a split does not, and again whenever the weight
    has changed.
    """

    _packed: tuple[list[tuple], Tensor | None] | None  # the state of the weight, and its copy from the second time on

    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        if not self._can_pack(input):
            self._packed = None  # the weight is about to change, or has gone elsewhere
            return F.linear(input, self.weight, self.bias)
        packed = self._packed_weight(input.numel() < FEW_ROWS * self.in_features)
        if packed is None:
            return F.linear(input, self.weight, self.bias)
        return onednn.linear(input, packed, self.bias)

    def _can_pack(self, input: Tensor) -> bool:
        tensors = (input, self.weight) if self.bias is None else (input, self.weight, self.bias)
        needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        is_plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        return not needs_grad and is_plain and not torch.is_autocast_enabled("cpu") and onednn.can_pack(self.weight)

    def _packed_weight(self, few: bool) -> Tensor | None:
        """The packed copy of the weight as it is now, for few rows; None where there is none yet."""
        state = fingerprint([self.weight])
        kept = self.__dict__.get("_packed")
        is_second = kept is not None and same_state(kept[0], state)
        packed = kept[1] if kept is not None and is_second else None
        if few and is_second and packed is None:
            with torch.inference_mode(False), torch.no_grad():
                packed = onednn.pack(self.weight.detach().clone(), NOMINAL_ROWS)
        self._packed = (state, packed) if few or packed is not None else None
        return packed if few else None

    def __getstate__(self) -> dict:
        """Copies and pickles leave the packed weight behind."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


def pack_linears(module: nn.Module) -> nn.Module:
    """Make all plain linear layers inside `module` packed ones, in place: same parameters under the same names."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = PackedLinear
    return module
