"""oneDNN's matrix product with packed weights, where it is the fastest on this CPU (private operators of torch)."""

import functools

import torch
from torch import Tensor

MIN_WEIGHTS = 128 * 128
"""Smallest weight matrix for which a oneDNN call of its own is no slower than torch's product."""


@functools.cache
def has_onednn_linear() -> bool:
    """Tell whether torch was built with oneDNN's linear and its packed weights."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
    )


@functools.cache
def has_fast_mkl() -> bool:
    """Tell whether torch multiplies with MKL on an Intel processor: elsewhere MKL stays far below oneDNN."""
    if not torch.backends.mkl.is_available():
        return False
    try:
        with open("/proc/cpuinfo") as file:
            return any(line.startswith("vendor_id") and "GenuineIntel" in line for line in file)
    except OSError:  # no Linux
        return False


def can_pack(weight: Tensor) -> bool:
    """Tell whether oneDNN can multiply by [..., out, in] matrices like these, and they are large enough to gain."""
    on_cpu_float32 = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu_float32 and weight.shape[-2] * weight.shape[-1] >= MIN_WEIGHTS and has_onednn_linear()


def suits(weight: Tensor) -> bool:
    """Tell whether [..., out, in] matrices like these are best multiplied by oneDNN, one by one."""
    return can_pack(weight) and not has_fast_mkl()


def pack(weight: Tensor, rows: int) -> Tensor:
    """A weight matrix [out, in] in oneDNN's own layout, for products with about `rows` rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """inputs [..., in] @ weight^T + bias -> [..., out] for a weight [out, in], packed or not. It has no gradient."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
