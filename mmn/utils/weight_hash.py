"""Digests of weights by name, type, shape and value, however they are stored."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_sha256(weights: Mapping[str, Tensor], prefix: str = "") -> str:
    """The digest of a state dict, in hexadecimal digits; a text may be put before it."""
    digest = hashlib.sha256(prefix.encode())
    for name, tensor in sorted(weights.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())  # NumPy has no bfloat16
    return digest.hexdigest()
