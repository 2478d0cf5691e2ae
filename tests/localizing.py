"""A small model's checkpoint, and an extractor whose features are colours, for tests of the localizer and its tools."""

from types import SimpleNamespace

import numpy as np
import torch
from tiny import DIM, without_biases

from mmn.apps.video.decode import iter_frames
from mmn.modeling import build_model
from mmn.structures.recipe import FeatureRecipe

DURATIONS = {"median": 40.0, "longest": 60.0}
RECIPE = FeatureRecipe(
    backbone="colours",
    layer="mean",
    weights_sha256="0" * 64,
    fps=10.0,
    clip_length=1,
    stride=1,
    image_size=(32, 32),
    resize="none",
    channels="RGB",
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    weights="none",
)


def colour_extractor(recipe=RECIPE):
    """What `FeatureExtractor` offers the localizer: a row per frame, its mean colour in the first of DIM numbers."""

    def encode(frames, where):
        for frame in frames:
            colour = frame.image.reshape(1, -1, 3).mean(1) / 255
            yield np.pad(colour.astype(np.float32), ((0, 0), (0, DIM - 3)), constant_values=0.1)

    return SimpleNamespace(
        recipe=recipe, frames=lambda path, start=0.0: iter_frames(path, recipe.fps, start), encode=encode
    )


def checkpoint_content(cfg, **changes):
    """Of an untrained model."""
    torch.manual_seed(0)
    content = {
        "model": without_biases(build_model(cfg)).state_dict(),
        "config": cfg.dump(),
        "train_durations": DURATIONS,
    } | changes
    return {name: value for name, value in content.items() if value is not None}


def random_rows(num_rows, seed=0):
    """Features [num_rows, DIM] float32."""
    return np.random.default_rng(seed).standard_normal((num_rows, DIM)).astype(np.float32)
