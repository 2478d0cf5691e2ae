"""Small tensors on their way from the host to a device."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """A host's tensor on `device`, without the host waiting for what the device still has to do.

    A copy to a GPU is asynchronous from pinned memory alone; the allocator keeps the block until the copy has happened.
    """
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
