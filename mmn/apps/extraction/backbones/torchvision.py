"""The backbones of torchvision, an optional library, which is imported only where one of them is asked for."""

import os
import urllib.error
from typing import ClassVar

from torch import Tensor, nn

from mmn.apps.extraction.backbone_weights import Weights, seeded
from mmn.apps.extraction.backbones.backbone import BACKBONES, Backbone, load_file
from mmn.apps.extraction.frame_transform import FrameTransform
from mmn.apps.extraction.usual_sampling import USUAL
from mmn.utils.errors import ConfigError, nearest
from mmn.utils.torchvision import import_torchvision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # of the ResNets


class TorchvisionBackbone(Backbone):
    """Weights: a name of torchvision's for the architecture, or a file with its state dict.

    Class attributes:
        architecture: its name in torchvision.
    """

    architecture: ClassVar[str]
    library = "torchvision"

    def build(self, weights: Weights, unused: tuple[str, ...]) -> nn.Module:
        """The network without its classifier.

        Args:
            unused: first parts of the names of the weights behind the features.
        """
        models = import_torchvision().models
        if weights.seed is not None:
            return self.without_head(seeded(weights.seed, lambda: models.get_model(self.architecture)))
        if weights.is_path:
            model = self.without_head(models.get_model(self.architecture))
            load_file(model, weights.text, unused, f"the weights of torchvision's {self.architecture}")
            return model
        model = models.get_model(self.architecture)
        model.load_state_dict(_fetch(models.get_model_weights(self.architecture), weights.text))
        return self.without_head(model)

    def without_head(self, model: nn.Module) -> nn.Module:
        raise NotImplementedError

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)


@BACKBONES.register("vgg16")
class VGG16Backbone(TorchvisionBackbone):
    """VGG-16 (Simonyan and Zisserman, 2015): a fully connected layer of 4096 after its ReLU, of single frames."""

    usual = USUAL["vgg16"]
    default_weights = "IMAGENET1K_V1"
    architecture = "vgg16"
    dim = 4096

    def __init__(self, weights: Weights, layer: str):
        super().__init__(weights, layer)
        # classifier: Linear (fc6), ReLU, Dropout, Linear (fc7), ReLU, Dropout, Linear
        self.num_layers = {"fc6": 2, "fc7": 5}[layer]
        self.model = self.build(weights, tuple(f"classifier.{number}." for number in range(self.num_layers, 7)))
        self.transform = FrameTransform(256, (224, 224), "bilinear", IMAGENET_MEAN, IMAGENET_STD)

    def without_head(self, model: nn.Module) -> nn.Module:
        model.classifier = model.classifier[: self.num_layers]
        return model


class TorchvisionClipBackbone(TorchvisionBackbone):
    """A network of clips: the mean over a clip of its last feature map.

    Class attributes:
        head: the name of its classifier.
        frame_transform: prepares its pictures.
    """

    head: ClassVar[str]
    frame_transform: ClassVar[FrameTransform]
    takes_clips = True
    default_weights = "KINETICS400_V1"

    def __init__(self, weights: Weights, layer: str):
        super().__init__(weights, layer)
        self.model = self.build(weights, (f"{self.head}.",))
        self.transform = self.frame_transform

    def without_head(self, model: nn.Module) -> nn.Module:
        setattr(model, self.head, nn.Identity())
        return model


@BACKBONES.register("r3d_18")
class R3D18Backbone(TorchvisionClipBackbone):
    """The 3D ResNet of 18 layers (Tran et al., 2018)."""

    usual = USUAL["r3d_18"]
    architecture, head = "r3d_18", "fc"
    dim = 512
    frame_transform = FrameTransform((128, 171), (112, 112), "bilinear", KINETICS_MEAN, KINETICS_STD)


@BACKBONES.register("swin3d")
class Swin3DBackbone(TorchvisionClipBackbone):
    """The Video Swin Transformer (Liu et al., 2022), tiny."""

    usual = USUAL["swin3d"]
    architecture, head = "swin3d_t", "head"
    dim = 768
    frame_transform = FrameTransform(256, (224, 224), "bilinear", IMAGENET_MEAN, IMAGENET_STD)


def _fetch(choices: type, name: str) -> dict[str, Tensor]:
    """The state dict of torchvision's weights of this name, from its cache or the network."""
    if name not in choices.__members__:
        raise ConfigError(
            f"the weights {name!r} are neither a file nor a name of torchvision's{nearest(name, list(choices.__members__))}"
        )
    weights = choices[name]
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"torchvision's weights {name} cannot be fetched ({error}): fetch {os.path.basename(weights.url)} where there "
            "is a network and give its path as --weights"
        ) from error
