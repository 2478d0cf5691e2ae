"""CLIP's image encoder with its projection into the space shared with text (Radford et al., 2021)."""

from torch import Tensor, nn

from mmn.apps.extraction.backbone_weights import Weights, seeded
from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import USUAL
from mmn.utils.errors import CheckpointError
from mmn.utils.pretrained import load_pretrained
from mmn.utils.torchvision import explains_torchvision

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@BACKBONES.register("clip")
class ClipBackbone(Backbone):
    """Weights: a name on the Hugging Face hub, or a folder that `save_pretrained` wrote, with text encoder or without.

    Random weights have the architecture of ViT-B/32.
    """

    usual = USUAL["clip"]
    default_weights = "openai/clip-vit-base-patch32"
    library = "transformers"

    def __init__(self, weights: Weights, layer: str):
        super().__init__(weights, layer)
        self.model = _load(weights.text) if weights.seed is None else _random(weights.seed)
        size = self.model.config.image_size
        self.transform = FrameTransform(size, (size, size), "bicubic", MEAN, STD)
        self.dim = self.model.config.projection_dim

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(pixel_values=inputs).image_embeds


@explains_torchvision()
def _random(seed: int) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return seeded(seed, lambda: CLIPVisionModelWithProjection(CLIPVisionConfig()))


@explains_torchvision()
def _load(name: str) -> nn.Module:
    from transformers import CLIPVisionModelWithProjection
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model, report = load_pretrained(
        CLIPVisionModelWithProjection, name, what="CLIP model", key="--weights", output_loading_info=True
    )
    missing = sorted([*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])])
    if missing:
        raise CheckpointError(
            f"the CLIP weights {name} lack {len(missing)} weights of the image encoder, e.g. {missing[0]}: give a model "
            "that was saved with its projection"
        )
    return model.float()
