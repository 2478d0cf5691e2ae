"""Telling whether parameters have changed since something was derived from them, without reading all of them."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

NUM_SAMPLES = 1024
"""How many elements of a tensor are compared to notice a change that its version counter does not show."""


def fingerprint(tensors: Iterable[Tensor]) -> list[tuple]:
    """A description of the state of the tensors, to be compared with another by `same_state`.

    Optimizers and `load_state_dict` raise a tensor's version, `.to()` changes its address. Writes through `.data` do
    neither: for them some elements are kept, on a CPU; comparing those of a GPU would wait for it.
    """
    return [
        (t.data_ptr(), None if t.is_inference() else t._version, t.dtype, t.device, _samples(t.detach()))
        for t in tensors
    ]


def _samples(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cpu":
        return torch.empty(0)
    step = max(1, tensor.numel() // NUM_SAMPLES) | 1  # odd: all positions of a kernel and all channels take part
    return tensor.flatten()[::step].clone()


def same_state(first: Sequence[tuple], second: Sequence[tuple]) -> bool:
    """Tell whether two fingerprints are equal."""
    return len(first) == len(second) and all(
        a[:-1] == b[:-1] and torch.equal(a[-1], b[-1]) for a, b in zip(first, second, strict=True)
    )
