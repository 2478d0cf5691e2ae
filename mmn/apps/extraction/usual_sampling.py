"""The sampling that each backbone is usually used with. Nothing here takes time to import."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UsualSampling:
    """Layers and sampling of a backbone unless asked otherwise, see `mmn.structures.recipe.FeatureRecipe`.

    Attributes:
        layers: names of the outputs that can be had, the usual one first.
        fps: frames per second, 0 for every frame.
        clip_length, stride: in sampled frames.
        batch_size: clips or frames at once.
    """

    layers: tuple[str, ...]
    fps: float = 1.0
    clip_length: int = 1
    stride: int = 1
    batch_size: int = 32


USUAL = {
    "c3d": UsualSampling(("fc6", "fc7"), fps=30.0, clip_length=16, stride=16, batch_size=8),
    "clip": UsualSampling(("image_embeds",)),
    "conse": UsualSampling(("class_mixture",)),
    "dual": UsualSampling(("image_embeds",)),
    "r3d_18": UsualSampling(("avgpool",), fps=15.0, clip_length=16, stride=16, batch_size=8),
    "swin3d": UsualSampling(("avgpool",), fps=15.0, clip_length=32, stride=16, batch_size=2),
    "vgg16": UsualSampling(("fc7", "fc6"), fps=6.0, batch_size=16),
}
