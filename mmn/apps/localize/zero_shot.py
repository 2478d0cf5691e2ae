"""A dual encoder of images and text as a model that finds moments, without any training to find them."""

import os
from collections.abc import Sequence

import torch
import transformers
from transformers import AutoConfig

from mmn.apps.extraction.backbones.conse import sentence_encoder_folder
from mmn.apps.extraction.extractor import FeatureExtractor
from mmn.apps.localize.moment_encoder import usable_device
from mmn.apps.localize.trained_model import TrainedModel
from mmn.config import load_config, override_config, validate
from mmn.config.packaged import find_config
from mmn.data.tokenizer import build_tokenizer
from mmn.modeling.build import build_dual_encoder
from mmn.structures.recipe import TrackRecipe, TracksRecipe
from mmn.utils.errors import ConfigError
from mmn.utils.pretrained import load_pretrained

DEFAULT_DUAL_ENCODER = "openai/clip-vit-base-patch32"
CONSE = "conse"
FPS = 2.0
WINDOWS = {"median": 128.0, "longest": 192.0}
"""Seconds: a longer video is searched in windows of half to one and a half of the first, with clips of 1 to 3 s."""
PREFIX = "zero-shot:"  # of the addresses of such models
BACKBONES_OF = {"clip": "clip"}  # by the model's type; all others by `dual`, whose features are named otherwise


def zero_shot_address(name: str) -> str:
    """The address of a dual encoder, where a checkpoint's path is expected.

    >>> zero_shot_address("conse")
    'zero-shot:conse'
    """
    return PREFIX + (os.path.abspath(name) if os.path.isdir(name) else name)


def name_in_address(address: str | os.PathLike | None) -> str | None:
    """The dual encoder of an address, the default one where there is no address; None for other models' addresses.

    >>> name_in_address("zero-shot:conse"), name_in_address("pool_model_best.pth")
    ('conse', None)
    """
    if address is None:
        return DEFAULT_DUAL_ENCODER
    address = os.fspath(address)
    return address.removeprefix(PREFIX) if address.startswith(PREFIX) else None


def read_dual_encoder(
    name: str, device: torch.device | str | None, options: Sequence[object] = (), fps: float = FPS
) -> tuple[TrainedModel, FeatureExtractor]:
    """The text half as a network that grounds, and the image half as an extractor; see `MomentLocalizer.zero_shot`."""
    transformers.logging.disable_progress_bar()
    backbone, weights, text = _halves(name)
    options = ["MODEL.DEVICE", "auto", *(option if isinstance(option, str) else repr(option) for option in options)]
    cfg = load_config(find_config("zero_shot"), options)
    place = usable_device(cfg.MODEL.DEVICE if device is None else device)
    extractor = FeatureExtractor(backbone, weights, fps, device=place)
    width = str(extractor.backbone.dim)
    sizes = ["MODEL.MMN.FEATPOOL.INPUT_SIZE", width, "MODEL.MMN.JOINT_SPACE_SIZE", width]
    encoder = ["MODEL.MMN.TEXT_ENCODER.PRETRAINED", text]
    cfg = override_config(cfg, [*sizes, *encoder, *options])
    validate(cfg, training=False)
    trained = TrainedModel(
        cfg,
        build_dual_encoder(cfg),
        build_tokenizer(cfg),
        source=f"the dual encoder {name}",
        path=zero_shot_address(name),
        tracks=TracksRecipe((TrackRecipe(None, extractor.backbone.dim, extractor.recipe),)),
        any_sampling=True,
        train_durations=WINDOWS,
    )
    return trained, extractor


def _halves(name: str) -> tuple[str, str | None, str]:
    """Backbone, its weights, and the place of the text encoder."""
    if name == CONSE:
        return CONSE, None, sentence_encoder_folder()
    try:
        config = load_pretrained(AutoConfig, name, "dual encoder", "the dual encoder")
    except ConfigError as error:
        raise ConfigError(
            f"{error}, e.g. --ckpt {PREFIX}FOLDER; or take --ckpt {PREFIX}{CONSE}, which needs no hub"
        ) from error
    return BACKBONES_OF.get(config.model_type, "dual"), name, name
