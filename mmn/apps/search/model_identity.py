"""The identity of an index's model: vectors of two models do not compare, so an index refuses another's queries."""

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from mmn.apps.localize.localizer import MomentLocalizer


def model_identity(localizer: "MomentLocalizer") -> str:
    """A hash of all that decides what vector a moment or a sentence gets, except its features (their recipe is apart).

    That is every weight, by name and value, the resampling and the proposal map.
    """
    digest = hashlib.sha256()
    cells = localizer.cells
    shape = (
        localizer.num_pre_clips,
        cells.num_clips,
        len(cells),
        int((cells.rows * cells.num_clips + cells.cols).sum()),
    )
    digest.update(repr(shape).encode())
    for name, tensor in sorted(localizer.model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())  # NumPy has no bfloat16
    return digest.hexdigest()
