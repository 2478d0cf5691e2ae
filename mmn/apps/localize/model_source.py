"""The model that a command is given: a checkpoint, and how features are made for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import transformers

from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.localize.localizer import MomentLocalizer
from mmn.apps.localize.zero_shot import DEFAULT_DUAL_ENCODER, name_in_address, zero_shot_address
from mmn.structures.recipe import FeatureRecipe
from mmn.utils import comm
from mmn.utils.errors import ConfigError, DataError
from mmn.utils.hdf5 import open_hdf5, reading
from mmn.utils.logger import get_logger, setup_logger


@dataclass(frozen=True)
class ModelSource:
    """A model to search with.

    Attributes:
        ckpt: a checkpoint, or the address of a dual encoder that was never trained to find moments, "zero-shot:NAME"; None
            is the default one of these.
        config_file, options: see `MomentLocalizer.from_checkpoint`.
        backbone: extracts features with its usual sampling, where the checkpoint does not say how.
        recipe_file: HDF5 file of features; the video's are made as they were.
        backbone_weights: a name, a file or "random:SEED", in the place of the usual ones or the recipe's.
    """

    ckpt: str | None = None
    config_file: str | None = None
    options: Sequence[str] = ()
    backbone: str | None = None
    recipe_file: str | None = None
    backbone_weights: str | None = None


def load_localizer(source: ModelSource, device: torch.device | None = None) -> MomentLocalizer:
    """The model, with the extractor that the user asks for explicitly, else that of the checkpoint's recipe.

    Args:
        device: place of the model; by default that of the options, see `MomentLocalizer.from_checkpoint`.
    """
    setup_logger(None, comm.get_rank())
    transformers.logging.disable_progress_bar()
    if name := name_in_address(source.ckpt):
        _say_zero_shot(name, source)
    if source.backbone and source.recipe_file:
        raise ConfigError("--backbone and --recipe both say how features are made: give one of them")
    recipe = read_recipe(source.recipe_file) if source.recipe_file else None
    if source.recipe_file and recipe is None:
        raise DataError(f"{source.recipe_file} does not say how its features were made: give --backbone instead")
    ckpt = source.ckpt or zero_shot_address(DEFAULT_DUAL_ENCODER)
    localizer = MomentLocalizer.from_checkpoint(
        ckpt, source.config_file, device, source.options, backbone_weights=source.backbone_weights
    )
    weights, device = source.backbone_weights, localizer.device
    if recipe is not None:
        localizer.use_extractor(FeatureExtractor.from_recipe(recipe, weights, device=device))
    elif source.backbone:
        localizer.use_extractor(FeatureExtractor(source.backbone, weights, device=device))
    return localizer


def _say_zero_shot(name: str, source: ModelSource) -> None:
    """A log line about a dual encoder. Raises ConfigError for flags that go with checkpoints alone."""
    if source.backbone or source.recipe_file:
        raise ConfigError(
            f"the dual encoder {name} makes its features itself: leave out --backbone and --recipe, or give a checkpoint "
            "by --ckpt"
        )
    chosen = "as asked" if source.ckpt else "since no --ckpt is given"
    get_logger().info("moments by %s, %s: a dual encoder that was never trained to find moments", name, chosen)


def read_recipe(path: str) -> FeatureRecipe | None:
    """The recipe of a feature file; None where it has none."""
    with open_hdf5(path, "the feature file") as file, reading(f"the feature file {path}"):
        return FeatureRecipe.from_attributes(file.attrs, path)
