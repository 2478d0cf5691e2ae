"""The text encoder that a model folder brings with it, in the place of the one that a config names."""

import os
from collections.abc import Mapping

from mmn.data.tokenizer import PRETRAINED_KEY
from mmn.utils.checkpoint import find_checkpoint
from mmn.utils.model_folder import TEXT_ENCODER


def options_of_content(content: Mapping) -> list[str]:
    """KEY VALUE over the config of a checkpoint's content; [] where it brings no text encoder."""
    return [PRETRAINED_KEY, content["text_encoder"]] if "text_encoder" in content else []


def options_of_name(ckpt: str | None) -> list[str]:
    """KEY VALUE over a config that the checkpoint of this name is tested with; [] where it brings no text encoder."""
    path = "" if ckpt is None else find_checkpoint(ckpt).path
    return [PRETRAINED_KEY, os.path.abspath(os.path.join(path, TEXT_ENCODER))] if os.path.isdir(path) else []
