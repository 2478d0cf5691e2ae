"""The identities of a model and of a video's features: what is kept of them is known by these again."""

import hashlib
import json
import os
from weakref import WeakKeyDictionary

import numpy as np
from torch import nn

from mmn.apps.localize.moment_encoder import MomentEncoder
from mmn.modeling.fast.fingerprint import fingerprint, same_state
from mmn.structures.recipe import FeatureRecipe
from mmn.utils.weight_hash import weights_sha256

# By network: the state of its weights (`fingerprint`) and the text before them, with the hash of both.
_known: WeakKeyDictionary[nn.Module, tuple[list[tuple], str, str]] = WeakKeyDictionary()


def model_identity(encoder: MomentEncoder) -> str:
    """A hash of all that decides what vector a moment or a sentence gets, except its features (their recipe is apart).

    That is every weight, by name and value, the resampling and the proposal map. A network is read once, and again when
    its weights have changed: hashing those of a released model takes as long as encoding ten videos.
    """
    cells = encoder.cells
    shape = (
        encoder.num_pre_clips,
        cells.num_clips,
        len(cells),
        int((cells.rows * cells.num_clips + cells.cols).sum()),
    )
    weights, prefix = encoder.model.state_dict(), repr(shape)
    state = fingerprint(weights[name] for name in sorted(weights))
    known = _known.get(encoder.model)
    if known is None or known[1] != prefix or not same_state(known[0], state):
        known = _known[encoder.model] = state, prefix, weights_sha256(weights, prefix)
    return known[2]


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
