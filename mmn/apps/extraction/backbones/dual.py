"""The image half of any dual encoder of images and text in transformers: SigLIP and its like. CLIP is `clip`."""

from typing import Any

import torch
from torch import Tensor

from mmn.apps.extraction.backbone_weights import Weights
from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import USUAL
from mmn.utils.errors import ConfigError
from mmn.utils.pretrained import load_pretrained, read_pretrained_json
from mmn.utils.torchvision import explains_torchvision

INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


@BACKBONES.register("dual")
class DualBackbone(Backbone):
    """Weights: a name on the Hugging Face hub, or a folder, of a model with `get_image_features` and its image processor.

    Rows are the embeddings that the model compares with its embeddings of sentences.
    """

    usual = USUAL["dual"]
    library = "transformers"

    def __init__(self, weights: Weights, layer: str):
        from mmn.modeling.sentence_towers import features_of, keep_half

        super().__init__(weights, layer)
        if weights.seed is not None:
            raise ConfigError(
                "the backbone dual has no architecture of its own for random weights: give a model's name"
            )
        self.model, self._features_of = keep_half(_load(weights.text), "image"), features_of
        self.transform = read_transform(weights.text)
        with torch.no_grad():
            try:
                self.dim = self(torch.zeros(1, 3, *self.transform.crop)).shape[1]
            except (TypeError, RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"{weights.text} does not take pictures of one size ({str(error).splitlines()[0]}): choose a model "
                    "of a fixed resolution, such as google/siglip2-base-patch16-224"
                ) from error

    def forward(self, inputs: Tensor) -> Tensor:
        return self._features_of(self.model.get_image_features(pixel_values=inputs))


@explains_torchvision()
def _load(name: str) -> Any:
    from transformers import AutoModel
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model = load_pretrained(AutoModel, name, what="dual encoder", key="--weights", dtype=torch.float32)
    if not hasattr(model, "get_image_features"):
        raise ConfigError(
            f"{name} is a {type(model).__name__}, which has no image half: give a CLIP, a SigLIP or the like"
        )
    return model


def read_transform(name: str) -> FrameTransform:
    """The preparation of pictures that a model's folder states. Raises ConfigError where it states none that is known."""
    stated = read_pretrained_json(name, "preprocessor_config.json")
    if stated is None:  # as newer versions of transformers write it
        stated = (read_pretrained_json(name, "processor_config.json") or {}).get("image_processor")
    try:
        if not stated:
            raise KeyError("preprocessor_config.json is missing")
        size = stated["size"]
        crop = stated.get("crop_size", size) if stated.get("do_center_crop") else size
        resize = size["shortest_edge"] if "shortest_edge" in size else _pair(size)
        normalises = stated.get("do_normalize", True)
        mean, std = (tuple(map(float, stated[key])) for key in ("image_mean", "image_std"))
        return FrameTransform(
            resize,
            _pair(crop),
            INTERPOLATIONS[stated.get("resample", 2)],
            mean if normalises else (0.0,) * 3,
            std if normalises else (1.0,) * 3,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{name} does not say how it prepares pictures in a way that is known here ({error}): its "
            "preprocessor_config.json needs size, image_mean and image_std, and bilinear or bicubic resampling"
        ) from error


def _pair(size: dict[str, int] | int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]
