"""The identities of a model and of a video's features: what is kept of them is known by these again."""

import hashlib
import json
import os

import numpy as np

from mmn.apps.localize.moment_encoder import MomentEncoder
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.weight_hash import weights_sha256


def model_identity(encoder: MomentEncoder) -> str:
    """A hash of all that decides what vector a moment or a sentence gets, except its features (their recipe is apart).

    That is every weight, by name and value, the resampling and the proposal map.
    """
    cells = encoder.cells
    shape = (
        encoder.num_pre_clips,
        cells.num_clips,
        len(cells),
        int((cells.rows * cells.num_clips + cells.cols).sum()),
    )
    return weights_sha256(encoder.model.state_dict(), prefix=repr(shape))


def features_source(rows: np.ndarray, duration: float) -> str:
    """A hash of a video that is there as feature rows [T0, D]: it changes with them and the duration."""
    digest = hashlib.sha256(f"{rows.dtype.str} {rows.shape} {float(duration)!r}".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def file_source(path: str, recipe: FeatureRecipe) -> str:
    """A hash of a video file: it changes with the file's size and time of change, and the recipe."""
    status = os.stat(path)
    words = {**recipe.to_dict(), "weights": "", "versions": {}}
    text = json.dumps([status.st_size, status.st_mtime_ns, words], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
